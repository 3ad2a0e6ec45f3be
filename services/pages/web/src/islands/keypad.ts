/** Digit buttons for a field: `[data-key]` is a character, `back` or `clear`. */

import { island } from "../lib/island";

export function attachKeypad(): void {
  island("keypad", (element) => {
    const field = document.querySelector<HTMLInputElement>(element.dataset["target"] ?? "input[name=id_number]");
    if (!field) {
      return;
    }
    element.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-key]") : null;
      if (button) {
        field.value = press(field.value, button.dataset["key"] ?? "", field.maxLength);
        field.dispatchEvent(new Event("input", { bubbles: true }));
      }
    });
  });
}

/** The text after a key; a full field takes no more. */
function press(text: string, key: string, maxLength: number): string {
  if (key === "back") {
    return text.slice(0, -1);
  }
  if (key === "clear") {
    return "";
  }
  return maxLength >= 0 && text.length >= maxLength ? text : text + key;
}
