/** A resident's own codes: get, show, save, print, reissue, report lost. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { journeys } from "./support/journey.mjs";
import { decode, rendered } from "./support/decode.mjs";
import { PEOPLE } from "./support/program.mjs";

const journey = journeys();
const DIED = "这张码立即失效";

/** The time this many seconds from now, as the command line takes it. */
const later = (seconds) => new Date(Date.now() + seconds * 1000).toISOString();

journey("from the first page to a live code that admits, and whose screenshot does not", async ({ city, arrive }) => {
  const daughter = await arrive({ size: "phone", deviceScaleFactor: 2 });
  await daughter.open("/");
  await daughter.press("登录");
  await daughter.page.getByRole("radio", { name: PEOPLE.adult.name }).check();
  await daughter.press("登录");
  await daughter.read("张*三");
  await daughter.press("申领", daughter.page.locator("[data-kind=live]"));
  await daughter.press("申领");
  const result = await daughter.see("[data-result=done]");
  assert.match(await result.innerText(), /随申码已办好/);
  await daughter.see("[data-code-id][data-live]");
  assert.match(await (await daughter.see(".countdown")).innerText(), /\d+ 秒后自动更新/);

  const picture = await daughter.shownCode();
  const code = await decode(picture);
  assert.equal((await city.verify("sentinel", code)).reason, "ok");
  assert.equal((await city.verify("sampling_desk", code)).decision, "admit");
  const minute = await city.verify("sentinel", code, { at: later(90) });
  assert.deepEqual([minute.decision, minute.reason], ["refuse", "stale_proof"]);
  const fresh = Date.parse(await daughter.attribute("[data-code-id]", "data-fresh-until"));
  assert.ok(fresh > Date.now() && fresh < Date.now() + 61_000, "data-fresh-until is within the next minute");

  // The picture itself, as a person with a photograph of the screen would send it.
  const path = city.file("screenshot.png", picture);
  assert.equal((await city.verifyImage("sentinel", path)).reason, "ok");

  await daughter.open("/my");
  await daughter.press("亮码", daughter.page.locator("[data-kind=live]"));
  await daughter.see("[data-code-id][data-live]");
  assert.equal((await city.verify("sentinel", await decode(await daughter.shownCode()))).reason, "ok");
});

journey("a live code is reissued, and the old one is refused at once", async ({ city, as }) => {
  const elder = await as(PEOPLE.elder, { view: "large", size: "phone", deviceScaleFactor: 2 });
  await elder.open("/my/live");
  await elder.press("申领");
  await elder.see("[data-live]");
  const [oldId, oldCode] = [await elder.attribute("[data-code-id]", "data-code-id"), await decode(await elder.shownCode())];
  await elder.press("再次申领");
  await elder.read(DIED);
  await elder.press("确认再次申领");
  await elder.see("[data-live]");
  assert.equal(await elder.attribute("[data-result=done]", "data-died"), oldId);
  const newCode = await decode(await elder.shownCode());
  assert.equal((await city.verify("sentinel", oldCode)).reason, "superseded");
  assert.equal((await city.verify("sentinel", newCode)).reason, "ok");

  await elder.press("挂失");
  await elder.read(DIED);
  await elder.press("取消");
  assert.equal((await city.verify("sentinel", newCode)).reason, "ok");
  await elder.press("挂失");
  await elder.press("确认挂失");
  await elder.see("[data-result=done]");
  assert.equal((await city.verify("sentinel", newCode)).reason, "reported_lost");
});

journey("a live code goes on without network, and says so", async ({ city, as }) => {
  const rider = await as(PEOPLE.red, { size: "phone", deviceScaleFactor: 2 });
  await rider.page.clock.install();
  await rider.open("/my/live");
  await rider.press("申领");
  await rider.see("[data-live]");
  rider.allow(/ERR_INTERNET_DISCONNECTED/);
  const before = Date.parse(await rider.attribute("[data-code-id]", "data-fresh-until"));
  await rider.context.setOffline(true);
  await rider.see("body[data-connection=offline]");
  await rider.read("没有网络。此码仍可出示。");
  await rider.look();
  await rider.page.clock.fastForward(20_000);
  await rider.page.waitForFunction((old) => Date.parse(document.querySelector("[data-code-id]").dataset.freshUntil) > old, before);
  const code = await decode(await rider.shownCode());
  assert.equal((await city.verify("sentinel", code, { at: later(20) })).reason, "standing_red");
  await rider.context.setOffline(false);
  await rider.see("body[data-connection=online]");
});

journey("cleared browser data: the page says that the key is gone, and getting the code again helps", async ({ as }) => {
  const forgetful = await as(PEOPLE.group, { size: "phone" });
  await forgetful.open("/my/live");
  await forgetful.press("申领");
  await forgetful.see("[data-live]");
  await forgetful.page.evaluate(async () => {
    for (const { name } of await indexedDB.databases()) indexedDB.deleteDatabase(name);
  });
  await forgetful.open("/my/live");
  await forgetful.read("这个浏览器里没有此码的密钥");
  assert.equal(await forgetful.page.locator(".qr svg, .qr canvas").count(), 0);
  await forgetful.look();
  await forgetful.press("再次申领");
  await forgetful.press("确认再次申领");
  await forgetful.see("[data-live]");
});

journey("a second phone is told where the code is, and a shared computer gets none", async ({ as }) => {
  const phone = await as(PEOPLE.disability, { size: "phone" });
  await phone.open("/my/live");
  await phone.press("申领");
  await phone.see("[data-live]");
  const second = await as(PEOPLE.disability, { size: "phone" });
  await second.open("/my/live");
  await second.read("此码绑定在申领时用的手机上");
  const shared = await as(PEOPLE.disability, { shared: true });
  await shared.open("/my/live");
  await shared.read("公用电脑上不能申领或出示此码");
  assert.equal(await shared.page.locator("[data-act=issue], [data-act=reissue]").count(), 0);
  const forced = await shared.page.locator("form [name=form_token]").first().inputValue();
  const answer = await shared.post("/my/live/issue", { form_token: forced, command_id: crypto.randomUUID(), device_key: "" });
  assert.equal(answer.status(), 403);
});

