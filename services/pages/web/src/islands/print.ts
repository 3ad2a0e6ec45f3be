/**
 * `[data-print]` prints the page; afterwards `[data-after-print]` is shown instead of `[data-before-print]`.
 * `data-print-now` prints without a click.
 */

import { each } from "../lib/island";

export function attachPrint(): void {
  each("print", "[data-print]", (button) => {
    button.addEventListener("click", print);
    if ("printNow" in button.dataset) {
      addEventListener("load", print, { once: true });
    }
  });
}

/** No idle time runs while the machine prints. */
function print(): void {
  document.body.dataset["hold"] = "";
  const after = (): void => {
    delete document.body.dataset["hold"];
    const question = document.querySelector<HTMLElement>("[data-after-print]");
    if (question) {
      document.querySelectorAll<HTMLElement>("[data-before-print]").forEach((step) => (step.hidden = true));
      question.hidden = false;
      question.focus();
    }
  };
  addEventListener("afterprint", after, { once: true });
  window.print();
}
