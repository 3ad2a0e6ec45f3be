/** Sign-in through an OpenID Connect provider, a real one on loopback: who gets in where, and every way in which it fails. */
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { journeys } from "./support/journey.mjs";
import { City, PEOPLE } from "./support/program.mjs";
import { Provider } from "./support/provider.mjs";

const journey = journeys({ demo: false });
let provider;
let city;

before(async () => {
  // The provider has to know the address of the pages before they run, and the pages that of the provider.
  const setUp = await City.start({ args: [] });
  await setUp.stop();
  provider = await Provider.start(`${setUp.origin}/sign-in/return`);
  city = await City.start({ folder: setUp.folder, port: setUp.port, args: [], config: provider.section(setUp.origin) });
  const number = city.file("resident.txt", PEOPLE.elder.idNumber);
  const { code, err } = await city.command("register", "--id-number", `@${number}`, "--name", PEOPLE.elder.name);
  assert.equal(code, 0, err);
});
after(() => provider?.stop());

/** A person whose browser also shows the provider's pages. */
async function arriveAt(arrive) {
  const person = await arrive({ city });
  person.allow(new RegExp(`request to another origin: ${provider.issuer}/`), new RegExp(`${provider.issuer}/favicon.ico`));
  return person;
}

/** Presses a link that leads to the provider, and waits for its form. */
async function goToProvider(person, name) {
  await person.control(name).click();
  await person.page.waitForURL(`${provider.issuer}/interaction/*`);
}

/** Signs in at the provider, and waits for a page of ours. */
async function confirm(person, account, { path = "/my", answer = "Confirm" } = {}) {
  await person.page.getByLabel("Account").fill(account);
  await person.page.getByRole("button", { name: answer }).click();
  await person.page.waitForURL((url) => url.origin === city.origin && url.pathname === path);
  await person.page.waitForLoadState();
  await person.look();
}

/** The page says in words that nobody is signed in, and nobody is. */
async function isRefused(person, said, result) {
  await person.read(said);
  await person.see(`[data-result=${result}]`);
  await person.look();
  await person.open("/my");
  assert.equal(new URL(person.page.url()).pathname, "/sign-in");
}

/** The address at the provider that a new sign-in leads to; the browser keeps the cookie of this sign-in. */
async function authorization(person) {
  const begun = await person.context.request.get(`${city.origin}/sign-in/oidc?area=my&shared=no`, { maxRedirects: 0 });
  return new URL(begun.headers().location);
}

/** The answer with which the provider sends a person back, before the pages see it. */
async function answerOf(person, address) {
  await person.page.goto(address.href);
  const { request } = person.context;
  let answer = await request.post(person.page.url(), { form: { account: "resident", answer: "yes" }, maxRedirects: 0 });
  const next = () => new URL(answer.headers().location, provider.issuer);
  while (next().origin === provider.issuer) answer = await request.get(next().href, { maxRedirects: 0 });
  return next();
}

journey("a resident signs in at the provider, and lands on the wanted page", async ({ arrive }) => {
  const person = await arriveAt(arrive);
  await person.open("/my/sampling");
  await person.read("登录由城市的身份认证平台完成");
  await goToProvider(person, "不是，我自己的设备");
  await confirm(person, "resident", { path: "/my/sampling" });
  await person.read("王*英");
  await person.press("申领");
  await person.see("[data-result=done]");
  assert.doesNotMatch(person.page.url(), /code=|state=/);
  // The session is the resident's and gives nothing elsewhere; the provider knows the person still, and gives no roles.
  await person.open("/ops");
  await person.control("登录").click();
  await person.read("这个账户没有这里的岗位权限");
  await person.look();
  await person.open("/my");
  await person.read("王*英");
});

