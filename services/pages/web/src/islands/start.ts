/** `/start#SECRET`: takes the secret out of the address and the history, and posts it. */

import { island } from "../lib/island";
import { submit } from "../lib/submit";

export function attachStart(): void {
  island("start", (element) => {
    const secret = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname + location.search);
    const field = element.querySelector<HTMLInputElement>("input[name=secret]");
    if (secret !== "" && field && element instanceof HTMLFormElement) {
      field.value = secret;
      submit(element);
    }
  });
}
