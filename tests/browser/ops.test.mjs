/** Operations: what each role may see and do, devices that are paired and ended, officers' acts, import, keys, audit. */
import assert from "node:assert/strict";
import { decode } from "./support/decode.mjs";
import { journeys } from "./support/journey.mjs";
import { PEOPLE } from "./support/program.mjs";

const journey = journeys();
const TABS = ["counts", "devices", "code", "officer", "import", "keys", "policy", "audit", "components"];
const MAY = {
  officer: ["code", "officer", "policy"],
  health_authority: ["officer", "policy"],
  auditor: ["counts", "code", "policy", "audit"],
  privacy: ["officer", "policy"],
  admin: TABS,
};

journey("each role sees what it may do, and the rest is refused in words without content", async ({ as }) => {
  for (const [role, may] of Object.entries(MAY)) {
    const operator = await as(role);
    await operator.open("/ops");
    const links = await operator.page.locator(".tabs a").evaluateAll((all) => all.map((link) => link.getAttribute("href")));
    assert.deepEqual(links, may.map((tab) => `/ops/${tab}`), role);
    for (const tab of TABS) {
      const answer = await operator.page.goto(`${operator.city.origin}/ops/${tab}`);
      assert.equal(answer.status(), may.includes(tab) ? 200 : 403, `${role} ${tab}`);
      if (!may.includes(tab)) await operator.read("您不能查看这个页面");
    }
  }
});

journey("every page of operations is without faults", async ({ as }) => {
  const admin = await as("admin");
  for (const tab of TABS) await admin.open(`/ops/${tab}`);
  for (const act of ["suspend", "reinstate", "revoke", "standing", "relate", "unrelate", "rename", "erase"]) {
    await admin.open(`/ops/officer/${act}`);
  }
  await admin.open("/ops/keys/rotate");
});

journey("a device is paired by its code, works, and is ended within two seconds", async ({ as, arrive }) => {
  const [admin, device] = [await as("admin"), await arrive({ size: "kiosk" })];
  device.allow(/status of 410/, /status of 401/, /status of 403/);
  await device.open("/pair");
  await device.press("数字哨兵");
  const code = await device.attribute("[data-pairing-code]", "data-pairing-code");
  await admin.open("/ops/devices");
  const pair = async (digits) => {
    await admin.page.locator("#code").fill(digits);
    await admin.page.locator("#target").selectOption("place:sentinel").catch(async () => {
      const value = await admin.page.locator("#target option").evaluateAll((all) => all.find((one) => one.value.includes("sentinel")).value);
      await admin.page.locator("#target").selectOption(value);
    });
    await admin.page.locator("#device_name").fill("东门 1");
    await admin.press("配对");
  };
  await pair(code === "00000000" ? "00000001" : "00000000");
  await admin.read("配对码不对");
  await pair(`${code.slice(0, 4)} ${code.slice(4)}`);
  await admin.read("东门 1已配对");
  await device.page.waitForURL("**/gate");
  await device.read("请出示");
  const row = admin.page.locator("tr", { hasText: "东门 1" });
  await admin.press(row.locator("[data-act=end-device]"));
  await admin.read("两秒");
  const ended = Date.now();
  await admin.press("确认停用");
  await device.read("本设备已停用");
  assert.ok(Date.now() - ended < 6_000, "it was ended within two seconds, and some time of a busy machine");
  await device.look();
});

journey("wrong pairing codes are limited", async ({ as }) => {
  const admin = await as("admin");
  await admin.open("/ops/devices");
  for (let tries = 0; tries < 6; tries++) {
    await admin.page.locator("#code").fill(`1234567${tries}`);
    await admin.page.locator("#device_name").fill("x");
    await admin.leave(() => admin.control("配对").click());
  }
  await admin.read("操作太频繁");
});

/** A sampling code of a resident. */
async function sampling(as, person) {
  const holder = await as(person);
  await holder.open("/my/sampling");
  await holder.press("申领");
  return { id: await holder.attribute("[data-code-id]", "data-code-id"), text: await decode(await holder.shownCode()) };
}

