/** The script of pages with a camera. */

import { attachCamera } from "./islands/camera";

attachCamera();
