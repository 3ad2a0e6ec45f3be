/** Guesses at a kiosk, and a portal that is ended and started again in the middle of a visit. */
import assert from "node:assert/strict";
import { decode, rendered } from "./support/decode.mjs";
import { journeys } from "./support/journey.mjs";
import { PIN, begin, kioskCity, printer, reading } from "./support/kiosk.mjs";
import { City, PEOPLE, idNumber } from "./support/program.mjs";

const journey = journeys({ demo: false });

journey("guesses of ID numbers and of the PIN are limited, and tell nothing; a card still works", async ({ arrive }) => {
  const city = await kioskCity();
  const known = PEOPLE.elder.idNumber;
  await city.command("register", "--id-number", `@${city.file("n.txt", known)}`, "--name", "王秀英");
  const kiosk = await arrive({ city, size: "kiosk" });
  await kiosk.page.goto(await city.startLink("kiosk"));
  await kiosk.page.waitForURL("**/kiosk");
  await kiosk.open("/kiosk/number");
  const form_token = await kiosk.page.locator("[name=form_token]").first().inputValue();
  const guess = async (id_number) => {
    const answer = await kiosk.post("/kiosk/person", { form_token, id_number });
    return [answer.status(), answer.headers().location ?? "", /操作太频繁/.test(await answer.text())].join(" ");
  };
  // At once, so that no time passes in which further guesses are allowed.
  const numbers = Array.from({ length: 60 }, (_, order) => (order % 6 === 0 ? known : idNumber("19440308", order * 2)));
  const answers = await Promise.all(numbers.map(guess));
  const [alike, limited] = ["303 /kiosk/identify false", "422  true"];
  assert.deepEqual(new Set(answers), new Set([alike, limited]), "known and unknown numbers look alike");
  assert.ok(answers.filter((answer) => answer === alike).length < 45, "the limit is 30, and 10 more a minute");

  const tryPin = async (pin) => {
    const answer = await kiosk.post("/kiosk/identify", { form_token, pin });
    return [answer.status(), answer.headers().location ?? ""].join(" ");
  };
  const pins = await Promise.all(Array.from({ length: 20 }, (_, tries) => tryPin(String(100_000 + tries))));
  assert.doesNotMatch(pins.join(), /303/);
  assert.doesNotMatch(await tryPin(PIN), /303/, "the right PIN comes too late");

  await kiosk.open("/kiosk");
  await kiosk.page.locator("#card").fill(reading(known, "王秀英"));
  await kiosk.leave(() => kiosk.page.locator("#card").press("Enter"));
  await kiosk.read("王*英");
  await city.stop();
});

journey("the portal is ended in the middle of a visit, and the visit goes on", async ({ arrive }) => {
  const city = await City.start();
  const elder = await (await arrive({ city, size: "kiosk" })).signIn("kiosk");
  await printer(elder);
  await begin(elder, PEOPLE.elder);
  await city.crashAndRestart();
  await elder.press("替本人办理");
  await elder.press(elder.page.locator("[data-kind=offline] [data-act=issue]"));
  await city.kill();
  await elder.see("body[data-connection=offline]");
  await elder.look();
  await city.begin(city.port);
  await elder.see("body[data-connection=online]");
  await elder.press("确认申领");
  await elder.see("[data-result=done]");
  const printed = async (name) => decode(await rendered(city.file(name, await elder.page.pdf({ preferCSSPageSize: true, printBackground: true }))));
  const first = await printed("first.pdf");
  await city.crashAndRestart();
  await elder.press("再打印一次");
  await elder.see("[data-result=done]");
  assert.equal(await printed("again.pdf"), first, "the same code");
  assert.equal((await city.verify("sampling_desk", first)).reason, "ok");
  await elder.press("结束办理", elder.page.locator("main"));
  await elder.read("请取走身份证和打印件");
  await city.stop();
});
