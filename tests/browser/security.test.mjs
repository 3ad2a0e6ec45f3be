/** Attacks on the pages: each is tried against the running program, and each must fail. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { request } from "node:http";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { once } from "node:events";
import { journeys } from "./support/journey.mjs";
import { City, PEOPLE, run, temporaryFolder } from "./support/program.mjs";

const journey = journeys();

/** The value of the session's cookie of an area. */
async function cookie(reader, name) {
  return (await reader.context.cookies(`${reader.city.origin}/${name}`)).find((one) => one.name === `citycode-${name}`);
}

/** The fields of a form of the page that the reader has open. */
const fields = (reader, action) =>
  reader.page.locator(`form[action='${action}']`).first().evaluate((form) => Object.fromEntries(new FormData(form)));

/** A request with headers that no browser sends. */
function raw(city, path, { method = "GET", headers = {}, body = "" } = {}) {
  return new Promise((done, failed) => {
    const sent = request({ host: "127.0.0.1", port: city.port, path, method, headers }, (answer) => {
      let text = "";
      answer.on("data", (data) => (text += data));
      answer.on("end", () => done({ status: answer.statusCode, headers: answer.headers, text }));
    });
    sent.on("error", failed);
    sent.end(body);
  });
}

journey("session fixation: a cookie that was there before the sign-in is not used after it", async ({ arrive }) => {
  const victim = await arrive();
  await victim.signIn(PEOPLE.adult);
  const before = await cookie(victim, "my");
  await victim.signIn(PEOPLE.elder);
  const after = await cookie(victim, "my");
  assert.notEqual(before.value, after.value);
  for (const { httpOnly, sameSite } of [before, after]) assert.deepEqual([httpOnly, sameSite], [true, "Strict"]);
  await victim.open("/my");
  await victim.read("王*英");
  const invented = await arrive();
  await invented.context.addCookies([{ ...after, value: "c2Vzc2lvbg" }]);
  await invented.open("/my");
  assert.equal(new URL(invented.page.url()).pathname, "/sign-in");
});

journey("another site cannot send a form, also from another port of this machine", async ({ city, as }) => {
  const victim = await as(PEOPLE.parent);
  await victim.open("/my/sampling");
  const stolen = await fields(victim, "/my/sampling/issue");
  const inputs = Object.entries(stolen).map(([name, value]) => `<input name="${name}" value="${value}">`);
  const page = `<!doctype html><title>evil</title><form method="post" action="${city.origin}/my/sampling/issue">${inputs.join("")}<button>go</button></form>`;
  const evil = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(page));
  evil.listen(0, "127.0.0.1");
  await once(evil, "listening");
  for (const host of ["127.0.0.1", "localhost"]) {
    const site = `http://${host}:${evil.address().port}`;
    victim.allow(new RegExp(`^request to another origin: ${site}/`), /status of (403|404)/);
    await victim.page.goto(`${site}/`);
    const answered = victim.page.waitForResponse((answer) => answer.url().endsWith("/my/sampling/issue"));
    await victim.page.getByRole("button", { name: "go" }).click();
    assert.equal((await answered).status(), 403, host);
  }
  evil.close();
  await victim.open("/my");
  assert.equal(await victim.attribute("[data-kind=sampling] .state", "data-state"), "none");
});

journey("a form without the session's token, or with another person's, does nothing", async ({ as }) => {
  const victim = await as(PEOPLE.parent);
  const attacker = await as(PEOPLE.adult);
  await victim.open("/my/sampling");
  await attacker.open("/my/sampling");
  const own = await fields(victim, "/my/sampling/issue");
  const { form_token: foreign } = await fields(attacker, "/my/sampling/issue");
  for (const form_token of ["", "0".repeat(32), foreign]) {
    assert.equal((await victim.post("/my/sampling/issue", { ...own, form_token })).status(), 403);
  }
  for (const path of ["/my/family/add", "/my/family/consent", "/my/family/end", "/my/lost-phone", "/my/sign-out", "/my/sampling/loss"]) {
    const answer = await victim.post(path, { ...own, form_token: foreign, id_number: PEOPLE.elder.idNumber, name: "a" });
    assert.equal(answer.status(), 403, path);
  }
  await victim.open("/my");
  assert.equal(await victim.attribute("[data-kind=sampling] .state", "data-state"), "none");
});

journey("DNS rebinding: another host name gets no page", async ({ city, as }) => {
  const person = await as(PEOPLE.adult);
  const { name, value } = await cookie(person, "my");
  for (const host of ["evil.example", `evil.example:${city.port}`, "127.0.0.1.evil.example", "localhost.evil.example"]) {
    const answer = await raw(city, "/my", { headers: { host, cookie: `${name}=${value}` } });
    assert.equal(answer.status, 421, host);
    assert.doesNotMatch(answer.text, /张/);
  }
  const own = await raw(city, "/my", { headers: { host: `127.0.0.1:${city.port}`, cookie: `${name}=${value}` } });
  assert.match(own.text, /张\*三/);
});

