// `/ops/*`: what is wrong first, then tables.
import { icon, layout, notice, state, connection } from "./frame.mjs";

const tabs = (t, current) => {
  const all = [["counts", t("统计", "Counts")], ["devices", t("设备", "Devices")], ["code", t("查码", "Code")], ["officer", t("窗口办理", "Officer")], ["import", t("批量导入", "Import")], ["keys", t("密钥", "Keys")], ["policy", t("政策", "Policy")], ["audit", t("审计", "Audit")], ["components", t("组件", "Components")]];
  return `<nav class="tabs" aria-label="${t("运行管理", "Operations")}">${all.map(([path, word]) => `<a href="/ops/${path}"${path === current ? ' aria-current="page"' : ""}>${word}</a>`).join("")}</nav>`;
};

const ops = (t, current, title, body, scripts = []) =>
  layout(t, { title, page: "ops", wide: true, styles: ["ops"], scripts, attributes: " data-ping", body: `<div class="stack-large">${tabs(t, current)}${body}</div>` });

const stat = (name, value, note, tone = "") => `<li class="stat"${tone && ` data-tone="${tone}"`}><span class="stat-name">${name}</span><span class="stat-value">${value}</span><span class="stat-note">${note}</span></li>`;

export const opsCounts = (t) =>
  ops(t, "counts", t("统计", "Counts"), `<div class="row row-apart"><h1>${t("今日统计", "Today")}</h1>${connection(t)}</div>
${notice("bad", `<p class="notice-title">${t("2 台设备离线超过 5 分钟", "2 devices have been offline for more than 5 minutes")}</p><p><a href="/ops/devices?state=offline">${t("查看设备", "See the devices")}</a></p>`)}
<ul class="stats">${stat(t("核验", "Scans"), "128,406", t("今日", "today"))}${stat(t("通过", "Admitted"), "126,931", "98.9 %")}${stat(t("未通过", "Refused"), "1,312", "1.0 %")}${stat(t("无法核验", "Cannot check"), "163", "0.1 %", "bad")}</ul>
<figure class="stack" data-island="charts"><figcaption><h2>${t("每小时核验次数", "Scans per hour")}</h2></figcaption>
<div class="chart" role="img" aria-label="${t("折线图，数据见下表", "Line chart; the table below has the data")}"></div>
<script type="application/json" data-chart>${JSON.stringify({ timeLabel: t("时间", "Time"), zone: "Asia/Shanghai", x: [1795975200, 1795978800, 1795982400, 1795986000, 1795989600], series: [{ label: t("通过", "Admitted"), tone: "good", values: [9120, 14310, 22040, 18220, 12200] }, { label: t("未通过", "Refused"), tone: "bad", values: [90, 132, 260, 180, 121] }] })}</script></figure>
<div class="table-frame" tabindex="0" role="region" aria-labelledby="reasons"><table class="table"><caption id="reasons">${t("未通过的原因", "Reasons of refusals")}</caption>
<thead><tr><th scope="col">${t("原因", "Reason")}</th><th scope="col" class="right">${t("次数", "Scans")}</th><th scope="col" class="right">${t("占比", "Share")}</th></tr></thead><tbody>
<tr><td>${t("已过期", "Expired")}</td><td class="right">702</td><td class="right">53.5 %</td></tr><tr><td>${t("已换新码", "Replaced")}</td><td class="right">388</td><td class="right">29.6 %</td></tr><tr><td>${t("此处不适用", "Not accepted here")}</td><td class="right">222</td><td class="right">16.9 %</td></tr></tbody></table></div>`, ["charts"]);

