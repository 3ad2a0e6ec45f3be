/** The script of every page. */

import { focusNews, goOn, sendAgain, submitOnce, watchConnection } from "./islands/frame";
import { configureHtmx } from "./islands/htmx";
import { attachPolls } from "./islands/poll";
import { attachPrint } from "./islands/print";
import { attachSaveImage } from "./islands/save-image";
import { attachStart } from "./islands/start";

configureHtmx();
watchConnection();
submitOnce();
focusNews();
goOn();
sendAgain();
attachPolls();
attachPrint();
attachSaveImage();
attachStart();
