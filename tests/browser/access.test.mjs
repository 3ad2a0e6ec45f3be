/** The pages for everybody: languages and views, by keyboard alone, without JavaScript, and small enough to load. */
import assert from "node:assert/strict";
import { journeys } from "./support/journey.mjs";
import { PEOPLE } from "./support/program.mjs";

const journey = journeys();

journey("language and view change by one press, stay, and keep the page", async ({ arrive, as }) => {
  const reader = await as(PEOPLE.parent);
  await reader.open("/my/sampling");
  await reader.press("English");
  assert.equal(new URL(reader.page.url()).pathname, "/my/sampling");
  await reader.press("Large view");
  assert.deepEqual([await reader.attribute("html", "lang"), await reader.attribute("body", "data-view")], ["en", "large"]);
  await reader.open("/");
  assert.deepEqual([await reader.attribute("html", "lang"), await reader.attribute("body", "data-view")], ["en", "large"]);
  await reader.press("中文");
  await reader.press("标准版");
  await reader.open("/my");
  assert.deepEqual([await reader.attribute("html", "lang"), await reader.attribute("body", "data-view")], ["zh-CN", "standard"]);
  const plain = await arrive({ javaScriptEnabled: false });
  await plain.open("/?lang=en");
  await plain.open("/sign-in");
  assert.equal(await plain.page.getByRole("button", { name: "Sign in", exact: true }).count(), 1);
});

journey("by keyboard alone: sign in, get a code, make it anew", async ({ arrive }) => {
  const reader = await arrive();
  const { page } = reader;
  /** Moves the focus by Tab to a control of this name, as a person does who watches the focus ring. */
  const tabTo = async (name) => {
    for (let presses = 0; presses < 60; presses++) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const { activeElement: element } = document;
        // The whole row of a choice is what has the focus for the eye.
        const { outlineStyle, boxShadow } = getComputedStyle(element.closest(".choice") ?? element);
        return { name: (element.labels?.[0] ?? element).innerText?.trim(), ring: outlineStyle !== "none" || boxShadow !== "none" };
      });
      if (at.name?.startsWith(name)) {
        assert.ok(at.ring, `the focus is visible on ${name}`);
        return;
      }
    }
    assert.fail(`${name} was not reached by Tab`);
  };
  const enter = (name) => tabTo(name).then(() => reader.leave(() => page.keyboard.press("Enter")));
  await reader.open("/");
  await enter("登录");
  await tabTo(PEOPLE.adult.name);
  await page.keyboard.press("ArrowDown");
  await enter("登录");
  await reader.read("王*英");
  await tabTo("申领");
  await enter("申领");
  await enter("申领");
  await reader.see("[data-result=done]");
  assert.ok(await page.evaluate(() => document.activeElement.matches("[data-result=done]")), "the result has the focus");
  await enter("重新生成");
  await enter("确认重新生成");
  assert.ok(await page.evaluate(() => document.activeElement.matches("[data-result=done]")), "the result has the focus");
});

journey("the first Tab leads past the header", async ({ arrive }) => {
  const reader = await arrive();
  await reader.open("/");
  await reader.page.keyboard.press("Tab");
  await reader.page.keyboard.press("Enter");
  assert.equal(new URL(reader.page.url()).hash, "#main");
  await reader.look();
});

journey("without JavaScript: everything but the live code", async ({ arrive }) => {
  const reader = await arrive({ javaScriptEnabled: false });
  await reader.open("/sign-in");
  await reader.page.getByLabel(PEOPLE.disability.name).check();
  await reader.press("登录");
  await reader.open("/my/sampling");
  await reader.press("申领");
  await reader.see("[data-result=done]");
  await reader.press("重新生成");
  await reader.press("确认重新生成");
  await reader.see("[data-died]");
  await reader.see(".qr svg");
  const [download] = await Promise.all([reader.page.waitForEvent("download"), reader.control("保存图片").click()]);
  assert.match(download.suggestedFilename(), /^演示-.*码\.png$/);
  await reader.open("/my/offline");
  await reader.press("申领");
  await reader.press("挂失");
  await reader.press("确认挂失");
  await reader.see("[data-result=done]");
  await reader.open("/my/live");
  await reader.see("noscript .notice");
  await reader.press("退出登录");
  await reader.open("/my");
  assert.equal(new URL(reader.page.url()).pathname, "/sign-in");
});

journey("an unknown address is a page for people and a problem for programs", async ({ arrive }) => {
  const reader = await arrive();
  for (const path of ["/nowhere", "/my/a/b/c", "/docs/nowhere", "//other.example"]) {
    const answer = await reader.open(path);
    assert.equal(answer.status(), 404, path);
    await reader.read("没有这个页面");
  }
  assert.equal(await reader.page.locator("a[href^='//']").count(), 0);
  await reader.press("English");
  await reader.press("中文");
  const form = await reader.open("/kiosk/person");
  assert.equal(form.status(), 405);
  await reader.read("没有这个页面");
  const plain = await reader.page.evaluate(async () => {
    const answer = await fetch("/nowhere");
    return [answer.status, answer.headers.get("content-type")];
  });
  assert.deepEqual(plain, [404, "application/problem+json"]);
  await reader.page.goto(`${reader.city.origin}/api/v1/nowhere`);
  assert.match(await reader.page.locator("body").innerText(), /not_found/);
});

journey("every page is small, and its files are kept by the browser", async ({ arrive, as }) => {
  for (const reader of [await arrive(), await as(PEOPLE.adult)]) {
    let bytes = 0;
    const session = await reader.context.newCDPSession(reader.page);
    await session.send("Network.enable");
    session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
    for (const path of ["/", "/sign-in", "/my", "/my/live", "/my/family"]) {
      await session.send("Network.clearBrowserCache");
      bytes = 0;
      await reader.page.goto(reader.city.origin + path, { waitUntil: "networkidle" });
      assert.ok(bytes > 1_000 && bytes < 150_000, `${path}: ${bytes} bytes over the wire`);
    }
  }
});
