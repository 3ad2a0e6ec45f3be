// `/staff` and `/gate`: the input, the verdicts and their sentences.
import { icon, layout, notice, connection } from "./frame.mjs";

const signs = { admit: "check", admit_after_id_check: "id-card", refuse: "cross", cannot_check: "question" };

export const verdict = (decision, reason, word, sentence, { facts = "", actions = "", clear = 8000 } = {}) =>
  `<section class="verdict" role="status" data-decision="${decision}" data-reason="${reason}" data-age-ms="40" data-clear-after-ms="${clear}">
  ${icon(signs[decision], "verdict-sign")}
  <p class="verdict-word">${word}</p>
  <p class="verdict-text">${sentence}</p>${facts}${actions}
</section>`;

const cannot = (t, clear) => verdict("cannot_check", "too_stale", t("无法核验", "Cannot check"), t("系统没有及时答复。请重新扫码，或查验身份证件。", "The system did not answer in time. Scan again, or look at the ID card."), { clear });

const facts = (t) => `<dl class="verdict-facts"><div><dt>${t("姓名", "Name")}</dt><dd>王*英</dd></div><div><dt>${t("种类", "Kind")}</dt><dd>${t("离线随申码", "Offline code")}</dd></div></dl>`;

const compare = (t) => `<div class="verdict-actions"><form method="post" action="/staff/compare"><input type="hidden" name="csrf" value="…"><input type="hidden" name="scan" value="…">
  <button class="btn" name="match" value="yes">${icon("check")}${t("人证一致", "Person matches")}</button><button class="btn btn-outline" name="match" value="no">${icon("cross")}${t("人证不一致", "Does not match")}</button></form></div>`;

const camera = (t) => `<div class="camera" data-island="camera" data-target="#scan">
  <div class="camera-view" hidden><video playsinline muted aria-label="${t("摄像头画面", "Camera picture")}"></video></div>
  <div class="btn-row">
    <button class="btn camera-start" type="button" data-label-stop="${t("关闭摄像头", "Stop the camera")}">${icon("camera")}<span>${t("用摄像头扫码", "Scan with the camera")}</span></button>
    <input class="file-input" type="file" accept="image/*" id="image"><label class="btn" for="image">${icon("image")}${t("选择图片", "Choose image")}</label>
  </div>
  <div class="say" role="status"></div>
  <template data-say="no-camera">${notice("warn", `<p>${t("没有找到摄像头。可以选择图片，或用扫码枪。", "No camera was found. Choose an image, or use a scanner.")}</p>`)}</template>
  <template data-say="denied">${notice("warn", `<p>${t("浏览器未获准使用摄像头。请在浏览器设置中允许，或用扫码枪。", "The browser may not use the camera. Allow it in the browser’s settings, or use a scanner.")}</p>`)}</template>
  <template data-say="insecure">${notice("warn", `<p>${t("此连接不安全，不能使用摄像头。仍可选择图片、用扫码枪或输入。", "The connection is not secure, so the camera cannot be used. Choosing an image, a scanner and typing still work.")}</p>`)}</template>
  <template data-say="not-an-image">${notice("warn", `<p>${t("这个文件不是图片。", "This file is not an image.")}</p>`)}</template>
  <template data-say="unsupported">${notice("warn", `<p>${t("浏览器无法识别二维码。请用扫码枪或输入。", "This browser cannot read QR codes. Use a scanner, or type.")}</p>`)}</template>
  <template data-say="no-code">${notice("warn", `<p>${t("图片中没有找到二维码。", "No QR code was found in the image.")}</p>`)}</template>
</div>`;

const scanForm = (t, action, clear, idle) => `<form class="scan" id="scan" method="post" action="${action}" data-island="scan-form" data-verdict="#verdict" data-timeout-ms="2000">
  <input type="hidden" name="csrf" value="…">
  <div class="field"><label for="code">${t("扫码或输入", "Scan or type")}</label>
  <input class="input input-code" id="code" name="code" autocomplete="off" autocapitalize="characters" spellcheck="false" autofocus></div>
  <button class="btn btn-primary" type="submit">${t("核验", "Check")}</button>
  <template data-say="cannot-check">${cannot(t, clear)}</template>
  <template data-say="idle">${idle}</template>
</form>`;

