/** A kiosk's card reader types like a keyboard into `input[name=card]`; the form is sent when a card was read. */

import { island } from "../lib/island";
import { submit } from "../lib/submit";
import { watchWedge } from "./wedge-field";

export function attachCardReader(): void {
  island("card-reader", (element) => {
    const field = element.querySelector<HTMLInputElement>("input");
    if (!(element instanceof HTMLFormElement) || !field) {
      return;
    }
    watchWedge(field, { begins: () => undefined, complete: () => submit(element) });
    element.addEventListener("submit", (event) => {
      if (field.value.trim() === "") {
        event.preventDefault();
      }
    });
  });
}
