/**
 * Ends a person's session at a kiosk after idling: 45 s without a touch (90 s in the large view), then a dialog that
 * counts 30 s down. At the end the personal content disappears at once, also when the server cannot be reached.
 */

import { isReachable } from "../lib/connection";
import { IdleTimer } from "../lib/idle-timer";
import { island } from "../lib/island";

const IDLE_SECONDS = { standard: 45, large: 90 };
const WARNING_SECONDS = 30;
const TICK_MS = 250;
const PING_TIMEOUT_MS = 2_000;
const TOUCHES = ["pointerdown", "keydown", "input", "wheel"];

export function attachKiosk(): void {
  island("kiosk", (element) => {
    const dialog = document.querySelector<HTMLDialogElement>("#idle-dialog");
    const finish = document.querySelector<HTMLFormElement>("form#finish");
    if (!dialog || !finish) {
      return;
    }
    const large = document.body.dataset["view"] === "large";
    const idleSeconds = Number(element.dataset["idleSeconds"]) || (large ? IDLE_SECONDS.large : IDLE_SECONDS.standard);
    const timer = new IdleTimer({ idleSeconds, warningSeconds: WARNING_SECONDS }, performance.now());
    for (const touch of TOUCHES) {
      document.addEventListener(touch, () => timer.touch(performance.now()), { capture: true, passive: true });
    }
    dialog.querySelector("[data-continue]")?.addEventListener("click", () => dialog.close());
    const ticking = setInterval(() => {
      const phase = timer.tick(performance.now(), "hold" in document.body.dataset);
      if (phase.name === "over") {
        clearInterval(ticking);
        void end(element, dialog, finish);
      } else {
        warn(dialog, phase.name === "warning" ? phase.secondsLeft : null);
      }
    }, TICK_MS);
  });
  // A page that the browser kept in memory would show the last person's data.
  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      location.reload();
    }
  });
}

/** Opens the dialog with the seconds that are left, or closes it. */
function warn(dialog: HTMLDialogElement, secondsLeft: number | null): void {
  if (secondsLeft === null) {
    if (dialog.open) {
      dialog.close();
    }
    return;
  }
  if (!dialog.open) {
    dialog.showModal();
  }
  const text = dialog.querySelector(".idle-seconds");
  if (text) {
    text.textContent = String(secondsLeft);
  }
}

/** Sends the form once the server is reached: a failed submission would leave the browser's error page. */
async function end(personal: HTMLElement, dialog: HTMLDialogElement, finish: HTMLFormElement): Promise<void> {
  personal.hidden = true;
  dialog.close();
  if (await isReachable(PING_TIMEOUT_MS)) {
    finish.submit();
  } else {
    setTimeout(() => void end(personal, dialog, finish), 1000);
  }
}