const staff = (t, view, inside) =>
  layout(t, {
    title: t("人工核验", "Staffed checkpoint"),
    page: "staff",
    view,
    wide: true,
    styles: ["staff"],
    scripts: ["scan", "camera"],
    attributes: " data-ping",
    body: `<div class="staff-bar"><h1>${t("人工核验点 · 静安区 3 号门", "Staffed checkpoint · Jing’an gate 3")}</h1>
<div class="sync" id="sync" data-poll="/staff/state">${connection(t)}<span>${t("数据 1 秒前更新", "Data 1 second old")}</span><span>${t("待上传 0 条", "0 records to upload")}</span></div></div>
<div class="staff-columns">
<div id="verdict">${inside}</div>
<div class="stack">${scanForm(t, "/staff/scan", 8000, idle(t))}${camera(t)}</div>
</div>`,
  });

const idle = (t) => `<div class="verdict-idle">${icon("code")}<p>${t("请扫描二维码，或输入编号", "Scan a code, or type its number")}</p></div>`;

export const staffIdle = (t, view) => staff(t, view, idle(t));
export const staffAdmit = (t, view) => staff(t, view, verdict("admit", "ok", t("通过", "Valid"), t("可以通行。", "The person may pass."), { facts: facts(t) }));
export const staffIdCheck = (t, view) => staff(t, view, verdict("admit_after_id_check", "id_check_required", t("请核对身份证", "Check ID card"), t("对照身份证，确认是本人。", "Compare the ID card with the person."), { facts: facts(t), actions: compare(t), clear: 0 }));
export const staffRefuse = (t, view) => staff(t, view, verdict("refuse", "superseded", t("已换新码", "Replaced"), t("这是旧码。请出示最近一次办理的码。", "This is an old code. Ask for the newest one.")));
export const staffCannot = (t, view) => staff(t, view, cannot(t, 8000));

const gate = (t, inside) =>
  layout(t, {
    title: t("数字哨兵", "Gate"),
    page: "gate",
    styles: ["gate"],
    scripts: ["scan"],
    demo: true,
    attributes: " data-ping",
    main: ' data-island="gate"',
    body: `<div class="gate-bar"><h1>${t("静安区 3 号门", "Jing’an gate 3")}</h1><div class="sync" id="sync" data-poll="/gate/state">${connection(t)}<span>${t("数据 0.4 秒前更新", "Data 0.4 seconds old")}</span></div></div>
<div id="verdict">${inside}</div>
${scanForm(t, "/gate/scan", 3000, gateAsk(t))}`,
  });

const gateVerdict = (decision, reason, word, sentence) => verdict(decision, reason, word, sentence, { clear: 3000 });
const gateAsk = (t) => `<div class="verdict-idle">${icon("code")}<p class="gate-ask">${t("请出示随申码或身份证", "Show your code or ID card")}</p></div>`;

export const gateIdle = (t) => gate(t, gateAsk(t));
export const gateAdmit = (t) => gate(t, gateVerdict("admit", "ok", t("通过", "Valid"), t("请通行", "Please pass")));
export const gateIdCheck = (t) => gate(t, gateVerdict("admit_after_id_check", "id_check_required", t("请核对身份证", "Check ID card"), t("请向工作人员出示身份证", "Show your ID card to the staff")));
export const gateRefuse = (t) => gate(t, gateVerdict("refuse", "stale_proof", t("请刷新后再出示", "Refresh, show again"), t("请打开随申码，不要用截图", "Open the live code, not a screenshot")));
export const gateCannot = (t) => gate(t, gateVerdict("cannot_check", "too_stale", t("无法核验", "Cannot check"), t("请走人工通道", "Please see staff")));
