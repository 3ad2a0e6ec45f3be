/** Printed sheets, rendered at 150 dots per inch, turned and blurred, read by two readers that are not ours. */
import assert from "node:assert/strict";
import { cornersOf, decode, rendered } from "./support/decode.mjs";
import { journeys } from "./support/journey.mjs";
import { begin, printer } from "./support/kiosk.mjs";
import { cropped, photographed } from "./support/paper.mjs";
import { City, PEOPLE } from "./support/program.mjs";

const journey = journeys({ demo: false });
const WAYS = [
  { degrees: 0, radius: 1 },
  { degrees: 4, radius: 1 },
  { degrees: -17, radius: 0 },
  { degrees: 90, radius: 1 },
  { degrees: 180, radius: 0 },
];

/** Reads the sheet in all ways; each gives the same code. */
async function readEachWay(pdf) {
  const page = await rendered(pdf);
  const code = await decode(page);
  const part = cropped(page, await cornersOf(page));
  for (const way of WAYS) assert.equal(await decode(photographed(part, way)), code, `${pdf} ${JSON.stringify(way)}`);
  return code;
}

for (const format of ["a4", "card", "roll"]) {
  journey(`what a kiosk prints is read in any position: ${format}`, async ({ arrive }) => {
    const city = await City.start({ config: `[pages.kiosk]\nprint_format = "${format}"\n` });
    const person = await (await arrive({ city, size: "kiosk" })).signIn("kiosk");
    await printer(person);
    await begin(person, PEOPLE.elder);
    await person.press("替本人办理");
    await person.press(person.page.locator("[data-kind=offline] [data-act=issue]"));
    await person.press("确认申领");
    await person.see("[data-result=done]");
    const sheet = await person.page.pdf({ preferCSSPageSize: true, printBackground: true });
    const code = await readEachWay(city.file(`${format}.pdf`, sheet));
    assert.equal((await city.verify("sampling_desk", code)).reason, "ok");
    if (format === "a4") {
      const resident = await (await arrive({ city })).signIn(PEOPLE.elder);
      await resident.open("/my/offline");
      const [pdf] = await Promise.all([resident.context.waitForEvent("page"), resident.control("打印").click()]);
      await pdf.waitForURL("**/my/offline/sheet/*");
      const own = await resident.context.request.get(pdf.url());
      assert.equal(own.headers()["content-type"], "application/pdf");
      assert.equal((await city.verify("sampling_desk", await readEachWay(city.file("own.pdf", await own.body())))).reason, "ok");
    }
    await city.stop();
  });
}
