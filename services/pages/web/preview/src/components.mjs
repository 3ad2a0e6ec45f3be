// `/ops/components`: every component once, to judge them side by side.
import { icon, layout, notice, state } from "./frame.mjs";
import { verdict } from "./checks.mjs";
import { SAMPLE, qrSvg } from "./qr.mjs";

const part = (name, html) => `<section class="stack" aria-labelledby="part-${name}"><h2 id="part-${name}">.${name}</h2>${html}</section>`;

export const components = (t) =>
  layout(t, {
    title: t("组件", "Components"),
    page: "ops",
    wide: true,
    styles: ["ops", "kiosk"],
    body: `<div class="stack-large"><h1>${t("组件", "Components")}</h1>
${part("btn", `<div class="btn-row"><button class="btn btn-primary" type="button">btn-primary</button><button class="btn" type="button">btn</button><button class="btn btn-danger" type="button">btn-danger</button><button class="btn btn-danger btn-final" type="button">btn-final</button><button class="btn btn-quiet" type="button">btn-quiet</button><button class="btn" type="button" disabled>disabled</button><button class="btn btn-primary" type="button" data-busy aria-disabled="true">data-busy</button></div>`)}
${part("state", `<div class="row">${state("valid", t("有效", "Valid"))}${state("suspended", t("已暂停使用", "On hold"))}${state("expired", t("已过期", "Expired"))}${state("superseded", t("已换新码", "Replaced"))}${state("reported_lost", t("已挂失", "Reported lost"))}${state("revoked", t("已注销", "Revoked"))}${state("none", t("未申领", "None"))}</div>`)}
${part("notice", ["info", "good", "warn", "bad"].map((tone) => notice(tone, `<p class="notice-title">data-tone="${tone}"</p><p>${t("一句说明。", "A sentence.")}</p>`)).join(""))}
${part("field", `<div class="field"><label for="f1">${t("身份证号码", "ID number")}</label><p class="field-hint" id="f1h">${t("18 位", "18 characters")}</p><input class="input" id="f1" aria-describedby="f1h"></div><div class="field" data-invalid><label for="f2">${t("用途", "Purpose")}</label><p class="field-error" id="f2e">${icon("alert")}<span>${t("请填写用途。", "Name the purpose.")}</span></p><input class="input" id="f2" aria-invalid="true" aria-describedby="f2e"></div>`)}
${part("card", `<ul class="cards"><li class="card"><div class="card-head">${icon("phone", "card-icon")}<h3 class="card-title">${t("随申码", "Live code")}</h3>${state("valid", t("有效", "Valid"))}</div><p class="card-text">${t("<span class='whole'>2026年11月3日</span> <span class='whole'>08:14 前有效</span>", "Valid until 08:14 on 3 November 2026")}</p><p class="card-actions"><a class="btn btn-primary" href="#part-card">${t("亮码", "Show")}</a></p></li></ul>`)}
${part("code", `<div class="code" data-live><p class="code-kind">${t("随申码", "Live code")}</p><div class="qr" role="img" aria-label="QR">${qrSvg(SAMPLE)}</div><progress class="countdown-bar" max="15" value="9" aria-hidden="true"></progress><p class="countdown">${t("9 秒后自动更新", "Renewed in 9 seconds")}</p></div>`)}
${part("verdict", `<div class="cards">${verdict("admit", "ok", t("通过", "Valid"), t("可以通行。", "The person may pass."), { clear: 0 })}${verdict("admit_after_id_check", "id_check_required", t("请核对身份证", "Check ID card"), t("对照身份证，确认是本人。", "Compare the ID card with the person."), { clear: 0 })}${verdict("refuse", "expired", t("已过期", "Expired"), t("请办理新码。", "A new code is needed."), { clear: 0 })}${verdict("cannot_check", "too_stale", t("无法核验", "Cannot check"), t("请查验身份证件。", "Look at the ID card."), { clear: 0 })}</div>`)}
${part("keypad", `<div class="keypad" role="group" aria-label="${t("数字键盘", "Keypad")}">${["1", "2", "3", "4", "5", "6", "7", "8", "9", "X", "0"].map((key) => `<button type="button" data-key="${key}">${key}</button>`).join("")}<button type="button" data-key="back" aria-label="${t("删除一位", "Delete one")}">${icon("erase")}</button></div>`)}
</div>`,
  });
