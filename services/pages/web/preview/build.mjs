// Writes the preview pages in both languages, the large ones also in the large view: `npm run preview:build`.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { words } from "./src/frame.mjs";
import * as publicPages from "./src/public.mjs";
import * as myPages from "./src/my.mjs";
import * as kioskPages from "./src/kiosk.mjs";
import * as checkPages from "./src/checks.mjs";
import * as sheetPages from "./src/sheet.mjs";
import * as opsPages from "./src/ops.mjs";
import * as componentPages from "./src/components.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const groups = [publicPages, myPages, kioskPages, checkPages, sheetPages, opsPages, componentPages];
const notPages = new Set(["sheet", "verdict", "liveTemplates"]);
const alsoLarge = new Set(["my", "myLive", "myLiveShown", "myImage", "myConfirm", "kioskStart", "kioskNumber", "kioskWho", "kioskAct", "staffIdCheck"]);
const fileName = (name) => name.replace(/[A-Z0-9]+/g, (part) => `-${part.toLowerCase()}`);

for (const lang of ["zh", "en"]) {
  mkdirSync(join(here, lang), { recursive: true });
  const t = words(lang);
  for (const [name, page] of groups.flatMap((group) => Object.entries(group))) {
    if (notPages.has(name)) continue;
    const views = alsoLarge.has(name) ? ["standard", "large"] : ["standard"];
    for (const view of views) {
      const file = `${fileName(name)}${view === "large" ? "-large" : ""}.html`;
      const html = page(t, view).replace(/[ \t]+$/gm, "").replace(/\n{2,}/g, "\n");
      writeFileSync(join(here, lang, file), html);
    }
  }
}