journey("markup in a name is text everywhere", async ({ arrive, as }) => {
  const marks = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "'-alert(1)-'", "{{7*7}}", "</title><svg onload=alert(1)>"];
  const parent = await as(PEOPLE.parent);
  for (const mark of marks) {
    await parent.open("/my/family");
    await parent.page.getByLabel("身份证号码", { exact: true }).fill(mark);
    await parent.page.getByLabel("姓名", { exact: true }).fill(mark);
    await parent.press("添加亲属");
    assert.equal(await parent.page.locator("#id_number").inputValue(), mark);
    await parent.page.getByLabel("身份证号码", { exact: true }).fill(PEOPLE.child.idNumber);
    await parent.press("添加亲属");
    assert.equal(await parent.page.locator("#name").inputValue(), mark, "it is no name: it is refused, and stays");
    assert.equal(await parent.page.locator("#name-error").count(), 1, mark);
    assert.equal(await parent.page.locator("main img, main script, main svg[onload]").count(), 0, mark);
    await parent.open("/my/family");
    await parent.page.getByLabel("亲属给您的验证码").fill(mark.slice(0, 16));
    await parent.press("查看");
  }
  const stranger = await arrive();
  for (const path of ["/sign-in?to=", "/my/", "/start?x=", "/?lang=", "/my?for="]) {
    const found = await stranger.page.goto(stranger.city.origin + path + encodeURIComponent(marks[1]));
    assert.doesNotMatch(await found.text(), /<img/, path);
  }
});

journey("nobody is sent to another site after the sign-in", async ({ arrive }) => {
  const person = await arrive();
  for (const to of ["//evil.example", "https://evil.example/my", "/\\evil.example", "/my//evil.example", "/my/../..//evil.example", "javascript:alert(1)", "/my\r\nLocation: https://evil.example"]) {
    const answer = await person.post("/sign-in", { person: "0", shared: "no", to });
    assert.equal(answer.status(), 303);
    assert.equal(answer.headers().location, "/my", to);
  }
  const deep = await person.post("/sign-in", { person: "0", shared: "no", to: "/my/sampling" });
  assert.equal(deep.headers().location, "/my/sampling");
});

journey("no page can be framed, and each forbids what it does not need", async ({ city, as }) => {
  const person = await as(PEOPLE.adult);
  for (const path of ["/", "/sign-in", "/start", "/pair", "/my", "/my/live", "/my/family", "/my/nothing"]) {
    const answer = await person.context.request.get(city.origin + path);
    const headers = answer.headers();
    const policy = headers["content-security-policy"];
    assert.match(policy, /default-src 'none'/, path);
    assert.match(policy, /frame-ancestors 'none'/, path);
    assert.match(policy, /form-action 'self'/, path);
    assert.doesNotMatch(policy, /unsafe-inline|'unsafe-eval'|https?:/, path);
    assert.equal(headers["cache-control"], "no-store", path);
    assert.match(headers["permissions-policy"], /camera=\(\)/, path);
    assert.equal(headers["x-content-type-options"], "nosniff", path);
    assert.match(headers["referrer-policy"], /no-referrer|same-origin/, path);
  }
});

journey("another person's codes are out of reach by changed numbers", async ({ as }) => {
  const parent = await as(PEOPLE.parent);
  await parent.open("/my/sampling");
  const form = await fields(parent, "/my/sampling/issue");
  for (const query of ["for=0", "for=1", "for=2", "for=18446744073709551615", "for=-1", "for=1%20", "for=990100201704160041"]) {
    assert.ok((await parent.context.request.get(`${parent.city.origin}/my?${query}`)).status() >= 400, query);
    for (const act of ["issue", "loss", "show", "print", "download"]) {
      const answer = await parent.post(`/my/sampling/${act}?${query}`, { ...form, command_id: crypto.randomUUID() });
      assert.ok(answer.status() >= 400, `${act} ${query}`);
      assert.doesNotMatch(await answer.text(), /data-code-id/, `${act} ${query}`);
    }
  }
  // Fields that the page does not have are not read.
  const foreign = { ...form, command_id: crypto.randomUUID(), id_number: PEOPLE.adult.idNumber, guardian_id_number: "", code_id: "00" };
  assert.match(await parent.postAndRead("/my/sampling/issue", foreign), /李\*/);
});

