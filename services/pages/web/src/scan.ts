/** The script of checkpoints: staffed ones and gates. */

import { attachScanForm } from "./islands/scan-form";

attachScanForm();
