// `/my`, `/my/family`, `/my/KIND`, the confirming step and the results of acts.
import { icon, layout, notice, state, back } from "./frame.mjs";
import { SAMPLE, qrSvg } from "./qr.mjs";

const until = (t) => t("<span class='whole'>2026年11月3日</span> <span class='whole'>08:14 前有效</span>", "Valid until 08:14 on 3 November 2026");

const card = (id, sign, title, stateHtml, text, action) => `<li class="card" data-kind="${id}">
  <div class="card-head">${icon(sign, "card-icon")}<h2 class="card-title" id="kind-${id}">${title}</h2>${stateHtml}</div>
  <p class="card-text">${text}</p>
  <p class="card-actions">${action}</p>
</li>`;

const act = (name, word, id, href, primary = true) =>
  `<a class="btn${primary ? " btn-primary" : ""}" data-act="${name}" href="${href}" aria-describedby="kind-${id}">${word}</a>`;

export const my = (t, view) =>
  layout(t, {
    title: t("我的随申码", "My codes"),
    page: "my",
    view,
    body: `<div class="stack-large">
<div class="row row-apart"><h1>${t("张*三", "张*三")}</h1><p class="quiet">${t("本人", "You")}</p></div>
<ul class="cards">
${card("live", "phone", t("随申码", "Live code"), state("valid", t("有效", "Valid")), t("<span class='whole'>2027年11月29日</span> <span class='whole'>08:14 前有效</span>，仅限这部手机", "Valid until 08:14 on 29 November 2027, on this phone only"), act("show", t("亮码", "Show"), "live", "/my/live"))}
${card("sampling", "image", t("核酸码", "Sampling code"), state("valid", t("有效", "Valid")), until(t), act("show", t("亮码", "Show"), "sampling", "/my/sampling"))}
${card("offline", "paper", t("离线随申码", "Offline code"), state("suspended", t("已暂停使用", "On hold")), t("自 2026年10月28日 16:20 起暂停。请拨打 12345 询问原因。", "On hold since 16:20 on 28 October 2026. Call 12345 to ask why."), act("show", t("查看", "View"), "offline", "/my/offline", false))}
${card("family", "family", t("亲属随申码", "Family code"), state("none", t("未申领", "None")), t("为亲属亮码时使用。", "To show a code for a relative."), act("issue", t("申领", "Get"), "family", "/my/family-code"))}
</ul>
<section aria-labelledby="relatives"><h2 class="section-title" id="relatives">${t("亲属", "Relatives")}</h2>
<ul class="links card">
  <li><a href="/my/live?for=1">${icon("person")}<span class="entry-text">${t("李*明（儿子）", "李*明 (son)")}</span>${icon("forward", "icon entry-go")}</a></li>
  <li><a href="/my/family">${icon("family")}<span class="entry-text">${t("添加亲属，或查看谁可以为我办理", "Add a relative, or see who may act for me")}</span>${icon("forward", "icon entry-go")}</a></li>
</ul></section>
<ul class="links card">
  <li><a href="/my/lookups">${icon("eye")}<span class="entry-text">${t("谁查过我", "Who looked me up")}</span>${icon("forward", "icon entry-go")}</a></li>
  <li><a href="/my/phone-lost">${icon("lost")}<span class="entry-text">${t("手机丢了", "I lost my phone")}</span>${icon("forward", "icon entry-go")}</a></li>
</ul>
<form method="post" action="/sign-out"><input type="hidden" name="csrf" value="…"><button class="btn" type="submit">${t("退出登录", "Sign out")}</button></form>
</div>`,
  });

const say = (name, tone, html) => `<template data-say="${name}">${notice(tone, html)}</template>`;

