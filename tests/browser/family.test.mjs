/** Relatives: who may act for whom, family codes, consent, and a lost phone. */
import assert from "node:assert/strict";
import { decode } from "./support/decode.mjs";
import { journeys } from "./support/journey.mjs";
import { PEOPLE } from "./support/program.mjs";

const journey = journeys();

/** Names a relative on `/my/family`. */
async function add(reader, person, name = person.name) {
  await reader.open("/my/family");
  await reader.page.getByLabel("身份证号码", { exact: true }).fill(person.idNumber);
  await reader.page.getByLabel("姓名", { exact: true }).fill(name);
  await reader.press("添加亲属");
}

journey("a parent adds the child and shows the child's family code", async ({ city, as }) => {
  const parent = await as(PEOPLE.parent, { size: "phone", deviceScaleFactor: 2 });
  await add(parent, PEOPLE.child);
  await parent.press(parent.page.getByRole("link", { name: "李*明" }));
  assert.equal(new URL(parent.page.url()).search, "?for=1");
  await parent.press("申领", parent.page.locator("[data-kind=family]"));
  await parent.press("申领");
  await parent.see("[data-live]");
  await parent.read("李*明");
  const code = await decode(await parent.shownCode());
  const verdict = await city.verify("sentinel", code);
  assert.deepEqual([verdict.reason, verdict.kind], ["ok", "family"]);

  await parent.open("/my?for=1");
  await parent.press("亮码", parent.page.locator("[data-kind=family]"));
  await parent.see("[data-live]");
  await parent.press("返回");
  assert.equal(new URL(parent.page.url()).search, "?for=1");
  // The child's sampling code, which the family code allows.
  await parent.press("申领", parent.page.locator("[data-kind=sampling]"));
  await parent.press("申领");
  assert.match(await parent.attribute("[data-result=done]", "data-alive"), /family/);

  await parent.open("/my/family?for=1");
  await parent.press("挂失");
  await parent.press("确认挂失");
  assert.equal((await city.verify("sentinel", code)).reason, "reported_lost");
});

journey("an adult becomes a relative by the consent of the other, and stops being one", async ({ city, as }) => {
  const daughter = await as(PEOPLE.adult, { size: "phone", deviceScaleFactor: 2 });
  const mother = await as(PEOPLE.elder, { view: "large" });
  await add(daughter, PEOPLE.elder);
  const invitation = await daughter.attribute("[data-invitation]", "data-invitation");
  assert.match(invitation, /^\d{8}$/);

  await mother.open("/my/family");
  await mother.page.getByLabel("亲属给您的验证码").fill("00000000");
  await mother.press("查看");
  await mother.read("没有这个验证码");
  assert.equal(await mother.page.evaluate(() => document.activeElement.id), "code");
  await mother.page.getByLabel("亲属给您的验证码").fill(` ${invitation.slice(0, 4)} ${invitation.slice(4)} `);
  await mother.press("查看");
  await mother.read("张*三 请求为您代办");
  await mother.press("同意");
  await mother.read("已登记亲属关系");
  assert.match(await (await mother.see("[data-guardians]")).innerText(), /张\*三/);

  await add(daughter, PEOPLE.elder);
  await daughter.open("/my/family?for=1");
  await daughter.press("申领");
  await daughter.see("[data-live]");
  const code = await decode(await daughter.shownCode());
  assert.equal((await city.verify("sentinel", code)).reason, "ok");

  await mother.open("/my/family");
  await mother.page.getByLabel("要取消的亲属的身份证号码").fill(PEOPLE.adult.idNumber);
  await mother.press("取消代办");
  await mother.see("[data-result=done]");
  await mother.read("没有登记可以为您办理的亲属");
  assert.equal((await city.verify("sentinel", code)).decision, "refuse");
  const after = await daughter.page.goto(`${city.origin}/my?for=1`);
  assert.notEqual(after.status(), 200);
});

journey("somebody else's invitation looks like none", async ({ as }) => {
  const one = await as(PEOPLE.group);
  await add(one, PEOPLE.held);
  const invitation = await one.attribute("[data-invitation]", "data-invitation");
  const other = await as(PEOPLE.disability);
  await other.open("/my/family");
  await other.page.getByLabel("亲属给您的验证码").fill(invitation);
  await other.press("查看");
  await other.read("没有这个验证码");
});

journey("what was typed wrongly is explained beside its field and stays", async ({ as }) => {
  const person = await as(PEOPLE.group);
  const cases = [
    ["", "身份证号码应为 18 位"],
    ["9901001944030800", "身份证号码应为 18 位"],
    ["990100440308001", "15 位的身份证号码已停用"],
    ["990100194403080011", "最后一位与前面的数字不符"],
    ["九九〇一〇〇一九四四〇三〇八〇〇一〇", "号码应为 17 位数字"],
    ["990100194413080018", "出生日期"],
  ];
  for (const [typed, said] of cases) {
    await person.open("/my/family");
    await person.page.getByLabel("身份证号码", { exact: true }).fill(typed);
    await person.page.getByLabel("姓名", { exact: true }).fill("王秀英");
    await person.press("添加亲属");
    await person.read(said);
    assert.equal(await person.page.evaluate(() => document.activeElement.id), "id_number", typed);
    assert.equal(await person.page.locator("#id_number").inputValue(), typed);
    assert.equal(await person.page.locator("#name").inputValue(), "王秀英");
  }
  // Full-width digits and spaces, as a Chinese keyboard types them, are understood.
  await person.open("/my/family");
  await person.page.getByLabel("身份证号码", { exact: true }).fill("９９０１００ １９４４０３０８ ００１０");
  await person.press("添加亲属");
  await person.read("请填写亲属的姓名");
  assert.equal(await person.page.evaluate(() => document.activeElement.id), "name");
});

journey("a lost phone: its sessions end everywhere, and its codes are refused", async ({ city, as }) => {
  const phone = await as(PEOPLE.red, { size: "phone", deviceScaleFactor: 2 });
  await phone.open("/my/live");
  await phone.press("申领");
  await phone.see("[data-live]");
  const [id, code] = [await phone.attribute("[data-code-id]", "data-code-id"), await decode(await phone.shownCode())];

  const atHome = await as(PEOPLE.red);
  await atHome.open("/my/lost-phone");
  await atHome.read("随申码（吴*）");
  await atHome.press("确认挂失");
  const result = await atHome.see("[data-result=done]");
  assert.equal(await result.getAttribute("data-died"), id);
  assert.equal((await city.verify("sentinel", code)).reason, "reported_lost");
  for (const reader of [phone, atHome]) {
    await reader.open("/my");
    assert.equal(new URL(reader.page.url()).pathname, "/sign-in");
  }
});
