/** A kiosk: issue, print, print again, reissue, report lost, for oneself and for a relative; and its limits of time. */
import assert from "node:assert/strict";
import { decode, rendered } from "./support/decode.mjs";
import { journeys } from "./support/journey.mjs";
import { begin, kioskCity, printer, reading, typeNumber } from "./support/kiosk.mjs";
import { City, PEOPLE } from "./support/program.mjs";

const journey = journeys();

/** The printed sheet as a PDF, as the browser's printer gets it. */
async function sheet(reader, name) {
  const pdf = await reader.page.pdf({ preferCSSPageSize: true, printBackground: true });
  return decode(await rendered(reader.city.file(name, pdf)));
}

journey("an 82-year-old gets a paper code, prints it again, and reports it lost", async ({ city, as }) => {
  const elder = await as("kiosk", { size: "kiosk", view: "large" });
  const printed = await printer(elder);
  await begin(elder, PEOPLE.elder);
  await elder.press("替本人办理");
  await elder.press(elder.page.locator("[data-kind=offline] [data-act=issue]"));
  await elder.press("确认申领");
  await elder.see("[data-result=done]");
  assert.equal(await printed(), 1, "it prints at once");
  await elder.read("打印出来了吗？");
  const first = await sheet(elder, "first.pdf");
  assert.equal((await city.verify("sampling_desk", first)).reason, "ok");

  await elder.press("再打印一次");
  await elder.see("[data-result=done]");
  assert.equal(await printed(), 2);
  assert.equal(await sheet(elder, "again.pdf"), first, "the same code");
  await elder.press("结束办理", elder.page.locator("main"));
  await elder.read("请取走身份证和打印件");
  assert.deepEqual([await elder.attribute("html", "lang"), await elder.attribute("body", "data-view")], ["zh-CN", "standard"]);

  await begin(elder, PEOPLE.elder);
  await elder.press("替本人办理");
  await elder.press(elder.page.locator("[data-kind=offline] [data-act=loss]"));
  await elder.read("这张码立即失效");
  await elder.press("确认挂失");
  await elder.see("[data-result=done][data-died]");
  assert.equal((await city.verify("sampling_desk", first)).reason, "reported_lost");
  await elder.press("结束办理", elder.page.locator("main"));
});

journey("a reissue ends the old print, and Back and Reload do nothing twice", async ({ city, as }) => {
  const person = await as("kiosk", { size: "kiosk" });
  await printer(person);
  await begin(person, PEOPLE.disability);
  await person.press("替本人办理");
  await person.press(person.page.locator("[data-act=issue]"));
  await person.press("确认申领");
  const old = await sheet(person, "old.pdf");
  await person.press("结束办理", person.page.locator("main"));

  await begin(person, PEOPLE.disability);
  await person.press("替本人办理");
  await person.press(person.page.locator("[data-act=reissue]"));
  await person.leave(() => person.control("确认补领").dblclick());
  const died = await (await person.see("[data-result=done]")).getAttribute("data-died");
  const fresh = await sheet(person, "new.pdf");
  assert.equal((await city.verify("sampling_desk", old)).reason, "superseded");
  assert.equal((await city.verify("sampling_desk", fresh)).reason, "ok");
  await person.page.reload();
  assert.equal(await (await person.see("[data-result=done]")).getAttribute("data-died"), died);
  await person.page.goBack();
  await person.page.goForward();
  assert.equal(await (await person.see("[data-result=done]")).getAttribute("data-died"), died);
  await person.page.locator("form#finish").evaluate((form) => form.requestSubmit());
  await person.read("请取走身份证和打印件");
  await person.page.goBack();
  await person.page.waitForLoadState();
  assert.doesNotMatch(await person.page.content(), /陈|990100197911020050/, "Back shows nothing of the last person");
});

journey("a parent prints for the child, and nobody prints for a stranger", async ({ city, as }) => {
  const parent = await as("kiosk", { size: "kiosk" });
  await printer(parent);
  await begin(parent, PEOPLE.parent);
  await parent.press("替亲属办理");
  await typeNumber(parent, PEOPLE.child.idNumber);
  await parent.press(parent.page.locator("[data-act=issue]").first());
  await parent.press("确认申领");
  await parent.see("[data-result=done]");
  assert.equal((await city.verify("sampling_desk", await sheet(parent, "child.pdf"))).reason, "ok");
  await parent.press("结束办理", parent.page.locator("main"));

  await begin(parent, PEOPLE.parent);
  await parent.press("替亲属办理");
  await typeNumber(parent, PEOPLE.group.idNumber);
  const offered = parent.page.locator("[data-act=issue]");
  if ((await offered.count()) > 0) {
    await parent.press(offered.first());
    await parent.press("确认申领");
  }
  await parent.see("[data-result=relationship_unknown]");
});

