// `/kiosk`: one question a page. The dialog and form#finish are on every step after the first.
import { icon, layout, notice } from "./frame.mjs";
import { sheet } from "./sheet.mjs";

const idle = (t, open = "") => `<dialog class="dialog" id="idle-dialog" aria-labelledby="idle-title"${open}>
  <h2 id="idle-title">${t("您还在办理吗？", "Are you still there?")}</h2>
  <p>${t('<span class="idle-seconds">30</span> 秒后将结束办理，并清除您的信息。', 'Your session ends in <span class="idle-seconds">30</span> seconds, and your data is removed from this screen.')}</p>
  <div class="dialog-actions"><button class="btn btn-primary" type="button" data-continue autofocus>${t("继续办理", "Continue")}</button><button class="btn" type="submit" form="finish">${t("结束办理", "Finish")}</button></div>
</dialog>
<form method="post" action="/kiosk/finish" id="finish"><input type="hidden" name="csrf" value="…"></form>`;

const steps = (t, current) => {
  const names = [t("刷证", "ID card"), t("选择", "Choose"), t("确认", "Confirm"), t("取件", "Take print")];
  return `<ol class="steps" aria-label="${t("步骤", "Steps")}">${names
    .map((name, index) => `<li${index < current ? " data-done" : ""}${index === current ? ' aria-current="step"' : ""}>${name}</li>`)
    .join("")}</ol>`;
};

const page = (t, view, title, body, extra = {}) =>
  layout(t, { title, page: "kiosk", view, styles: ["kiosk", ...(extra.styles ?? [])], scripts: ["kiosk"], body, after: extra.first ? "" : idle(t, extra.open), main: extra.first ? "" : ' data-island="kiosk"', attributes: " data-ping" });

const finishRow = (t) => `<div class="btn-row kiosk-actions"><a class="btn" href="/kiosk">${icon("back")}${t("返回", "Back")}</a><button class="btn" type="submit" form="finish">${t("结束办理", "Finish")}</button></div>`;

export const kioskStart = (t, view) =>
  page(t, view, t("请刷身份证", "Present your ID card"), `<div class="kiosk-ask">
${icon("id-card", "kiosk-art")}
<h1>${t("请刷身份证", "Present your ID card")}</h1>
<p>${t("把身份证放在读卡区，听到提示音后取回。", "Lay your ID card on the reader, and take it back after the tone.")}</p>
<form method="post" action="/kiosk/person" class="visually-hidden" data-island="card-reader"><input type="hidden" name="csrf" value="…"><label for="card">${t("读卡器", "Card reader")}</label><input id="card" name="card" autocomplete="off" autofocus></form>
<p class="kiosk-actions"><a class="btn" href="/kiosk/number">${t("没带身份证，输入号码", "No ID card: type the number")}</a></p>
</div>`, { first: true });

export const kioskNumber = (t, view) =>
  page(t, view, t("身份证号码", "ID number"), `${steps(t, 0)}
<form method="post" action="/kiosk/person">
<div class="kiosk-enter">
  <div class="stack-large"><h1>${t("请输入身份证号码", "Type your ID number")}</h1>
    <input type="hidden" name="csrf" value="…">
    <div class="field"><label for="id_number">${t("身份证号码", "ID number")}</label>
      <input class="input input-number" id="id_number" name="id_number" inputmode="none" autocomplete="off" maxlength="18" required data-focus value="3101041942"></div></div>
  <div class="stack"><div class="keypad" data-island="keypad" data-target="#id_number" role="group" aria-label="${t("数字键盘", "Keypad")}">
    ${[1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) => `<button type="button" data-key="${digit}">${digit}</button>`).join("")}
    <button type="button" data-key="X">X</button><button type="button" data-key="0">0</button><button type="button" data-key="back" aria-label="${t("删除一位", "Delete one")}">${icon("erase")}</button>
  </div>
  <button class="btn btn-primary" type="submit">${t("下一步", "Next")}</button></div>
</div></form>
${finishRow(t)}`);

export const kioskWho = (t, view) =>
  page(t, view, t("替谁办理", "For whom"), `${steps(t, 1)}
<div class="kiosk-ask stack-large"><p class="kiosk-person">${icon("person")}王*英</p><h1>${t("替谁办理？", "For whom?")}</h1>
<div class="tiles"><a class="tile" href="/kiosk/act">${icon("person")}${t("替本人办理", "For myself")}</a><a class="tile" href="/kiosk/relative">${icon("family")}${t("替亲属办理", "For a relative")}</a></div></div>
${finishRow(t)}`);

