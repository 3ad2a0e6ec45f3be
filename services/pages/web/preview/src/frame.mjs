// The frame of every page: what `layout.rs` writes around a page's own part.

/** An icon of the sprite. It is decoration: the words beside it say the same. */
export const icon = (name, className = "icon") =>
  `<svg class="${className}" aria-hidden="true" focusable="false"><use href="/assets/icons.svg#${name}"/></svg>`;

/** The texts of one language: `t("中文", "English")`. */
export function words(lang) {
  const t = (zh, en) => (lang === "zh" ? zh : en);
  t.lang = lang;
  return t;
}

export const connection = (t) => `<p class="connection">
  <span class="connection-online">${icon("online")}${t("在线", "Online")}</span>
  <span class="connection-offline">${icon("offline")}${t("离线", "Offline")}</span>
</p>`;

const head = (t, view) => `<header class="page-head">
  <div class="page-head-in">
    <a class="brand" href="/">${icon("code", "brand-mark")}<span>${t("上海市随申码", "Shanghai codes")}</span></a>
    <nav class="page-tools" aria-label="${t("显示与帮助", "Display and help")}">
      ${
        view === "large"
          ? `<a class="tool tool-view" href="?view=standard">${t("标准版", "Standard view")}</a>`
          : `<a class="tool tool-view" href="?view=large">${t("长辈版", "Large view")}</a>`
      }
      ${
        t.lang === "zh"
          ? `<a class="tool" href="?lang=en" lang="en" hreflang="en">English</a>`
          : `<a class="tool" href="?lang=zh" lang="zh-CN" hreflang="zh-CN">中文</a>`
      }
      <a class="tool" href="#help">${t("帮助", "Help")}</a>
    </nav>
  </div>
</header>`;

const foot = (t) => `<footer class="page-foot">
  <div class="page-foot-in">
    <section class="help" id="help" aria-labelledby="help-title" tabindex="-1">
      <h2 id="help-title">${t("需要帮助？", "Do you need help?")}</h2>
      <p>${t("请拨打市民热线，每天 24 小时有人接听。", "Call the city’s line. People answer day and night.")}</p>
      <p><a class="help-phone" href="tel:12345">${icon("telephone")}<span>12345</span></a></p>
    </section>
  </div>
</footer>`;

/**
 * A whole page. `body` is the content of <main>; `page` names the page's kind: `my`, `kiosk`, `staff`, `gate`, `ops`.
 * A kiosk and a gate have their own style sheet; the gate has neither header nor footer.
 */
export function layout(t, { title, body, page = "", view = "standard", scripts = [], styles = [], attributes = "", demo = true, after = "", wide = false, main = "" }) {
  const device = page === "gate";
  const classes = [page, styles.includes("sheet") ? "has-sheet" : ""].filter(Boolean).join(" ");
  return `<!doctype html>
<html lang="${t.lang === "zh" ? "zh-CN" : "en"}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · ${t("上海市随申码", "Shanghai codes")}</title>
<link rel="icon" href="/assets/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/app.css">
${styles.map((name) => `<link rel="stylesheet" href="/assets/${name}.css">\n`).join("")}<script type="module" src="/assets/app.js"></script>
${scripts.map((name) => `<script type="module" src="/assets/${name}.js"></script>\n`).join("")}</head>
<body class="${classes}" data-view="${view}" data-connection="online"${attributes}>
${device ? "" : `<a class="skip-link" href="#main">${t("跳到正文", "Skip to content")}</a>\n`}${
    demo ? `<aside class="demo-banner" aria-label="${t("演示", "Demonstration")}">${t("演示，无效", "DEMO – not valid")}</aside>\n` : ""
  }${device ? "" : head(t, view)}
<main class="${device ? "" : `page${wide ? " page-wide" : ""}`}" id="main" tabindex="-1"${main}>
${body}
</main>
${device || page === "kiosk" || page === "staff" ? "" : foot(t)}
${after}
</body>
</html>
`;
}

/** A notice: a sentence with a sign. Tones: info, warn, bad, good. */
export const notice = (tone, html, attributes = "") => {
  const signs = { info: "info", warn: "alert", bad: "alert", good: "check" };
  return `<div class="notice" data-tone="${tone}"${attributes}>${icon(signs[tone])}<div class="notice-text">${html}</div></div>`;
};

const stateSigns = { valid: "check", suspended: "pause", expired: "clock", superseded: "swap", reported_lost: "lost", revoked: "ban", none: "dash" };

/** The state of a code: sign and word. */
export const state = (name, word) => `<span class="state" data-state="${name}">${icon(stateSigns[name])}${word}</span>`;

export const back = (t, href) => `<a class="crumb" href="${href}">${icon("back")}${t("返回", "Back")}</a>`;