journey("an officer suspends, reinstates and revokes a code, and sees its life by its serial", async ({ city, as }) => {
  const { id, text } = await sampling(as, PEOPLE.adult);
  const officer = await as("officer");
  const act = async (name, confirm) => {
    await officer.open(`/ops/officer/${name}`);
    await officer.page.locator("[name=id_number]").fill(PEOPLE.adult.idNumber);
    await officer.page.locator("[name=kind]").selectOption("sampling");
    await officer.page.locator("[name=reason]").fill("演练 <b>17</b>");
    await officer.press("下一步");
    await officer.press(officer.page.locator(`[data-act=${confirm ?? name}]`));
    await officer.see("[data-result=done]");
  };
  await act("suspend");
  assert.equal((await city.verify("sampling_desk", text)).reason, "suspended");
  await act("reinstate");
  assert.equal((await city.verify("sampling_desk", text)).reason, "ok");
  await act("revoke");
  assert.equal((await city.verify("sampling_desk", text)).reason, "revoked");
  await officer.open("/ops/code");
  await officer.page.locator("[name=serial]").fill(id.toUpperCase().replace(/(.{4})/g, "$1 "));
  await officer.press("查询");
  await officer.see(`[data-code-id="${id}"]`);
  await officer.read("这里只查码的经过，不是核验结论");
  assert.ok((await officer.page.locator(".timeline [data-event]").count()) >= 4);
  assert.doesNotMatch(officer.page.url(), /990100/);
});

journey("wrong fields of an officer are explained beside them, and nothing typed is lost", async ({ as }) => {
  const officer = await as("officer");
  await officer.open("/ops/officer/suspend");
  await officer.page.locator("[name=id_number]").fill("123");
  await officer.page.locator("[name=reason]").fill("因为");
  await officer.press("下一步");
  await officer.see(".field-error");
  assert.equal(await officer.page.locator("[name=id_number]").inputValue(), "123");
  assert.equal(await officer.page.locator("[name=reason]").inputValue(), "因为");
});

journey("the health authority sets a standing, which a gate sees at once", async ({ city, as }) => {
  const holder = await as(PEOPLE.group, { size: "phone", deviceScaleFactor: 2 });
  await holder.open("/my/live");
  await holder.press("申领");
  await holder.see("[data-live]");
  const authority = await as("health_authority");
  await authority.open("/ops/officer/standing");
  await authority.page.locator("[name=id_number]").fill(PEOPLE.group.idNumber);
  await authority.page.locator("[name=standing]").selectOption("yellow");
  await authority.page.locator("[name=reason]").fill("演练");
  await authority.press("下一步");
  await authority.press(authority.page.locator("[data-act=standing]"));
  await authority.see("[data-result=done]");
  assert.equal((await city.verify("sentinel", await decode(await holder.shownCode()))).reason, "standing_yellow");
});

journey("a list is checked, imported, and its rejects are saved; formulas and markup in it are text", async ({ as }) => {
  const admin = await as("admin");
  const csv = "id_number,name\n990100194403080029,<img src=x onerror=alert(1)>\n990100198501300089,\"=cmd|' /C calc'!A0\"\n123,张三\n";
  for (const step of ["先检查，不办理", "导入"]) {
    await admin.open("/ops/import");
    await admin.page.locator("#file").setInputFiles({ name: "people.csv", mimeType: "text/csv", buffer: Buffer.from(csv) });
    const kind = admin.page.locator("select[name=kind]");
    if ((await kind.count()) > 0) await kind.selectOption("sampling");
    await admin.press(step);
    await admin.see("[data-result]");
    assert.equal(await admin.page.locator("main img").count(), 0);
  }
  await admin.see("[data-result=done]");
  assert.ok(Number(await admin.page.locator("[data-count=rejected]").innerText()) >= 1);
  await admin.open("/ops/import");
  await admin.page.locator("#file").setInputFiles({ name: "people.csv", mimeType: "text/csv", buffer: Buffer.from([0xff, 0xd8, 0xff]) });
  await admin.press("导入");
  await admin.see(".field-error");
});

journey("a key is rotated, and the page says what it will do before", async ({ city, as }) => {
  const { text } = await sampling(as, PEOPLE.elder);
  const admin = await as("admin");
  await admin.open("/ops/keys");
  const before = await admin.page.locator("[data-key]").count();
  await admin.press("更换密钥");
  await admin.read("已经签发的码全部照常有效");
  await admin.press(admin.page.locator("main form [data-act=rotate]"));
  await admin.see("[data-result=done]");
  await admin.open("/ops/keys");
  assert.equal(await admin.page.locator("[data-key]").count(), before + 1);
  assert.equal((await city.verify("sampling_desk", text)).reason, "ok");
});

journey("in English and the large view the pages of operations hold, too", async ({ as }) => {
  const admin = await as("admin", { lang: "en", view: "large", dark: true });
  for (const tab of TABS) await admin.open(`/ops/${tab}`);
});
