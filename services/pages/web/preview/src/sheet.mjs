// The printed sheet in its three formats.
import { layout, back, icon } from "./frame.mjs";
import { SAMPLE, qrSvg } from "./qr.mjs";

const serial = "A1B2 C3D4 E5F6 0718";
// Parts that stay together in a line. A wallet card is narrow: there English shortens the month.
const until = (t, card) =>
  t(
    `<span class="sheet-date">2026年<wbr>11月3日</span> <span class="whole">08:14 前有效</span>`,
    `<span class="whole">Valid until 08:14</span> on <span class="sheet-date">${card ? "3 Nov 2026" : "3 November 2026"}</span>`,
  );
const qr = () => `<div class="qr">${qrSvg(SAMPLE.slice(0, 200), "Q")}</div>`;
const withId = (t) => t("须与身份证一并出示", "Show it together with the ID card");
const loss = (t) => t("遗失请挂失：拨打 12345，或在任一自助终端办理。", "If lost, report it: call 12345, or use any kiosk.");
const demo = (t) => `<p class="sheet-demo">${t("演示，无效", "DEMO – not valid")}</p>`;

export function sheet(t, format) {
  const kind = t("离线随申码", "Offline code");
  const lines = `<p class="sheet-kind">${kind}</p><p class="sheet-holder">王*英</p><p class="sheet-expiry">${until(t, format === "card")}</p>`;
  const foot = `<p class="sheet-with-id">${withId(t)}</p><p>${t("编号", "Serial")} <span class="sheet-serial">${serial}</span></p><p>${loss(t)}</p>`;
  if (format === "a4") {
    return `<article class="sheet" data-format="a4" data-code-id="A1B2C3D4E5F60718">${demo(t)}<div class="sheet-head"><p class="sheet-kind">${kind}</p><p>${t("上海市随申码", "Shanghai codes")}</p></div>
<div class="sheet-main">${qr()}<div class="sheet-facts"><p class="sheet-holder">王*英</p><p class="sheet-expiry">${until(t, false)}</p><p class="sheet-with-id">${withId(t)}</p></div></div>
<div class="sheet-foot"><p>${t("编号", "Serial")} <span class="sheet-serial">${serial}</span></p><p>${loss(t)}</p></div></article>`;
  }
  if (format === "card") {
    return `<article class="sheet" data-format="card" data-code-id="A1B2C3D4E5F60718">${qr()}<div>${demo(t)}${lines}${foot}</div></article>`;
  }
  return `<article class="sheet" data-format="roll" data-code-id="A1B2C3D4E5F60718">${demo(t)}${lines}${qr()}${foot}</article>`;
}

const page = (t, format) =>
  layout(t, {
    title: t("打印离线随申码", "Print the offline code"),
    page: "my",
    styles: ["sheet"],
    wide: format === "a4",
    scripts: ["kiosk"],
    body: `<div class="stack">${back(t, "/my/offline")}<h1>${t("打印离线随申码", "Print the offline code")}</h1>
<nav class="tabs" aria-label="${t("纸张", "Paper")}"><a href="?paper=a4"${format === "a4" ? ' aria-current="page"' : ""}>A4</a><a href="?paper=card"${format === "card" ? ' aria-current="page"' : ""}>${t("卡片", "Wallet card")}</a><a href="?paper=roll"${format === "roll" ? ' aria-current="page"' : ""}>${t("小票纸", "Receipt roll")}</a></nav>
<p><button class="btn btn-primary" type="button" data-print data-act="print">${icon("printer")}${t("打印", "Print")}</button></p>
</div><div class="sheet-frame" tabindex="0" role="region" aria-label="${t("打印预览", "Print preview")}">${sheet(t, format)}</div>`,
  });

export const sheetA4 = (t) => page(t, "a4");
export const sheetCard = (t) => page(t, "card");
export const sheetRoll = (t) => page(t, "roll");
