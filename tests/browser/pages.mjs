/**
 * Every page in every state that can be reached by itself: who reads it, how it is reached, and what the file of its
 * picture is called. `every-page.test.mjs` looks for faults in each, and `screenshots.mjs` takes its picture.
 *
 * `prepare` acts before the page is opened, `then` afterwards; both get the reader.
 */
import { printer } from "./support/kiosk.mjs";
import { PEOPLE } from "./support/program.mjs";

const { adult, elder, parent, child, group, held } = PEOPLE;

/** The first button of this act on the page, whatever the language. */
const act = (name) => (reader) => reader.press(reader.page.locator(`main form [data-act=${name}]`).first());
/** Follows the link to the step before an act. */
const ask = (name) => (reader) => reader.press(reader.page.locator(`main a[data-act=${name}]`).first());
const live = (reader) => reader.see("[data-live]");

/** Makes sure that the reader has a code of the kind, and that a live one is on this phone. */
const having = (kind) => async (reader) => {
  await reader.open(`/my/${kind}`);
  const get = reader.page.locator("main form [data-act=issue]");
  if ((await get.count()) > 0) return reader.press(get.first());
  if (kind !== "live" || (await reader.page.locator("[data-token]").count()) > 0) return undefined;
  await ask("reissue")(reader);
  return act("reissue")(reader);
};

const adding = async (reader) => {
  await reader.open("/my/family");
  await reader.page.locator("#id_number").fill(child.idNumber);
  await reader.page.locator("#name").fill(child.name);
  await reader.press(reader.page.locator("form[action='/my/family/add'] button"));
};

const typing = (field, value) => async (reader) => {
  await reader.page.locator(`#${field}`).fill(value);
  await reader.press(reader.page.locator(`form:has(#${field}) button[type=submit]`));
};

/** Types an ID number at a kiosk, and goes on. */
const at = (path) => async (reader) => {
  await reader.open("/kiosk/number");
  await typing("id_number", elder.idNumber)(reader);
  await reader.open(path);
};
const scanning = (text) => async (reader) => {
  await reader.page.locator("#code").focus();
  await reader.page.keyboard.insertText(text);
  await reader.page.keyboard.press("Enter");
  await reader.see(".verdict");
  await reader.look();
};
const operations = ["counts", "devices", "code", "officer", "import", "keys", "policy", "audit", "components"];

export const PAGES = [
  { name: "home", path: "/" },
  { name: "sign-in", path: "/sign-in" },
  { name: "start", path: "/start" },
  { name: "start-wrong", path: "/start", then: typing("secret", "AAAA-BBBB-CCCC-DDDD") },
  { name: "pair", path: "/pair" },
  { name: "pair-code", path: "/pair", then: (reader) => reader.press(reader.page.locator("button[value=kiosk]")) },
  { name: "not-found", path: "/my/nothing", who: adult },
  { name: "my", path: "/my", who: elder, prepare: having("live") },
  { name: "my-held", path: "/my/offline", who: held },
  { name: "my-live-none", path: "/my/live", who: group },
  { name: "my-live", path: "/my/live", who: parent, prepare: having("live"), then: live },
  { name: "my-live-shared", path: "/my/live", who: group, shared: true },
  { name: "my-live-reissue", path: "/my/live", who: parent, prepare: having("live"), then: ask("reissue") },
  { name: "my-live-loss", path: "/my/live", who: parent, prepare: having("live"), then: ask("loss") },
  { name: "my-sampling", path: "/my/sampling", who: elder, prepare: having("sampling"), then: act("show") },
  { name: "my-sampling-reissued", path: "/my/sampling", who: elder, prepare: having("sampling"), then: async (reader) => {
    await ask("reissue")(reader);
    await act("reissue")(reader);
  } },
  { name: "my-offline", path: "/my/offline", who: elder, prepare: having("offline") },
  { name: "my-offline-lost", path: "/my/offline", who: elder, prepare: having("offline"), then: async (reader) => {
    await ask("loss")(reader);
    await act("loss")(reader);
  } },
  { name: "my-not-eligible", path: "/my/offline", who: adult, then: act("issue") },
  { name: "my-family", path: "/my/family", who: parent, prepare: adding },
  { name: "my-family-wrong", path: "/my/family", who: parent, then: typing("id_number", "123") },
  { name: "my-family-invitation", path: "/my/family", who: group, then: async (reader) => {
    await reader.page.locator("#name").fill(elder.name);
    await typing("id_number", elder.idNumber)(reader);
  } },
  { name: "my-relative", path: "/my?for=1", who: parent, prepare: adding },
  { name: "my-relative-family", path: "/my/family?for=1", who: parent, prepare: adding },
  { name: "my-queries", path: "/my/queries", who: adult },
  { name: "kiosk", path: "/kiosk", who: "kiosk" },
  { name: "kiosk-number", path: "/kiosk/number", who: "kiosk" },
  { name: "kiosk-number-wrong", path: "/kiosk/number", who: "kiosk", then: typing("id_number", "123") },
  { name: "kiosk-who", path: "/kiosk/who", who: "kiosk", prepare: at("/kiosk/who") },
  { name: "kiosk-codes", path: "/kiosk/codes", who: "kiosk", prepare: at("/kiosk/codes") },
  { name: "kiosk-confirm", path: "/kiosk/confirm?act=issue&kind=offline", who: "kiosk", prepare: at("/kiosk/codes") },
  { name: "kiosk-done", path: "/kiosk/codes", who: "kiosk", prepare: async (reader) => {
    await printer(reader);
    await at("/kiosk/codes")(reader);
  }, then: async (reader) => {
    await reader.press(reader.page.locator("[data-act=issue], [data-act=reissue]").first());
    await reader.press(reader.page.locator("main form button[type=submit]").first());
    await reader.see("[data-result=done]");
    await reader.look();
  } },
  { name: "kiosk-relative", path: "/kiosk/relative", who: "kiosk", prepare: at("/kiosk/who") },
  { name: "staff", path: "/staff?place=staffed", who: "staff" },
  { name: "staff-refused", path: "/staff?place=staffed", who: "staff", then: scanning("hello") },
  { name: "staff-id-card", path: "/staff?place=staffed", who: "staff", then: scanning(adult.idNumber) },
  { name: "gate", path: "/gate", who: "gate" },
  { name: "gate-refused", path: "/gate", who: "gate", then: scanning("hello") },
  ...operations.map((tab) => ({ name: `ops-${tab}`, path: `/ops/${tab}`, who: "admin" })),
  { name: "ops-suspend", path: "/ops/officer/suspend", who: "admin" },
  { name: "ops-rotate", path: "/ops/keys/rotate", who: "admin" },
  { name: "my-lost-phone", path: "/my/lost-phone", who: parent, prepare: having("live") },
];

/** Brings the reader to the page and into its state. */
export async function visit(reader, { path, who, shared, prepare, then }) {
  if (who) await reader.signIn(who, { shared });
  await prepare?.(reader);
  await reader.open(path);
  await then?.(reader);
}