journey("a sampling code is shown, saved, made anew, and each sentence about it is true", async ({ city, as }) => {
  const adult = await as(PEOPLE.parent);
  await adult.open("/my/live");
  await adult.press("申领");
  await adult.open("/my/sampling");
  await adult.press("申领");
  const first = await adult.attribute("[data-code-id]", "data-code-id");
  assert.equal(await adult.attribute("[data-result=done]", "data-died"), null);
  assert.equal(await adult.attribute("[data-result=done]", "data-alive"), "live");
  const shown = await decode(await adult.shownCode());
  assert.equal((await city.verify("sampling_desk", shown)).reason, "ok");
  assert.equal((await city.verify("sentinel", shown)).reason, "kind_not_accepted_here");

  await adult.open("/my/sampling");
  await adult.press("亮码");
  assert.equal(await decode(await adult.shownCode()), shown);
  const [download] = await Promise.all([adult.page.waitForEvent("download"), adult.control("保存图片").click()]);
  const saved = join(city.folder, "saved.png");
  await download.saveAs(saved);
  assert.equal(await decode(readFileSync(saved)), shown);
  assert.match(download.suggestedFilename(), /^演示-\D+\.png$/);

  await adult.open("/my/sampling");
  await adult.press("重新生成");
  await adult.read(DIED);
  await adult.press("确认重新生成");
  assert.equal(await adult.attribute("[data-result=done]", "data-died"), first);
  assert.equal(await adult.attribute("[data-result=done]", "data-alive"), "live");
  assert.equal((await city.verifyImage("sampling_desk", saved)).reason, "superseded");
  assert.equal((await city.verify("sampling_desk", await decode(await adult.shownCode()))).reason, "ok");
});

journey("a paper code is printed, read at 150 dots per inch, and reported lost", async ({ city, as }) => {
  const elder = await as(PEOPLE.elder);
  await elder.open("/my/offline");
  await elder.press("申领");
  await elder.see("[data-result=done]");
  const [tab] = await Promise.all([elder.context.waitForEvent("page"), elder.control("打印").click()]);
  await tab.waitForURL("**/my/offline/sheet/*");
  const pdf = await elder.context.request.get(tab.url());
  assert.equal(pdf.headers()["content-type"], "application/pdf");
  assert.match(decodeURIComponent(pdf.headers()["content-disposition"]), /演示-离线随申码\.pdf/);
  const sheet = city.file("sheet.pdf", await pdf.body());
  const code = await decode(await rendered(sheet));
  assert.equal((await city.verify("sampling_desk", code)).reason, "ok");
  const desk = await city.verify("staffed", code, { idNumber: PEOPLE.elder.idNumber });
  assert.equal(desk.reason, "ok");

  await elder.open("/my/offline");
  await elder.press("挂失");
  await elder.press("确认挂失");
  const result = await elder.see("[data-result=done]");
  assert.match(await result.innerText(), /离线随申码已挂失/);
  const late = await elder.context.request.get(tab.url());
  assert.equal(new URL(late.url()).pathname, "/my/offline", "a sheet of a lost code is not printed again");
  assert.equal((await city.verify("sampling_desk", code)).reason, "reported_lost");
  await elder.open("/my");
  assert.equal(await elder.attribute("[data-kind=offline] .state", "data-state"), "reported_lost");
});

journey("a code that is on hold can be reported lost and nothing else", async ({ as }) => {
  const held = await as(PEOPLE.held);
  await held.open("/my");
  assert.equal(await held.attribute("[data-kind=offline] .state", "data-state"), "suspended");
  await held.press("查看", held.page.locator("[data-kind=offline]"));
  await held.read("此码已暂停使用");
  const since = Number(await held.attribute("[data-suspended-since]", "data-suspended-since"));
  assert.ok(Math.abs(since - Date.now() / 1000) < 600, "the hold began when the demo was made");
  await held.read("咨询电话");
  assert.deepEqual(await held.page.locator("[data-act]").evaluateAll((all) => all.map((one) => one.dataset.act)), ["loss"]);
});

journey("the health status is shown to the person, and not to a relative", async ({ as }) => {
  const red = await as(PEOPLE.red);
  await red.open("/my");
  assert.match(await (await red.see("[data-standing=red]")).innerText(), /健康状态：红码[\s\S]*人工通道/);
  const parent = await as(PEOPLE.parent);
  await parent.open("/my");
  await parent.see("[data-standing=green]");
  await parent.open("/my/family");
  await parent.page.getByLabel("身份证号码", { exact: true }).fill(PEOPLE.child.idNumber);
  await parent.page.getByLabel("姓名", { exact: true }).fill(PEOPLE.child.name);
  await parent.press("添加亲属");
  await parent.open("/my?for=1");
  assert.equal(await parent.page.locator("[data-standing]").count(), 0);
  const child = await as(PEOPLE.child);
  await child.open("/my/family");
  assert.equal((await (await child.see("[data-guardians]")).innerText()).trim(), "李*");
});

journey("somebody who is not eligible is told whom to ask", async ({ as }) => {
  const adult = await as(PEOPLE.adult);
  await adult.open("/my/offline");
  await adult.press("申领");
  const problem = await adult.see("[data-result=not_eligible]");
  assert.equal(await problem.getAttribute("data-outcome"), "not_done");
  assert.match(await problem.innerText(), /自助终端或窗口/);
});
