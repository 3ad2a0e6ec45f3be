/** Submits a form as a person would, so that validation and listeners run; old browsers lack `requestSubmit`. */
export function submit(form: HTMLFormElement, submitter?: HTMLElement | null): void {
  if (typeof form.requestSubmit === "function") {
    form.requestSubmit(submitter ?? undefined);
    return;
  }
  const event = new Event("submit", { bubbles: true, cancelable: true });
  if (form.reportValidity() && form.dispatchEvent(event)) {
    form.submit();
  }
}