export const liveTemplates = (t) => `
  <template data-say="countdown">${t("{seconds} 秒后自动更新", "Renewed in {seconds} seconds")}</template>
  ${say("no-key", "warn", `<p class="notice-title">${t("这部手机上没有此码的密钥", "This phone does not have the key of this code")}</p><p>${t("您可能清除了浏览器数据，或者换了手机。请在这部手机上再次申领，旧码随即失效。", "The browser’s data may have been cleared, or this is another phone. Get a new code on this phone; the old one stops working.")}</p>`)}
  ${say("no-network", "info", `<p>${t("没有网络。您的码仍可使用。", "There is no network. Your code still works.")}</p>`)}
  ${say("wrong-clock", "info", `<p>${t("这部手机的时间不准，已按系统时间亮码。", "This phone’s clock is wrong. The code uses the system’s time.")}</p>`)}
  ${say("key-failed", "bad", `<p class="notice-title">${t("这部手机未能签名", "This phone could not sign")}</p><p>${t("请关闭其他页面后重试。仍然不行，请再次申领。", "Close other pages and try again. If that does not help, get a new code.")}</p>`)}
  ${say("insecure", "warn", `<p class="notice-title">${t("此连接不安全，无法亮码", "The connection is not secure, so the code cannot be shown")}</p><p>${t("请使用 https 地址打开本页。核酸码和纸质码仍可使用。", "Open this page by its https address. Sampling codes and paper codes still work.")}</p>`)}`;

const codeEnd = (t, kind, reissue) => `<section class="apart stack" aria-labelledby="end-title">
  <h2 id="end-title">${t("换码与挂失", "Replace or report lost")}</h2>
  <p class="quiet">${t("办理后，这张码立即失效。", "This code stops working at once.")}</p>
  <div class="btn-row">
    <a class="btn" data-act="reissue" href="/my/${kind}/reissue">${reissue}</a>
    <a class="btn btn-danger" data-act="loss" href="/my/${kind}/loss">${t("挂失", "Report lost")}</a>
  </div>
</section>`;

export const myLive = (t, view) =>
  layout(t, {
    title: t("随申码", "Live code"),
    page: "my",
    view,
    scripts: ["live-code"],
    attributes: " data-ping",
    body: `<div class="stack">
${back(t, "/my")}
<h1 class="visually-hidden">${t("随申码", "Live code")}</h1>
<section class="code" data-island="live-code" data-token="${SAMPLE}" data-code-id="A1B2C3D4E5F60718" data-max-age-seconds="60" data-server-time="1795000000">
  <p class="code-kind">${t("随申码", "Live code")}</p>
  <p class="code-holder">张*三</p>
  <div class="qr" role="img" aria-label="${t("随申码二维码，请出示给工作人员或闸机", "QR code. Show it to staff or to the gate.")}"></div>
  <progress class="countdown-bar" max="15" value="15" aria-hidden="true"></progress>
  <p class="countdown"></p>
  <noscript>${notice("warn", `<p>${t("亮码需要 JavaScript。核酸码和纸质码不需要。", "Showing a live code needs JavaScript. Sampling codes and paper codes do not.")}</p>`)}</noscript>
  <div class="say" role="status"></div>
  ${liveTemplates(t)}
  <p class="code-expiry">${t("<span class='whole'>2027年11月29日</span> <span class='whole'>08:14 前有效</span>", "Valid until 08:14 on 29 November 2027")}</p>
</section>
${codeEnd(t, "live", t("再次申领", "Get again"))}
</div>`,
  });

/** How `my-live` looks when the island has drawn the code; the server never writes this. */
export const myLiveShown = (t, view) =>
  myLive(t, view)
    .replace('data-island="live-code"', 'data-live data-fresh-until="2026-11-03T00:15:00Z"')
    .replace(/(<div class="qr"[^>]*>)/, `$1${qrSvg(SAMPLE)}`)
    .replace('<p class="countdown"></p>', `<p class="countdown">${t("15 秒后自动更新", "Renewed in 15 seconds")}</p>`);

