/**
 * `[data-poll=URL]`: replaces its content by the server's part every second (`data-poll-ms`). It shows the age of the
 * knowledge; a device that was ended learns it here.
 */

import { setConnection } from "../lib/connection";
import { each } from "../lib/island";

const PERIOD_MS = 1_000;
/** With the pause between two questions a cut is noticed within two seconds. */
const TIMEOUT_MS = 1_000;
const ENDED = [401, 403, 410];
/** No Content: what is shown still holds. */
const UNCHANGED = 204;

export function attachPolls(): void {
  each("poll", "[data-poll]", (element) => void poll(element));
}

async function poll(element: HTMLElement): Promise<void> {
  const url = element.dataset["poll"] ?? "";
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch(url, { headers: { "HX-Request": "true" }, cache: "no-store", signal: abort.signal });
    if (ENDED.includes(answer.status)) {
      location.reload();
      return;
    }
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
    if (answer.status !== UNCHANGED) {
      replace(element, await answer.text());
    }
    setConnection("online");
  } catch {
    setConnection("offline");
  } finally {
    clearTimeout(timer);
  }
  if (element.isConnected) {
    setTimeout(() => void poll(element), Number(element.dataset["pollMs"]) || PERIOD_MS);
  }
}

/** Parsed this way no script of the text runs. */
function replace(element: HTMLElement, html: string): void {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  element.replaceChildren(...[...parsed.body.childNodes].map((node) => document.importNode(node, true)));
}
