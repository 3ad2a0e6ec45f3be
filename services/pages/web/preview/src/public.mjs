// `/`, `/sign-in`, `/start`, the page of an error, and the pairing code.
import { icon, layout, notice, back } from "./frame.mjs";

const entry = (href, sign, title, hint) => `<li class="card"><a class="entry" href="${href}">${icon(sign, "card-icon")}
  <span class="entry-text"><span class="entry-title">${title}</span><span class="entry-hint">${hint}</span></span>
  ${icon("forward", "icon entry-go")}</a></li>`;

export const index = (t) =>
  layout(t, {
    title: t("首页", "Home"),
    body: `<div class="stack-large">
<div class="stack">
  <h1>${t("您的随申码", "Your city code")}</h1>
  <p>${t("申领、亮码、打印或挂失随申码，本人和亲属都可以办理。换领新码后，旧码立即失效。", "Get, show, print or report lost your code, for yourself or a relative. When a code is replaced, the old one stops working at once.")}</p>
  <p><a class="btn btn-primary" href="/sign-in">${t("登录", "Sign in")}</a></p>
</div>
<ul class="cards">
${entry("/my", "phone", t("我的随申码", "My codes"), t("申领、亮码、打印、挂失", "Get, show, print, report lost"))}
${entry("/kiosk", "kiosk", t("自助终端", "Kiosk"), t("刷身份证办理纸质码", "Paper codes with an ID card"))}
${entry("/staff", "staff", t("人工核验", "Staffed checkpoint"), t("扫码、核对身份证、采样登记", "Scan, compare ID cards, register samples"))}
${entry("/gate", "gate", t("数字哨兵", "Gate"), t("闸机全屏显示", "Full-screen display at a gate"))}
${entry("/ops/counts", "chart", t("运行管理", "Operations"), t("统计、设备、审计", "Counts, devices, audit"))}
</ul>
</div>`,
  });

const person = (n, name, hint, checked = "") => `<label class="choice"><input type="radio" name="person" value="${n}"${checked} required>
  <span class="choice-text">${name}<span class="choice-hint">${hint}</span></span></label>`;

export const signIn = (t) =>
  layout(t, {
    title: t("登录", "Sign in"),
    page: "my",
    body: `<div class="stack-large">
<h1>${t("登录", "Sign in")}</h1>
${notice("info", `<p>${t("这是演示系统。以下人员均为虚构，他们的码在任何地方都无效。", "This is a demonstration. The persons are invented, and their codes are valid nowhere.")}</p>`)}
<form method="post" action="/sign-in">
  <input type="hidden" name="csrf" value="…">
  <fieldset class="choices">
    <legend>${t("您要以谁的身份登录？", "Who do you want to be?")}</legend>
    ${person(1, t("王秀英", "Wang Xiuying"), t("82 岁，可办纸质码", "82 years old, may have paper codes"), " checked")}
    ${person(2, t("张小三", "Zhang Xiaosan"), t("成年人，手机亮码", "Adult, live code on the phone"))}
    ${person(3, t("李小明", "Li Xiaoming"), t("9 岁，由母亲代办", "9 years old, mother acts for him"))}
    ${person(4, t("陈建国", "Chen Jianguo"), t("持残疾人证", "Has a disability certificate"))}
    ${person(5, t("赵敏", "Zhao Min"), t("随申码已暂停使用", "Live code on hold"))}
    ${person(6, t("周强", "Zhou Qiang"), t("红码", "Red standing"))}
  </fieldset>
  <fieldset class="choices choices-inline">
    <legend>${t("这是公用电脑吗？", "Is this a shared computer?")}</legend>
    <label class="choice"><input type="radio" name="shared" value="yes" required><span class="choice-text">${t("是，公用电脑", "Yes, it is shared")}</span></label>
    <label class="choice"><input type="radio" name="shared" value="no"><span class="choice-text">${t("不是，我自己的设备", "No, it is mine")}</span></label>
  </fieldset>
  <p class="form-actions"><button class="btn btn-primary" type="submit">${t("登录", "Sign in")}</button></p>
</form>
</div>`,
  });

