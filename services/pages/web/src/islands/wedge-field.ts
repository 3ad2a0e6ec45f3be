/** Keeps a scanner's characters in one field and calls back when a scan is complete. Used by checks and card readers. */

import { SILENCE_MS, Wedge } from "../lib/wedge";

export interface WedgeCalls {
  /** A scanner has begun to type. */
  readonly begins: () => void;
  /** A scan without Enter is complete. With Enter the form is submitted by the browser. */
  readonly complete: () => void;
}

/** Watches `field`; returns how to forget what was typed, after the form was sent. */
export function watchWedge(field: HTMLInputElement, calls: WedgeCalls): { readonly reset: () => void } {
  const wedge = new Wedge();
  let length = field.value.length;
  let timer = 0;
  let begun = false;

  const reset = (): void => {
    wedge.reset();
    begun = false;
    length = field.value.length;
    clearTimeout(timer);
  };
  field.addEventListener("input", () => {
    wedge.typed(field.value.length - length, performance.now());
    length = field.value.length;
    if (wedge.hasBegun() && !begun) {
      begun = true;
      calls.begins();
    }
    clearTimeout(timer);
    // A little later than the silence, so that the comparison does not depend on the timer's rounding.
    timer = setTimeout(() => {
      if (wedge.isComplete(performance.now())) {
        calls.complete();
      }
    }, SILENCE_MS + 5);
  });
  keepFocus(field);
  return { reset };
}

/**
 * Brings the focus back to the field: on a key when nothing else takes text, and after a click of a mouse on nothing.
 * After a touch it does not, because a tablet would open its keyboard over the verdict.
 */
function keepFocus(field: HTMLInputElement): void {
  document.addEventListener(
    "keydown",
    (event) => {
      const plain = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey;
      if (plain && !takesKeys(document.activeElement, event.key)) {
        field.focus({ preventScroll: true });
      }
    },
    true,
  );
  document.addEventListener("pointerup", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (event.pointerType === "mouse" && !target?.closest("a, button, input, select, textarea, label, summary")) {
      field.focus({ preventScroll: true });
    }
  });
}

/** Whether the focused element uses the key itself: text fields use all, a button uses the space bar. */
function takesKeys(element: Element | null, key: string): boolean {
  if (element?.matches("textarea, select, [contenteditable], input:not([type=radio], [type=checkbox], [type=file])")) {
    return true;
  }
  return key === " " && element !== null && element.matches("button, summary, input");
}
