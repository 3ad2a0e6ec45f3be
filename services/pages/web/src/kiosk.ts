/** The script of the kiosk. */

import { attachCardReader } from "./islands/card-reader";
import { attachKeypad } from "./islands/keypad";
import { attachKiosk } from "./islands/kiosk";

attachKiosk();
attachKeypad();
attachCardReader();