export const kioskAct = (t, view) =>
  page(t, view, t("办理什么", "What to do"), `${steps(t, 1)}
<div class="kiosk-ask stack-large"><p class="kiosk-person">${icon("person")}王*英</p><h1>${t("离线随申码", "Offline code")}</h1>
<p>${t("您有一张有效的离线随申码，<span class='whole'>2026年11月3日</span> <span class='whole'>08:14 前有效</span>。", "You have a valid offline code, valid until 08:14 on 3 November 2026.")}</p>
<div class="tiles"><a class="tile" data-act="reissue" href="/kiosk/reissue">${icon("printer")}${t("补领", "Reissue")}<span class="tile-hint">${t("打印新码，旧码立即失效", "Print a new code; the old one stops working")}</span></a>
<a class="tile" data-act="loss" href="/kiosk/loss">${icon("lost")}${t("挂失", "Report lost")}<span class="tile-hint">${t("旧码立即失效，不打印新码", "The old code stops working; no new print")}</span></a></div></div>
${finishRow(t)}`);

export const kioskConfirm = (t, view) =>
  page(t, view, t("确认补领", "Confirm the reissue"), `${steps(t, 2)}
<div class="stack-large"><h1>${t("补领离线随申码", "Reissue the offline code")}</h1>
${notice("warn", `<p class="notice-title">${t("办理后，这张码立即失效", "This code stops working at once")}</p><p>${t("离线随申码，<span class='whole'>2026年11月3日</span> <span class='whole'>08:14 前有效</span>", "Offline code, valid until 08:14 on 3 November 2026")}</p>`)}
<form method="post" action="/kiosk/reissue"><input type="hidden" name="csrf" value="…"><input type="hidden" name="command_id" value="…">
<div class="btn-row"><button class="btn btn-primary" type="submit" data-act="reissue">${t("确认补领", "Confirm: reissue")}</button><a class="btn" href="/kiosk/act">${t("取消", "Cancel")}</a></div></form></div>
<div class="btn-row kiosk-actions"><button class="btn btn-quiet" type="submit" form="finish">${t("结束办理", "Finish")}</button></div>`);

export const kioskDone = (t, view) =>
  page(t, view, t("请取走打印件", "Take your print"), `${steps(t, 3)}
<div class="stack-large">
<div class="notice" data-tone="good" role="status" data-result="done" data-died="A1B2C3D4E5F60718" data-alive="live" tabindex="-1" data-focus>${icon("check")}<div class="notice-text"><h1 class="notice-title">${t("已补领，请取走打印件", "Reissued. Take your print")}</h1>
<ul><li>${icon("cross")}<span>${t("已失效：原离线随申码。", "Stopped working: the old offline code.")}</span></li><li>${icon("check")}<span>${t("仍可使用：随申码。", "Still works: the live code.")}</span></li></ul></div></div>
<div class="btn-row"><button class="btn btn-primary" type="button" data-print data-print-now data-act="print">${icon("printer")}${t("打印", "Print")}</button></div>
<section class="stack" data-after-print hidden tabindex="-1" aria-labelledby="printed"><h2 id="printed">${t("打印出来了吗？", "Was it printed?")}</h2>
<div class="btn-row"><button class="btn btn-primary" type="submit" form="finish">${t("打印好了，结束办理", "Yes, finish")}</button><a class="btn" href="/kiosk/print-again" data-act="reprint">${t("没有，再打印一次", "No, print again")}</a></div></section>
</div>
<div class="sheet-frame" hidden>${sheet(t, "roll")}</div>`, { styles: ["sheet"] });

export const kioskIdle = (t, view) => kioskWho(t, view).replace('id="idle-dialog"', 'id="idle-dialog"');

export const kioskOut = (t) =>
  page(t, "standard", t("暂停服务", "Out of order"), `<div class="kiosk-ask stack-large">
${icon("alert", "kiosk-art")}
<h1>${t("本机暂停服务", "This machine is out of order")}</h1>
<p>${t("打印机缺纸。最近的自助终端在：静安区社区事务受理中心一楼（步行约 5 分钟）。", "The printer has no paper. The nearest machine is at Jing’an Community Service Centre, ground floor (five minutes on foot).")}</p>
</div>`, { first: true });
