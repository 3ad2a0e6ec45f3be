/** An unattended gate: full screen, no keyboard, and nothing about a person that the public should not see. */
import assert from "node:assert/strict";
import { decode } from "./support/decode.mjs";
import { journeys } from "./support/journey.mjs";
import { City, PEOPLE } from "./support/program.mjs";

const journey = journeys();

async function liveCode(as, person) {
  const holder = await as(person, { size: "phone", deviceScaleFactor: 2 });
  await holder.open("/my/live");
  await holder.press("申领");
  await holder.see("[data-live]");
  const code = await decode(await holder.shownCode());
  await holder.page.close();
  return code;
}

/** A scanner types without anybody touching the page. */
async function scan(gate, text) {
  await gate.page.keyboard.insertText(text);
  await gate.page.keyboard.press("Enter");
}

journey("a live code admits, the page returns to idle by itself, and starts without a hand", async ({ as }) => {
  const code = await liveCode(as, PEOPLE.adult);
  const gate = await as("gate", { size: "kiosk" });
  await gate.page.clock.install();
  await gate.open("/gate");
  await gate.read("请出示");
  assert.match(await (await gate.see("#sync")).innerText(), /数据/);
  await scan(gate, code);
  const shown = await gate.see(".verdict[data-decision=admit]");
  assert.match(await shown.innerText(), /通过[\s\S]*请通行/);
  await gate.look();
  await gate.page.clock.fastForward(4_000);
  await gate.page.locator(".verdict").waitFor({ state: "detached" });
  await gate.read("请出示");
  await scan(gate, code);
  await gate.see(".verdict[data-decision=admit]");
});

journey("red and held are shown to the public as 请走人工通道 only", async ({ as }) => {
  const code = await liveCode(as, PEOPLE.red);
  const gate = await as("gate", { size: "kiosk" });
  await gate.open("/gate");
  await scan(gate, code);
  const shown = await gate.see(".verdict[data-decision=refuse]");
  assert.match(await shown.innerText(), /请走人工通道/);
  assert.doesNotMatch(await gate.page.locator("body").innerText(), /红码|吴/);
  await gate.look();
});

journey("when the program stops, the gate never says that a code is valid", async ({ arrive }) => {
  const city = await City.start();
  const as = async (identity, options) => (await arrive({ city, ...options })).signIn(identity);
  const code = await liveCode(as, PEOPLE.adult);
  const gate = await as("gate", { size: "kiosk" });
  await gate.open("/gate");
  await city.kill();
  await gate.see("body[data-connection=offline]");
  await scan(gate, code);
  const shown = await gate.see(".verdict[data-decision=cannot_check]");
  assert.match(await shown.innerText(), /无法核验/);
  await gate.look();
  await city.begin(city.port);
  await gate.see("body[data-connection=online]");
  await city.stop();
});
