/** The script of pages that show a live code, ask for one, or tell that one has ended. */

import { attachDeviceForms } from "./islands/device-form";
import { attachForgetting, attachLiveCode } from "./islands/live-code";

attachDeviceForms();
attachLiveCode();
attachForgetting();
