/**
 * Every page of `pages.mjs` in both languages and views, light and dark, on small and large screens. In the gate the
 * choices are combined pairwise; `CITYCODE_PAGES=all` combines each with each.
 */
import assert from "node:assert/strict";
import { PAGES, visit } from "./pages.mjs";
import { journeys } from "./support/journey.mjs";
import { City } from "./support/program.mjs";

const journey = journeys();
const LANGS = ["zh", "en"];
const VIEWS = ["standard", "large"];

/**
 * Each two values of different choices meet in some row (a covering array of strength 2). The rows N and N + 3 differ in
 * all but the size.
 */
const PAIRWISE = [
  { lang: "zh", view: "standard", size: "small", dark: false },
  { lang: "zh", view: "large", size: "phone", dark: false },
  { lang: "zh", view: "large", size: "desktop", dark: true },
  { lang: "en", view: "large", size: "small", dark: true },
  { lang: "en", view: "standard", size: "phone", dark: true },
  { lang: "en", view: "standard", size: "desktop", dark: false },
];
const EACH = LANGS.flatMap((lang) => VIEWS.flatMap((view) => ["small", "phone", "desktop", "kiosk"].flatMap((size) =>
  [false, true].map((dark) => ({ lang, view, size, dark })))));
const all = process.env.CITYCODE_PAGES === "all";

for (const [number, row] of (all ? EACH : PAIRWISE).entries()) {
  journey(`nothing is wrong with any page: ${Object.values(row).join(" ")}`, async ({ arrive }) => {
    const faults = [];
    // In the gate each page is seen in two rows: in both languages, views and brightnesses, in one size.
    const chosen = PAGES.filter((page, at) => all || (at + number) % 3 === 0);
    // A program of its own, because its residents may change each code a few times a minute only.
    const city = await City.start();
    const reader = await arrive({ city, ...row });
    for (const page of chosen) {
      try {
        await visit(reader, page);
        assert.equal(await reader.attribute("html", "lang"), row.lang === "zh" ? "zh-CN" : "en");
        assert.equal(await reader.attribute("body", "data-view"), row.view);
      } catch (error) {
        faults.push(`${page.name}: ${error.message}`);
      }
      await reader.page.close();
      reader.page = await reader.context.newPage();
    }
    await city.stop();
    assert.equal(faults.length, 0, faults.join("\n\n"));
  });
}