export const myImage = (t, view) =>
  layout(t, {
    title: t("核酸码", "Sampling code"),
    page: "my",
    view,
    body: `<div class="stack">
${back(t, "/my")}
<h1 class="visually-hidden">${t("核酸码", "Sampling code")}</h1>
<section class="code" data-code-id="A1B2C3D4E5F60718">
  <p class="code-kind">${t("核酸码", "Sampling code")}</p>
  <p class="code-holder">张*三</p>
  <div class="qr" role="img" aria-label="${t("核酸码二维码", "QR code of the sampling code")}">${qrSvg(SAMPLE.slice(0, 200))}</div>
  <p class="code-expiry">${until(t)}</p>
</section>
<div class="btn-row">
  <a class="btn btn-primary" data-act="download" data-island="save-image" href="/my/sampling/image.png" download>${icon("save")}${t("保存图片", "Save image")}</a>
  <a class="btn" data-act="print" href="/my/sampling/print">${icon("printer")}${t("打印", "Print")}</a>
</div>
${codeEnd(t, "sampling", t("重新生成", "Make anew"))}
</div>`,
  });

export const myNone = (t) =>
  layout(t, {
    title: t("随申码", "Live code"),
    page: "my",
    scripts: ["live-code"],
    body: `<div class="stack-large">
${back(t, "/my")}
<div class="row row-apart"><h1>${t("随申码", "Live code")}</h1>${state("none", t("未申领", "None"))}</div>
<p>${t("申领后，只有这部手机可以亮码。有效期一年。", "Only this phone can show the code that you get here. It is valid for a year.")}</p>
<form method="post" action="/my/live/issue" data-needs-device-key>
  <input type="hidden" name="csrf" value="…"><input type="hidden" name="command_id" value="…"><input type="hidden" name="device_key" value="">
  <noscript>${notice("warn", `<p>${t("申领随申码需要 JavaScript。核酸码不需要。", "A live code needs JavaScript. A sampling code does not.")}</p>`)}</noscript>
  <div class="say" role="status"></div>
  <template data-say="insecure">${notice("warn", `<p>${t("此连接不安全，不能申领随申码。请使用 https 地址打开本页。", "The connection is not secure, so a live code cannot be got here. Open this page by its https address.")}</p>`)}</template>
  <template data-say="key-failed">${notice("bad", `<p>${t("这部手机未能生成密钥，尚未申领。请退出无痕浏览后重试。", "This phone could not make a key, and no code was issued. Leave private browsing and try again.")}</p>`)}</template>
  <p><button class="btn btn-primary" type="submit" data-act="issue">${t("申领", "Get")}</button></p>
</form>
</div>`,
  });

export const myConfirm = (t, view) =>
  layout(t, {
    title: t("挂失核酸码", "Report the sampling code lost"),
    page: "my",
    view,
    body: `<div class="stack-large">
${back(t, "/my/sampling")}
<h1>${t("挂失核酸码", "Report the sampling code lost")}</h1>
${notice("warn", `<p class="notice-title">${t("办理后，这张码立即失效", "This code stops working at once")}</p>
<dl class="facts"><div><dt>${t("种类", "Kind")}</dt><dd>${t("核酸码", "Sampling code")}</dd></div><div><dt>${t("有效期", "Expiry")}</dt><dd>${until(t)}</dd></div></dl>`)}
<p>${t("您的随申码和离线随申码不受影响。挂失后可以重新申领。", "Your live code and your offline code keep working. You can get a new sampling code afterwards.")}</p>
<form method="post" action="/my/sampling/loss">
  <input type="hidden" name="csrf" value="…"><input type="hidden" name="command_id" value="…">
  <div class="btn-row"><button class="btn btn-danger btn-final" type="submit" data-act="loss">${t("确认挂失", "Confirm: report lost")}</button><a class="btn" href="/my/sampling">${t("取消", "Cancel")}</a></div>
</form>
</div>`,
  });

export const resultDone = (t) =>
  layout(t, {
    title: t("已重新生成", "Made anew"),
    page: "my",
    body: `<div class="stack-large">
<div class="notice" data-tone="good" role="status" data-result="done" data-focus tabindex="-1" data-died="A1B2C3D4E5F60718" data-alive="live offline">${icon("check")}<div class="notice-text">
  <h1 class="notice-title">${t("核酸码已重新生成", "The sampling code has been made anew")}</h1>
  <ul>
    <li>${icon("cross")}<span>${t("已失效：原核酸码，包括保存的图片和打印件。", "Stopped working: the old sampling code, also as a saved image or print.")}</span></li>
    <li>${icon("check")}<span>${t("仍可使用：随申码、离线随申码。", "Still works: live code, offline code.")}</span></li>
  </ul></div></div>
<div class="btn-row"><a class="btn btn-primary" data-act="show" href="/my/sampling">${t("亮码", "Show")}</a><a class="btn" href="/my">${t("返回", "Back")}</a></div>
</div>`,
  });

