/** What people and machines do at a kiosk. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { City, temporaryFolder } from "./program.mjs";

export const PIN = "246810";
const READER_KEY = Buffer.alloc(32, 7);

/** A city, not a demo, whose kiosks have a card reader and an attendant. */
export async function kioskCity() {
  const folder = temporaryFolder("kiosk");
  const [key, pin] = [join(folder, "reader.key"), join(folder, "pin")];
  writeFileSync(key, READER_KEY, { mode: 0o600 });
  writeFileSync(pin, PIN, { mode: 0o600 });
  const config = `[pages.kiosk.identification.kiosk]\ncard_reader_key_file = "${key}"\nattendant_pin_file = "${pin}"\n`;
  return City.start({ folder, args: [], config });
}

/** What the card reader types when it has read a card now. */
export function reading(idNumber, name) {
  const signed = `CARD1;${idNumber};${name};${Math.floor(Date.now() / 1000)}`;
  return `${signed};${createHmac("sha256", READER_KEY).update(signed).digest("hex")}`;
}

/** Counts what the page sends to the printer instead of opening a dialog, and says that it was printed. */
export async function printer(reader) {
  await reader.context.addInitScript(() => {
    // An empty page has no storage.
    if (!location.protocol.startsWith("http")) return;
    sessionStorage.printed ??= "0";
    window.print = () => {
      sessionStorage.printed = String(Number(sessionStorage.printed) + 1);
      dispatchEvent(new Event("afterprint"));
    };
  });
  return () => reader.page.evaluate(() => Number(sessionStorage.printed));
}

/** Types an ID number at the keypad, as a finger does. */
export async function typeNumber(reader, idNumber, selector = "#id_number") {
  for (const digit of idNumber) await reader.page.locator(`[data-key="${digit}"]`).click();
  assert.equal(await reader.page.locator(selector).inputValue(), idNumber);
  await reader.press("下一步");
}

/** From the first page to the codes of this person. */
export async function begin(reader, person) {
  await reader.open("/kiosk");
  await reader.read("请刷身份证");
  await reader.press("没带身份证，输入号码");
  await typeNumber(reader, person.idNumber);
}
