/** `form[data-needs-device-key]`: makes this phone's key and puts its public part into the form before it is sent. */

import { canUseKeys, keyForSlot } from "../lib/device-key";
import { each } from "../lib/island";
import { Speaker } from "../lib/say";
import { submit } from "../lib/submit";

export function attachDeviceForms(): void {
  each("device-form", "form[data-needs-device-key]", (element) => {
    const field = element.querySelector<HTMLInputElement>("input[name=device_key]");
    if (!(element instanceof HTMLFormElement) || !field) {
      return;
    }
    const speaker = new Speaker(element);
    if (!canUseKeys()) {
      speaker.show("insecure");
    }
    element.addEventListener("submit", (event) => {
      if (field.value !== "") {
        return;
      }
      event.preventDefault();
      void fill(element, field, speaker).then((filled) => {
        if (filled) {
          submit(element, event.submitter);
        }
      });
    });
  });
}

/** The slot is the form's path, which names the kind and the number of the relative but no person. */
async function fill(form: HTMLFormElement, field: HTMLInputElement, speaker: Speaker): Promise<boolean> {
  if (!canUseKeys()) {
    speaker.only("insecure");
    return false;
  }
  try {
    const path = new URL(form.action);
    field.value = await keyForSlot(path.pathname + path.search);
    speaker.clear();
    return true;
  } catch {
    speaker.only("key-failed");
    return false;
  }
}