journey("a mistyped number is explained, and stays", async ({ as }) => {
  const person = await as("kiosk", { size: "kiosk" });
  for (const [typed, said] of [["123", "您输入了 3 位"], ["990100194403080011", "逐位核对"], ["99010019440308001X", "逐位核对"]]) {
    await person.open("/kiosk/number");
    await typeNumber(person, typed);
    await person.read(said);
    assert.equal(await person.page.locator("#id_number").inputValue(), typed);
    assert.equal(await person.page.evaluate(() => document.activeElement.id), "id_number");
  }
  await person.page.locator("[data-key=back]").click();
  assert.equal(await person.page.locator("#id_number").inputValue(), "99010019440308001");
});

journey("whoever leaves is asked after 45 seconds, and forgotten 30 seconds later", async ({ as }) => {
  const person = await as("kiosk", { size: "kiosk" });
  await person.page.clock.install();
  await begin(person, PEOPLE.elder);
  await person.page.clock.fastForward(44_000);
  assert.ok(await person.page.locator("#idle-dialog").isHidden());
  await person.page.clock.fastForward(2_000);
  await person.see("#idle-dialog");
  await person.look();
  await person.control("继续办理").click();
  await person.page.locator("#idle-dialog").waitFor({ state: "hidden" });
  await person.page.clock.fastForward(46_000);
  await person.see("#idle-dialog");
  await person.leave(() => person.page.clock.fastForward(31_000));
  await person.page.waitForURL("**/kiosk?*");
  await person.page.goBack().catch(() => undefined);
  assert.doesNotMatch(await person.page.content(), /王|0010/);
});

journey("the large view gives 90 seconds", async ({ as }) => {
  const person = await as("kiosk", { size: "kiosk", view: "large" });
  await person.page.clock.install();
  await begin(person, PEOPLE.elder);
  await person.page.clock.fastForward(89_000);
  assert.ok(await person.page.locator("#idle-dialog").isHidden());
  await person.page.clock.fastForward(2_000);
  await person.see("#idle-dialog");
});

journey("outside a demo a typed number authenticates nobody; a card's reading does, once", async ({ arrive }) => {
  const [known, unknown] = [PEOPLE.elder.idNumber, "990100194403080029"];
  const city = await kioskCity();
  await city.command("register", "--id-number", `@${city.file("n.txt", known)}`, "--name", "王秀英");
  const kiosk = await arrive({ city, size: "kiosk" });
  await printer(kiosk);
  await kiosk.page.goto(await city.startLink("kiosk"));
  await kiosk.page.waitForURL("**/kiosk");
  const seen = [];
  for (const number of [known, unknown]) {
    await kiosk.open("/kiosk/number");
    await typeNumber(kiosk, number);
    seen.push((await kiosk.page.locator("main").innerText()).replaceAll(number, "N"));
    assert.equal(new URL(kiosk.page.url()).pathname, "/kiosk/identify");
  }
  assert.equal(seen[0], seen[1], "known and unknown look alike");
  assert.doesNotMatch(seen[0], /王/);
  for (const path of ["/kiosk/who", "/kiosk/codes", "/kiosk/confirm?act=issue&kind=offline"]) {
    await kiosk.open(path);
    assert.match(new URL(kiosk.page.url()).pathname, /^\/kiosk(\/identify)?$/, path);
  }
  const card = reading(known, "王秀英");
  const read = async (text) => {
    await kiosk.open("/kiosk");
    await kiosk.page.locator("#card").fill(text);
    await kiosk.leave(() => kiosk.page.locator("#card").press("Enter"));
    await kiosk.look();
  };
  await read(card.replace("王", "张"));
  await kiosk.read("没有读到身份证");
  await read(card);
  await kiosk.read("王*英");
  await kiosk.press("替本人办理");
  await kiosk.press(kiosk.page.locator("[data-act=issue]"));
  await kiosk.press("确认申领");
  await kiosk.see("[data-result=done]");
  await kiosk.press("结束办理", kiosk.page.locator("main"));
  await read(card);
  await kiosk.read("这次读卡已经用过");
  await city.stop();
});

journey("a kiosk that can authenticate nobody is out of order", async ({ arrive }) => {
  const city = await City.start({ args: [] });
  const kiosk = await arrive({ city, size: "kiosk" });
  await kiosk.page.goto(await city.startLink("kiosk"));
  await kiosk.page.waitForURL("**/kiosk");
  await kiosk.read("本机暂停服务");
  await kiosk.look();
  await city.stop();
});