journey("an officer signs in for /ops, is refused at /my, and may take another account there", async ({ arrive }) => {
  const officer = await arriveAt(arrive);
  await officer.open("/ops");
  await goToProvider(officer, "登录");
  await confirm(officer, "officer", { path: "/ops/code" });
  await officer.read("Officer Lin");
  assert.equal((await officer.page.goto(`${city.origin}/ops/keys`)).status(), 403, "unknown roles give nothing");
  await officer.open("/my");
  await officer.press("English");
  assert.equal(new URL(officer.page.url()).pathname, "/sign-in");
  await officer.control("No, it is my own device").click();
  await officer.read("did not give your ID number");
  await officer.look();
  await officer.press("Sign in");
  await goToProvider(officer, "No, it is my own device");
  await confirm(officer, "resident");
  await officer.read("王*英");
});

journey("a guard signs in for the places of the account", async ({ arrive }) => {
  const guard = await arriveAt(arrive);
  await guard.open("/staff");
  await goToProvider(guard, "登录");
  await confirm(guard, "guard", { path: "/staff" });
  await guard.see("#code");
});

journey("whoever refuses at the provider is not signed in", async ({ arrive }) => {
  const person = await arriveAt(arrive);
  await person.open("/sign-in");
  await goToProvider(person, "是，公用电脑");
  await confirm(person, "resident", { path: "/sign-in/return", answer: "Refuse" });
  await isRefused(person, "您在身份认证平台取消了登录", "not_allowed");
});

journey("a changed state, and an answer of another browser, sign nobody in", async ({ arrive }) => {
  const person = await arriveAt(arrive);
  const answer = await answerOf(person, await authorization(person));
  const changed = new URL(answer);
  changed.searchParams.set("state", "A".repeat(43));
  await person.page.goto(changed.href);
  await isRefused(person, "这次登录已经用过、中断，或者超过了十分钟", "stale_form");
  const victim = await arriveAt(arrive);
  await victim.page.goto(answer.href);
  await isRefused(victim, "这次登录已经用过、中断，或者超过了十分钟", "stale_form");
  const foreign = new URL(answer);
  foreign.searchParams.set("iss", "http://localhost:1");
  await person.page.goto(foreign.href);
  await isRefused(person, "这次登录已经用过、中断，或者超过了十分钟", "stale_form");
});

journey("a code works once", async ({ arrive }) => {
  const person = await arriveAt(arrive);
  const answer = await answerOf(person, await authorization(person));
  await person.page.goto(answer.href);
  await person.page.waitForURL("**/my");
  await person.press("退出登录");
  await person.page.goto(answer.href);
  await isRefused(person, "这次登录已经用过、中断，或者超过了十分钟", "stale_form");
  // With the state of a new sign-in the answer reaches the provider, which knows that the code was used.
  const next = await authorization(person);
  answer.searchParams.set("state", next.searchParams.get("state"));
  await person.page.goto(answer.href);
  await isRefused(person, "身份认证平台没有确认这次登录", "not_allowed");
});

journey("an ID token for another sign-in is refused: its nonce is wrong", async ({ arrive }) => {
  const person = await arriveAt(arrive);
  const address = await authorization(person);
  address.searchParams.set("nonce", "B".repeat(43));
  await person.page.goto(address.href);
  await confirm(person, "resident", { path: "/sign-in/return" });
  await isRefused(person, "身份认证平台没有确认这次登录", "not_allowed");
});

journey("an expired ID token is refused", async ({ arrive }) => {
  const person = await arriveAt(arrive);
  await provider.clockBehind(600);
  await person.open("/sign-in");
  await goToProvider(person, "不是，我自己的设备");
  await confirm(person, "resident", { path: "/sign-in/return" });
  await provider.clockBehind(0);
  await isRefused(person, "身份认证平台没有确认这次登录", "not_allowed");
});

journey("while the provider is down, the page says so", async ({ arrive }) => {
  const person = await arriveAt(arrive);
  person.allow(/answer 503/, /status of 503/);
  const answer = await answerOf(person, await authorization(person));
  await provider.stop();
  await person.page.goto(answer.href);
  await isRefused(person, "身份认证平台现在没有答复", "unavailable");
  await city.crashAndRestart();
  await person.open("/sign-in");
  await person.press("不是，我自己的设备");
  await isRefused(person, "身份认证平台现在没有答复", "unavailable");
});
