/**
 * What every page must be in every state: nothing that axe finds, nothing wider than the screen, no text without a
 * translation, and nothing personal where it would outlive the page.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** WCAG 2.2 AA, as axe names it. */
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

/** Returns the faults of the page as it is now, as sentences. */
export async function faults(page) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async (tags) => {
    const { violations } = await window.axe.run(document, { runOnly: tags, resultTypes: ["violations"] });
    return violations.map(({ id, help, nodes }) => {
      const [first] = nodes;
      return `axe ${id}: ${help}: ${first.html.slice(0, 200)} (${nodes.length}) ${first.failureSummary}`;
    });
  }, TAGS);
  return [...violations, ...(await page.evaluate(inspect))];
}

/** Runs in the page. */
function inspect() {
  const found = [];
  const { documentElement: root, body } = document;
  const say = (what, element) => found.push(`${what}: ${element.outerHTML.replace(/\s+/g, " ").slice(0, 160)}`);
  if (root.scrollWidth > root.clientWidth) {
    const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    const inFrame = (element) => element !== body && (scrolls(element) || inFrame(element.parentElement));
    const outside = (element) => element.getBoundingClientRect().right > root.clientWidth + 1 && !inFrame(element);
    const wide = [...body.querySelectorAll("*")].find(outside);
    say(`wider than the screen (${root.scrollWidth} > ${root.clientWidth})`, wide ?? body);
  }
  // Whoever stands at a kiosk does not know that there is more below.
  if (body.matches(".kiosk, .gate") && innerHeight >= 1_900 && root.scrollHeight > root.clientHeight) {
    found.push(`higher than the screen of a kiosk (${root.scrollHeight} > ${root.clientHeight})`);
  }
  if (!["zh-CN", "en"].includes(root.lang)) found.push(`lang is ${root.lang}`);
  if (!["standard", "large"].includes(body.dataset.view)) found.push(`data-view is ${body.dataset.view}`);
  if (!["online", "offline"].includes(body.dataset.connection)) found.push("no data-connection");
  const least = body.dataset.view === "large" ? 60 : 44;
  const targets = "a.btn, button, input:not([type=hidden], [type=radio], [type=checkbox], [type=file]), select, .choice, .tool";
  // A scanner types into fields that nobody sees; at a gate there is nothing to touch at all.
  const touched = [...document.querySelectorAll(targets)].filter((one) => !one.closest(".visually-hidden, body.gate"));
  for (const target of touched) {
    const { height, width } = target.getBoundingClientRect();
    if (height > 0 && (height < least - 0.5 || width < least - 0.5)) {
      say(`a target of ${Math.round(width)} × ${Math.round(height)} px`, target);
    }
  }
  // A text that is cut off: the element hides what does not fit.
  for (const element of body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    const hides = ["hidden", "clip"].includes(style.overflowX) && element.clientWidth > 1;
    const text = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (hides && text && element.scrollWidth > element.clientWidth + 1) say("text is cut off", element);
  }
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    const machine = parentElement.closest("script, style, code, pre, template, textarea, [data-machine]");
    // The page of components names them.
    if (!machine && location.pathname !== "/ops/components" && /^[a-z]+(-[a-z]+)+$/.test(data.trim())) say("a text without words", parentElement);
    if (/undefined|\[object|\{ ?\$/.test(data)) say("a text with a hole", parentElement);
  }
  const personal = /[0-9]{17}[0-9X]|CC1:/i;
  const storage = (area) => Object.entries({ ...area }).flat();
  for (const kept of [location.href, document.title, ...storage(localStorage), ...storage(sessionStorage)]) {
    if (personal.test(kept)) found.push(`an ID number or a token is kept in ${kept.slice(0, 40)}`);
  }
  return found;
}
