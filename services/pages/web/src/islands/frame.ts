/** What every page needs: the state of the connection, the focus after a change, and no double submission. */

import { isReachable, setConnection } from "../lib/connection";
import { each } from "../lib/island";
import { submit } from "../lib/submit";

const PING_TIMEOUT_MS = 2_000;
/** A submit button works again after this time if the page is still there, as after a download. */
const BUSY_MS = 10_000;

/** Follows the browser's own signal and, where `<body data-ping>` asks for it, the server every `data-ping` seconds. */
export function watchConnection(): void {
  addEventListener("offline", () => setConnection("offline"));
  const period = document.body.dataset["ping"];
  if (period === undefined) {
    addEventListener("online", () => setConnection("online"));
    setConnection(navigator.onLine ? "online" : "offline");
    return;
  }
  const ping = async (): Promise<void> => {
    if (document.visibilityState === "visible") {
      setConnection((await isReachable(PING_TIMEOUT_MS)) ? "online" : "offline");
    }
    setTimeout(() => void ping(), (Number(period) || 1) * 1000);
  };
  void ping();
}

/** Moves the focus to what is new, so that keyboards and screen readers start there. */
export function focusNews(): void {
  each("focus", "[data-focus]", (element) => element.focus());
}

/**
 * `[data-go]` leads to another page after `data-go-after` seconds, once the server is reached: a browser's error page
 * would remain on a screen that nobody attends. Only for pages on which nobody reads or types.
 */
export function goOn(): void {
  each("go", "[data-go]", (element) => {
    const go = async (): Promise<void> => {
      if (await isReachable(PING_TIMEOUT_MS)) {
        location.assign(element.dataset["go"] ?? "/");
      } else {
        setTimeout(() => void go(), 1000);
      }
    };
    setTimeout(() => void go(), (Number(element.dataset["goAfter"]) || 1) * 1000);
  });
}

/**
 * `form[data-send-after]` is sent again after so many seconds, once the server is reached: the outcome of its act is not
 * known, and the same command id does nothing twice.
 */
export function sendAgain(): void {
  each("send-after", "form[data-send-after]", (element) => {
    if (!(element instanceof HTMLFormElement)) {
      return;
    }
    const send = async (): Promise<void> => {
      if (await isReachable(PING_TIMEOUT_MS)) {
        submit(element);
      } else {
        setTimeout(() => void send(), 1000);
      }
    };
    setTimeout(() => void send(), (Number(element.dataset["sendAfter"]) || 1) * 1000);
  });
}

/** Lets a form be submitted once. The button is not disabled before the browser has read its name and value. */
export function submitOnce(): void {
  const busy = new Set<HTMLFormElement>();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || !(form instanceof HTMLFormElement)) {
      return;
    }
    if (busy.has(form)) {
      event.preventDefault();
      return;
    }
    busy.add(form);
    const button = event.submitter ?? form.querySelector("[type=submit]");
    button?.setAttribute("data-busy", "");
    button?.setAttribute("aria-disabled", "true");
    const release = (): void => {
      busy.delete(form);
      button?.removeAttribute("data-busy");
      button?.removeAttribute("aria-disabled");
    };
    setTimeout(release, BUSY_MS);
    addEventListener("pageshow", release, { once: true });
  });
}