export const opsDevices = (t) =>
  ops(t, "devices", t("设备", "Devices"), `<h1>${t("设备", "Devices")}</h1>
<section class="card stack" aria-labelledby="pair"><h2 id="pair">${t("配对新设备", "Pair a device")}</h2>
<form method="post" class="filters"><input type="hidden" name="csrf" value="…"><div class="field"><label for="pair-code">${t("配对码", "Pairing code")}</label><input class="input input-number" id="pair-code" name="code" inputmode="numeric" autocomplete="off" maxlength="9" placeholder="0000 0000"></div>
<div class="field"><label for="place">${t("场所或渠道", "Place or channel")}</label><select class="input" id="place" name="place"><option>${t("数字哨兵", "Digital sentinel")}</option><option>${t("人工核验点", "Staffed checkpoint")}</option></select></div>
<div class="field"><label for="name">${t("名称", "Name")}</label><input class="input" id="name" name="name" autocomplete="off"></div><button class="btn btn-primary" type="submit">${t("配对", "Pair")}</button></form></section>
<div class="table-frame" tabindex="0" role="region" aria-labelledby="dev"><table class="table"><caption id="dev">${t("全部设备", "All devices")}</caption>
<thead><tr><th scope="col">${t("名称", "Name")}</th><th scope="col">${t("场所或渠道", "Place or channel")}</th><th scope="col">${t("状态", "State")}</th><th scope="col" class="right">${t("数据延迟", "Age of data")}</th><th scope="col"><span class="visually-hidden">${t("操作", "Acts")}</span></th></tr></thead><tbody>
<tr><th scope="row">gate-3</th><td>${t("数字哨兵", "Digital sentinel")}</td><td>${state("valid", t("在线", "Online"))}</td><td class="right">0.4 s</td><td class="right"><a href="/ops/devices/retire?n=3">${t("停用", "Retire")}</a></td></tr>
<tr><th scope="row">tablet-12</th><td>${t("人工核验点", "Staffed checkpoint")}</td><td>${state("expired", t("离线 7 分钟", "Offline for 7 minutes"))}</td><td class="right">421 s</td><td class="right"><a href="/ops/devices/retire?n=12">${t("停用", "Retire")}</a></td></tr>
<tr><th scope="row">kiosk-jingan-1</th><td>${t("一网通办自助终端", "City kiosk")}</td><td>${state("valid", t("在线", "Online"))}</td><td class="right">0.6 s</td><td class="right"><a href="/ops/devices/retire?n=1">${t("停用", "Retire")}</a></td></tr></tbody></table></div>`);

const event = (sign, title, meta) => `<li><span class="timeline-dot">${icon(sign, "icon")}</span><p class="timeline-title">${title}</p><p class="timeline-meta">${meta}</p></li>`;

export const opsCode = (t) =>
  ops(t, "code", t("查码", "Code"), `<h1>${t("查码", "Look up a code")}</h1>
<form method="post" class="filters"><input type="hidden" name="csrf" value="…"><div class="field"><label for="serial">${t("编号", "Serial")}</label><input class="input input-code" id="serial" name="serial" autocomplete="off" value="A1B2 C3D4 E5F6 0718"></div>
<div class="field"><label for="purpose">${t("用途", "Purpose")}</label><input class="input" id="purpose" name="purpose" required autocomplete="off" value="${t("投诉 17", "Complaint 17")}"></div><button class="btn btn-primary" type="submit">${icon("search")}${t("查询", "Look up")}</button></form>
<section class="card stack" aria-labelledby="code-title"><div class="row row-apart"><h2 id="code-title"><span class="serial">A1B2 C3D4 E5F6 0718</span></h2>${state("superseded", t("已换新码", "Replaced"))}</div>
<dl class="facts"><div><dt>${t("种类", "Kind")}</dt><dd>${t("离线随申码", "Offline code")}</dd></div><div><dt>${t("持有人", "Holder")}</dt><dd>王*英</dd></div></dl></section>
<section aria-labelledby="tl"><h2 class="section-title" id="tl">${t("经过", "History")}</h2><ol class="timeline">
${event("plus", t("申领", "Issued"), t('<time datetime="2026-05-07T00:14:00Z">2026年5月7日 08:14</time> · 一网通办自助终端', '<time datetime="2026-05-07T00:14:00Z">08:14 on 7 May 2026</time> · city kiosk'))}
${event("check", t("通过", "Valid"), t("2026年8月20日 09:02 · 核酸采样登记处", "09:02 on 20 August 2026 · sampling desk"))}
${event("swap", t("补领，此码失效", "Reissued; this code stopped working"), t("2026年10月28日 16:20 · PC端", "16:20 on 28 October 2026 · web"))}
${event("cross", t("已换新码", "Replaced"), t("2026年10月29日 07:55 · 人工核验点", "07:55 on 29 October 2026 · staffed checkpoint"))}
</ol></section>`);

export const opsForbidden = (t) =>
  ops(t, "keys", t("无权查看", "Not allowed"), `<div class="stack"><h1>${t("您的角色不能查看此页", "Your role may not see this page")}</h1><p>${t("密钥页面只对管理员开放。如需查看，请联系管理员。", "Keys are shown to administrators only. Ask an administrator.")}</p></div>`);
