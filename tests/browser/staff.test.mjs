/** A staffed checkpoint: scanner, picture, camera, ID card comparison, sampling registration, and a lost connection. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { decode } from "./support/decode.mjs";
import { journeys } from "./support/journey.mjs";
import { PEOPLE } from "./support/program.mjs";

const journey = journeys();

/** A code of a resident, as text and as a picture of the screen. */
async function codeOf(as, person, kind) {
  const holder = await as(person, { size: "phone", deviceScaleFactor: 2 });
  await holder.open(`/my/${kind}`);
  await holder.press("申领");
  const picture = await holder.shownCode();
  return { holder, picture, text: await decode(picture) };
}

/** Types like a scanner in keyboard mode: fast, and Enter at the end. */
async function scan(guard, text) {
  await guard.page.locator("#code").focus();
  await guard.page.keyboard.insertText(text);
  await guard.page.keyboard.press("Enter");
}

/** The verdict that is shown now; with `reason` it is waited for. */
async function verdict(guard, reason) {
  const shown = await guard.see(`.verdict[data-reason=${reason}]`);
  await guard.look();
  return { decision: await shown.getAttribute("data-decision"), text: await shown.innerText(), role: await shown.getAttribute("role") };
}

journey("a code is scanned: valid, replaced, on paper at the wrong place", async ({ as }) => {
  const { holder, text } = await codeOf(as, PEOPLE.adult, "live");
  const guard = await as("staff");
  await guard.open("/staff?place=staffed");
  await scan(guard, text);
  assert.deepEqual(Object.values(await verdict(guard, "ok")).slice(0, 1), ["admit"]);
  await holder.press("再次申领");
  await holder.press("确认再次申领");
  await holder.see("[data-live]");
  await scan(guard, text);
  const replaced = await verdict(guard, "superseded");
  assert.equal(replaced.decision, "refuse");
  assert.match(replaced.text, /已换新码/);
  assert.equal(replaced.role, "status");
  await scan(guard, "hello");
  assert.match((await verdict(guard, "unreadable")).text, /未能识别/);
  await guard.open("/staff?place=sampling_desk");
  await scan(guard, await decode(await holder.shownCode()));
  assert.match((await verdict(guard, "ok")).text, /已登记/);
  // The field keeps its focus, so that the next scan needs no hand.
  assert.equal(await guard.page.evaluate(() => document.activeElement.id), "code");
});

journey("a picture of a screen is chosen, pasted and dropped", async ({ city, as }) => {
  const { picture } = await codeOf(as, PEOPLE.parent, "live");
  const guard = await as("staff");
  const path = join(city.folder, "screen.png");
  writeFileSync(path, picture);
  await guard.open("/staff?place=staffed");
  await guard.page.locator("#image").setInputFiles(path);
  await verdict(guard, "ok");
  const bytes = picture.toString("base64");
  for (const kind of ["paste", "drop"]) {
    await guard.open("/staff?place=staffed");
    await guard.page.evaluate(async ({ kind, bytes }) => {
      const data = new DataTransfer();
      const raw = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
      data.items.add(new File([raw], "screen.png", { type: "image/png" }));
      const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    }, { kind, bytes });
    await verdict(guard, "ok");
  }
  const text = city.file("notes.txt", "not a picture");
  await guard.page.locator("#image").setInputFiles(text);
  await guard.read("这个文件不是图片");
  await guard.look();
});

journey("paper needs the ID card: the right one, the wrong one, and a person who does not match", async ({ as }) => {
  const { text } = await codeOf(as, PEOPLE.elder, "offline");
  const guard = await as("staff");
  await guard.open("/staff?place=staffed");
  const ask = async (number) => {
    await scan(guard, text);
    assert.equal((await verdict(guard, "id_check_required")).decision, "admit_after_id_check");
    await guard.page.locator("#id_number").fill(number);
    await guard.control("核对号码").click();
  };
  await ask(PEOPLE.adult.idNumber);
  assert.equal((await verdict(guard, "id_mismatch")).decision, "refuse");
  await ask(PEOPLE.elder.idNumber);
  await guard.control("人证一致").click();
  assert.equal((await verdict(guard, "ok")).decision, "admit");
  await ask(PEOPLE.elder.idNumber);
  await guard.control("人证不一致").click();
  assert.equal((await verdict(guard, "id_mismatch")).decision, "refuse");
  await guard.see("[data-recent]");
  assert.doesNotMatch(await guard.page.locator("#recent").innerText(), /王|990100/, "no names in the last scans");
});

journey("the ID card itself is read", async ({ as }) => {
  const guard = await as("staff");
  await guard.open("/staff?place=staffed");
  await scan(guard, PEOPLE.adult.idNumber);
  await guard.see(".verdict");
  assert.doesNotMatch(guard.page.url(), /990100/);
});

journey("a verdict leaves the screen after its time, and when the next scan begins", async ({ as }) => {
  const guard = await as("staff");
  await guard.page.clock.install();
  await guard.open("/staff?place=staffed");
  await scan(guard, "hello");
  await guard.see(".verdict[data-reason=unreadable]");
  await guard.page.clock.fastForward(9_000);
  await guard.page.locator(".verdict").waitFor({ state: "detached" });
  await guard.read("请扫描二维码或身份证");
});

journey("without connection every answer is 无法核验, and it is said within two seconds", async ({ as }) => {
  const { text } = await codeOf(as, PEOPLE.red, "sampling");
  const guard = await as("staff");
  guard.allow(/ERR_INTERNET_DISCONNECTED/);
  await guard.open("/staff?place=sampling_desk");
  await guard.context.setOffline(true);
  await guard.page.locator("body[data-connection=offline]").waitFor({ timeout: 4_000 });
  await scan(guard, text);
  const shown = await guard.see(".verdict[data-decision=cannot_check]");
  assert.match(await shown.innerText(), /无法核验/);
  await guard.look();
  await guard.context.setOffline(false);
  await guard.see("body[data-connection=online]");
  await scan(guard, text);
  await verdict(guard, "ok");
});

journey("without JavaScript a checkpoint works by form", async ({ as }) => {
  const { text, picture } = await codeOf(as, PEOPLE.group, "sampling");
  const guard = await as("staff", { javaScriptEnabled: false });
  await guard.open("/staff?place=sampling_desk");
  await guard.page.locator("#code").fill(text);
  await guard.press("核验");
  await guard.see(".verdict[data-reason=ok]");
  await guard.page.locator("#image").setInputFiles({ name: "code.png", mimeType: "image/png", buffer: picture });
  await guard.press(guard.page.locator("noscript button").first());
  await guard.see(".verdict[data-reason=ok]");
});