export const start = (t) =>
  layout(t, {
    title: t("打开", "Open"),
    body: `<div class="stack-large">
<h1>${t("打开系统", "Open the system")}</h1>
<form method="post" action="/start" id="start" data-island="start">
  <div class="field">
    <label for="secret">${t("启动口令", "Start secret")}</label>
    <p class="field-hint" id="secret-hint">${t("命令行显示的地址中，# 之后的部分。", "The part after # of the address that the terminal shows.")}</p>
    <input class="input input-code" id="secret" name="secret" autocomplete="off" autocapitalize="off" spellcheck="false" required aria-describedby="secret-hint">
  </div>
  <p class="form-actions"><button class="btn btn-primary" type="submit">${t("打开", "Open")}</button></p>
</form>
</div>`,
  });

export const formErrors = (t) =>
  layout(t, {
    title: t("有误：添加亲属", "Error: add a relative"),
    page: "my",
    body: `<div class="stack-large">
${back(t, "/my/family")}
${notice("bad", `<h2 class="notice-title">${t("请改正两处内容", "Two answers need to be corrected")}</h2>
<ul><li><a href="#id_number">${t("身份证号码应为 18 位", "An ID number has 18 characters")}</a></li>
<li><a href="#relation">${t("请选择您与亲属的关系", "Choose how you are related")}</a></li></ul>`, ` role="alert" tabindex="-1" data-focus`)}
<h1>${t("添加亲属", "Add a relative")}</h1>
<form method="post" novalidate>
  <input type="hidden" name="csrf" value="…">
  <div class="field" data-invalid>
    <label for="id_number">${t("身份证号码", "ID number")}</label>
    <p class="field-hint" id="id_number-hint">${t("亲属的 18 位身份证号码，最后一位可能是 X。", "Your relative’s 18 characters; the last may be X.")}</p>
    <p class="field-error" id="id_number-error">${icon("alert")}<span>${t("身份证号码应为 18 位，您输入了 17 位。", "An ID number has 18 characters; you typed 17.")}</span></p>
    <input class="input input-number" id="id_number" name="id_number" inputmode="text" autocomplete="off" value="11010519491231002" aria-invalid="true" aria-describedby="id_number-hint id_number-error">
  </div>
  <div class="field" data-invalid>
    <label for="relation">${t("关系", "Relation")}</label>
    <p class="field-error" id="relation-error">${icon("alert")}<span>${t("请选择您与亲属的关系。", "Choose how you are related.")}</span></p>
    <select class="input" id="relation" name="relation" aria-invalid="true" aria-describedby="relation-error"><option value="">${t("请选择", "Choose")}</option><option>${t("父母", "Parent")}</option><option>${t("子女", "Child")}</option></select>
  </div>
  <div class="form-actions btn-row"><button class="btn btn-primary" type="submit">${t("添加亲属", "Add relative")}</button><a class="btn" href="/my/family">${t("取消", "Cancel")}</a></div>
</form>
</div>`,
  });

export const pairing = (t) =>
  layout(t, {
    title: t("设备配对", "Pair this device"),
    page: "kiosk",
    styles: ["kiosk"],
    body: `<div class="kiosk-ask stack-large">
<h1>${t("配对码", "Pairing code")}</h1>
<p class="pair-code" aria-label="4 8 2 9 1 0 5 3"><span>4829</span> <span>1053</span></p>
<p>${t("请管理人员在“运行管理 › 设备”中输入此码，并选择本设备的渠道或场所。", "An operator types this code under Operations › Devices and chooses this device’s channel or place.")}</p>
<p class="quiet">${t("此码 5 分钟内有效。", "The code is valid for five minutes.")}</p>
</div>`,
  });
