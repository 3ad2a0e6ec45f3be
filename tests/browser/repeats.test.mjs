/** What people do that nobody planned: double clicks, Back, old forms, and a program that ends in the middle. */
import assert from "node:assert/strict";
import { journeys } from "./support/journey.mjs";
import { City, PEOPLE } from "./support/program.mjs";

const journey = journeys();

/** The id of the person's last code of a kind, as the city knows it. */
async function lastCode(city, person, kind) {
  const { out } = await city.command("codes", "--id-number", `@${city.file("who.txt", person.idNumber)}`);
  return JSON.parse(out).codes.find((code) => code.kind === kind)?.code_id;
}

journey("a double click on a confirming button does the act once", async ({ city, as }) => {
  const person = await as(PEOPLE.adult);
  await person.open("/my/sampling");
  await person.press("申领");
  const first = await person.attribute("[data-code-id]", "data-code-id");
  await person.press("重新生成");
  await person.leave(() => person.control("确认重新生成").dblclick());
  await person.see("[data-result=done]");
  // A second act would have ended the code of the first one, and not the code that was there before.
  assert.equal(await person.attribute("[data-result=done]", "data-died"), first);
  assert.equal(await lastCode(city, PEOPLE.adult, "sampling"), await person.attribute("[data-code-id]", "data-code-id"));
});

journey("the same form sent five times at once does the act once", async ({ city, as }) => {
  const person = await as(PEOPLE.elder);
  await person.open("/my/offline");
  const form = await person.page.locator("form[action='/my/offline/issue']").evaluate((f) => Object.fromEntries(new FormData(f)));
  const answers = await Promise.all([1, 2, 3, 4, 5].map(() => person.post("/my/offline/issue", form)));
  assert.deepEqual(answers.map((answer) => answer.status()), [303, 303, 303, 303, 303]);
  const pages = new Set(answers.map((answer) => answer.headers().location));
  assert.equal(pages.size, 1);
  await person.open([...pages][0]);
  assert.equal(await lastCode(city, PEOPLE.elder, "offline"), await person.attribute("[data-code-id]", "data-code-id"));
});

journey("Back and Reload after an act do nothing twice, and send no form again", async ({ city, as }) => {
  const person = await as(PEOPLE.parent);
  await person.open("/my/sampling");
  await person.press("申领");
  const first = await person.attribute("[data-code-id]", "data-code-id");
  await person.press("重新生成");
  await person.press("确认重新生成");
  const id = await person.attribute("[data-code-id]", "data-code-id");
  const posts = [];
  person.context.on("request", (request) => request.method() === "POST" && posts.push(request.url()));
  const result = person.page.url();
  await person.page.reload();
  await person.see("[data-result=done]");
  assert.equal(await person.attribute("[data-code-id]", "data-code-id"), id);
  await person.page.goBack();
  await person.read("这张码立即失效");
  // The page after the first act: its code was replaced, so it shows the code as it is now.
  await person.page.goBack();
  await person.page.waitForURL("**/my/sampling");
  assert.equal(await person.page.locator("[data-result]").count(), 0);
  await person.page.goForward();
  await person.page.goForward();
  await person.see(`[data-result=done][data-died="${first}"]`);
  assert.equal(person.page.url(), result);
  assert.deepEqual(posts, []);
  assert.equal(await lastCode(city, PEOPLE.parent, "sampling"), id);

  await person.open("/my/family");
  await person.page.getByLabel("身份证号码", { exact: true }).fill("123");
  await person.press("添加亲属");
  await person.page.getByLabel("身份证号码", { exact: true }).fill(PEOPLE.elder.idNumber);
  await person.page.getByLabel("姓名", { exact: true }).fill(PEOPLE.elder.name);
  await person.press("添加亲属");
  const invitation = await person.attribute("[data-invitation]", "data-invitation");
  await person.page.reload();
  assert.equal(await person.attribute("[data-invitation]", "data-invitation"), invitation);
  await person.page.goBack();
  assert.equal(await person.page.locator("#id_number").inputValue(), "123");
});

journey("the page after an act is for the session that did it", async ({ as }) => {
  const person = await as(PEOPLE.group);
  await person.open("/my/sampling");
  await person.press("申领");
  const result = new URL(person.page.url()).pathname;
  const results = (await person.context.cookies(`${person.city.origin}/my`)).find(({ name }) => name === "citycode-results");
  assert.deepEqual([results.httpOnly, results.sameSite, results.expires], [true, "Strict", -1]);
  for (const identity of [PEOPLE.group, PEOPLE.red]) {
    const other = await as(identity);
    await other.context.addCookies([results]);
    await other.open(result);
    assert.equal(new URL(other.page.url()).pathname, "/my/sampling");
    assert.equal(await other.page.locator("[data-result], .qr svg").count(), 0);
  }
});

journey("a form of an earlier session does nothing and says so", async ({ city, as }) => {
  const person = await as(PEOPLE.disability);
  await person.open("/my/sampling");
  await person.signIn(PEOPLE.disability);
  await person.press("申领");
  await person.read("这张表单已经失效");
  assert.equal(await lastCode(city, PEOPLE.disability, "sampling"), undefined);
  await person.open("/my/sampling");
  await person.press("申领");
  await person.see("[data-result=done]");
});

journey("the program crashes in the middle of a journey, and the journey goes on", async ({ arrive }) => {
  const city = await City.start();
  const person = await arrive({ city });
  await person.signIn(PEOPLE.adult);
  await person.open("/my/sampling");
  await city.crashAndRestart();
  await person.press("申领");
  await person.see("[data-result=done]");
  const id = await person.attribute("[data-code-id]", "data-code-id");
  await person.press("重新生成");
  await city.crashAndRestart();
  await person.press("确认重新生成");
  assert.equal(await person.attribute("[data-result=done]", "data-died"), id);
  await city.stop();
});

journey("while the program is down the page says that it is offline, and recovers", async ({ arrive }) => {
  const city = await City.start();
  const person = await arrive({ city, size: "phone" });
  await person.signIn(PEOPLE.adult);
  await person.open("/my/live");
  await person.press("申领");
  await person.see("[data-live]");
  await city.kill();
  await person.see("body[data-connection=offline]");
  assert.ok(await person.page.locator(".qr svg, .qr canvas").isVisible(), "the code stays");
  await city.begin(city.port);
  await person.see("body[data-connection=online]");
  await city.stop();
});

journey("a cookie of another city opens nothing", async ({ city, arrive }) => {
  const other = await City.start();
  const person = await arrive({ city: other });
  await person.signIn(PEOPLE.adult);
  await person.open("/my");
  // Cookies belong to a host and not to a port, so this browser sends the same cookie to the first city.
  person.city = city;
  await person.open("/my");
  assert.equal(new URL(person.page.url()).pathname, "/sign-in");
  await other.stop();
});
