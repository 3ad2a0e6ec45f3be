/**
 * Writes a picture of every page in both languages and views: `node screenshots.mjs FOLDER [NAME…]`, with names of
 * `pages.mjs`. Pictures are taken on a phone, in the standard view on a desktop, and those of machines on a kiosk, too.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { PAGES, visit } from "./pages.mjs";
import { City } from "./support/program.mjs";
import { Reader, launch } from "./support/reader.mjs";

const [folder, ...names] = process.argv.slice(2);
const SETTINGS = [
  { lang: "zh", view: "standard", size: "phone" },
  { lang: "zh", view: "large", size: "phone" },
  { lang: "en", view: "standard", size: "phone" },
  { lang: "en", view: "large", size: "phone" },
  { lang: "zh", view: "standard", size: "desktop" },
  { lang: "en", view: "standard", size: "desktop", dark: true },
  ...["zh", "en"].flatMap((lang) => ["standard", "large"].map((view) => ({ lang, view, size: "kiosk", only: /^(kiosk|gate|pair)/ }))),
];

mkdirSync(folder, { recursive: true });
const browser = await launch();
for (const { only = /./, ...settings } of SETTINGS) {
  const city = await City.start();
  for (const page of PAGES.filter(({ name }) => only.test(name) && (names.length === 0 || names.includes(name)))) {
    const reader = await Reader.arrive(browser, city, { ...settings, look: false, ...page.options });
    const path = join(folder, `${page.name}.${settings.lang}.${settings.view}.${settings.size}.png`);
    try {
      await visit(reader, page);
    } catch (error) {
      console.error(`${path}: ${error.message}`);
      process.exitCode = 1;
    }
    await reader.page.screenshot({ path, fullPage: true });
    await reader.context.close();
  }
  await city.stop();
}
await browser.close();