journey("a relative that nobody recorded gives no rights, and nobody learns who is registered", async ({ as }) => {
  const curious = await as(PEOPLE.group);
  await curious.open("/my/family");
  const form = await fields(curious, "/my/family/add");
  const asked = async (idNumber) => {
    const text = await curious.postAndRead("/my/family/add", { ...form, id_number: idNumber, name: "某人" });
    assert.match(text, /data-invitation/);
    return text.replaceAll(idNumber, "N").replace(/[0-9a-f-]{36}|\d{4,}/g, "…");
  };
  assert.equal(await asked(PEOPLE.elder.idNumber), await asked("990100194403080029"), "registered or not");
  assert.ok((await curious.context.request.get(`${curious.city.origin}/my?for=1`)).status() >= 400);
});

journey("guesses of invitations and start secrets are limited", async ({ as, arrive }) => {
  const guesser = await as(PEOPLE.held);
  await guesser.open("/my/family");
  const form = await fields(guesser, "/my/family/consent");
  const guess = (code) => guesser.postAndRead("/my/family/consent", { ...form, code });
  for (const code of ["10000000", "10000001", "10000002", "10000003", "10000004"]) assert.match(await guess(code), /没有这个验证码/);
  assert.match(await guess("10000005"), /data-result="rate_limited"/);
  await guesser.page.locator("#code").fill("10000006");
  await guesser.press("查看");
  await guesser.read("操作太频繁");

  // A program of its own: the limit holds for everybody who opens it.
  const city = await City.start();
  const stranger = await arrive({ city });
  const statuses = [];
  for (let tries = 0; tries < 25; tries++) statuses.push((await stranger.post("/start", { secret: `AAAA-${tries}` })).status());
  assert.equal(statuses[0], 403);
  assert.equal(statuses.at(-1), 429);
  await city.stop();
});

journey("a stolen cookie opens nothing after the sign-out", async ({ as, arrive }) => {
  const person = await as(PEOPLE.disability);
  await person.open("/my");
  const stolen = await cookie(person, "my");
  const thief = await arrive();
  await thief.context.addCookies([stolen]);
  await thief.open("/my");
  await thief.read("陈*国");
  await person.press("退出登录");
  assert.equal(await cookie(person, "my"), undefined);
  await thief.open("/my");
  assert.equal(new URL(thief.page.url()).pathname, "/sign-in");
});

journey("a shared computer keeps nothing after the sign-out", async ({ as }) => {
  const person = await as(PEOPLE.disability, { shared: true });
  await person.open("/my");
  const [answer] = await Promise.all([
    person.page.waitForResponse((one) => one.url().endsWith("/my/sign-out")),
    person.control("退出登录").click(),
  ]);
  assert.match((await answer.allHeaders())["clear-site-data"], /"storage"/);
  assert.equal(await cookie(person, "my"), undefined);
});

journey("a start link works once and only here", async ({ city, arrive }) => {
  const { out } = await city.command("open", "resident", "--id-number", `@${city.file("who.txt", PEOPLE.adult.idNumber)}`, "--print");
  const { link } = JSON.parse(out);
  const person = await arrive();
  await person.leave(() => person.page.goto(link).then(() => undefined));
  await person.page.waitForURL("**/my");
  await person.read("张*三");
  const again = await arrive();
  await again.page.goto(link);
  await again.read("已经用过");
  assert.equal(new URL(again.page.url()).hash, "");
});

journey("a demo is refused where it could be taken for the real thing", async () => {
  const folder = temporaryFolder("refused");
  const refused = async (args) => {
    const { code, err } = await run(["up", ...args], { env: { XDG_STATE_HOME: join(folder, "state") } });
    assert.notEqual(code, 0, args.join(" "));
    return err;
  };
  const data = join(folder, "data");
  assert.match(await refused(["--demo", "--data", data, "--listen", "0.0.0.0:0"]), /this machine only/);
  const used = join(folder, "used");
  mkdirSync(join(used, "log"), { recursive: true });
  assert.match(await refused(["--demo", "--data", used, "--listen", "127.0.0.1:0"]), /not made by a demo/);
  const demo = await City.start();
  await demo.stop();
  assert.match(await refused(["--data", join(demo.folder, "data"), "--listen", "127.0.0.1:0"]), /folder of a demo/);
  const config = demo.file("up.toml", '[identity_provider]\nissuer = "https://login.example"\njwks_file = "keys.json"\n');
  const err = await refused(["--demo", "--config", config, "--data", join(folder, "third"), "--listen", "127.0.0.1:0"]);
  assert.match(err, /identity provider/);
});

journey("without --demo nobody can be anybody", async ({ arrive }) => {
  const city = await City.start({ args: [] });
  const stranger = await arrive({ city });
  await stranger.open("/sign-in");
  await stranger.read("不能在这里登录");
  for (const form of [{ person: "0" }, { identity: "admin" }, { identity: "kiosk" }]) {
    assert.equal((await stranger.post("/sign-in", form)).status(), 403);
  }
  await city.stop();
});