export const resultRefused = (t) =>
  layout(t, {
    title: t("未办理", "Not done"),
    page: "my",
    body: `<div class="stack-large">
<div class="notice" data-tone="bad" role="status" data-result="not_eligible" data-outcome="not_done" data-focus tabindex="-1">${icon("alert")}<div class="notice-text">
  <h1 class="notice-title">${t("没有办理，您的码没有变化", "Nothing was done. Your codes have not changed")}</h1>
  <p>${t("离线随申码面向 18 周岁以下、60 周岁及以上、持残疾人证的市民和其他特殊人群。", "Offline codes are for residents under 18, from 60, with a disability certificate, or of a special group.")}</p></div></div>
<div class="btn-row"><a class="btn btn-primary" href="/my">${t("返回", "Back")}</a></div>
</div>`,
  });

export const resultUnknown = (t) =>
  layout(t, {
    title: t("正在确认", "Checking"),
    page: "my",
    body: `<div class="stack-large" data-retry>
<div class="notice" data-tone="warn" role="status" data-result="unavailable" data-outcome="unknown" data-focus tabindex="-1">${icon("clock")}<div class="notice-text">
  <h1 class="notice-title">${t("正在确认，请勿重复办理", "Checking, do not repeat")}</h1>
  <p>${t("系统还没有答复，本页会自动再次询问，不会办理两次。", "The system has not answered yet. This page asks again by itself; nothing is done twice.")}</p></div></div>
<form method="post" action="/my/sampling/reissue" hx-post="/my/sampling/reissue" hx-trigger="every 3s" hx-sync="this:drop" hx-target="closest [data-retry]" hx-swap="outerHTML"><input type="hidden" name="csrf" value="…"><input type="hidden" name="command_id" value="…"><button class="btn" type="submit">${t("立即查询", "Ask now")}</button></form>
</div>`,
  });

export const myFamily = (t) =>
  layout(t, {
    title: t("亲属", "Relatives"),
    page: "my",
    body: `<div class="stack-large">
${back(t, "/my")}
<h1>${t("亲属", "Relatives")}</h1>
<section class="stack" aria-labelledby="i-act"><h2 id="i-act">${t("我可以为谁办理", "Whom I may act for")}</h2>
<ul class="cards"><li class="card"><div class="card-head"><h3 class="card-title" id="rel-1">${t("李*明", "李*明")}</h3>${state("valid", t("已确认", "Confirmed"))}</div>
<p class="card-text">${t("儿子，自 2026年5月2日", "Son, since 2 May 2026")}</p>
<div class="card-actions btn-row"><a class="btn btn-primary" href="/my/live?for=1" aria-describedby="rel-1">${t("替亲属办理", "For a relative")}</a><a class="btn" href="/my/family/end?n=1" aria-describedby="rel-1">${t("解除关系", "End relation")}</a></div></li>
<li class="card"><div class="card-head"><h3 class="card-title" id="rel-2">${t("王*英", "王*英")}</h3>${state("suspended", t("等待对方同意", "Waiting for consent"))}</div>
<p class="card-text">${t("请王*英登录后在此页同意，或到窗口由工作人员登记。", "王*英 consents on this page after signing in, or an officer records it.")}</p></li></ul>
<p><a class="btn btn-primary" href="/my/family/add">${icon("plus")}${t("添加亲属", "Add relative")}</a></p></section>
<section class="stack" aria-labelledby="for-me"><h2 id="for-me">${t("谁可以为我办理", "Who may act for me")}</h2><p class="quiet">${t("目前没有人。", "Nobody at present.")}</p></section>
</div>`,
  });
