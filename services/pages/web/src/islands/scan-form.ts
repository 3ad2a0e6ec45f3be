/**
 * The form of a checkpoint: takes codes of a scanner, the camera and the keyboard, asks the server, shows the verdict.
 * Without an answer in time the verdict is "cannot check", and a late answer is dropped: its person may have left.
 */

import { setConnection } from "../lib/connection";
import { island } from "../lib/island";
import { formFields, postForm } from "../lib/post";
import { Repeats } from "../lib/repeats";
import { ScanIds } from "../lib/scan-ids";
import { sentence } from "../lib/say";
import { submit } from "../lib/submit";
import { withoutInputMethod } from "../lib/wedge";
import { SCANNED, type Scanned } from "./scanned";
import { prepareSounds } from "./sounds";
import { VerdictPlace } from "./verdict";
import { watchWedge } from "./wedge-field";

const TIMEOUT_MS = 2_000;

export function attachScanForm(): void {
  island("scan-form", (element) => {
    const field = element.querySelector<HTMLInputElement>("input[name=code]");
    const place = document.querySelector<HTMLElement>(element.dataset["verdict"] ?? "#verdict");
    if (element instanceof HTMLFormElement && field && place) {
      prepareSounds();
      new ScanForm(element, field, place).listen();
    }
  });
}

class ScanForm {
  private readonly verdict: VerdictPlace;
  private readonly repeats = new Repeats();
  private readonly ids = new ScanIds();
  private readonly timeoutMs: number;
  /** Only the answer of the newest scan is shown. */
  private newest = 0;

  constructor(
    private readonly form: HTMLFormElement,
    private readonly field: HTMLInputElement,
    private readonly place: HTMLElement,
  ) {
    this.verdict = new VerdictPlace(place);
    this.timeoutMs = Number(form.dataset["timeoutMs"]) || TIMEOUT_MS;
  }

  listen(): void {
    const wedge = watchWedge(this.field, {
      begins: () => this.verdict.clear(),
      complete: () => submit(this.form),
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const code = withoutInputMethod(this.field.value);
      if (code.trim() !== "") {
        this.field.value = code;
        const fields = formFields(this.form);
        fields.set("scan_id", this.ids.of(code));
        void this.ask(this.form, fields);
      }
      this.field.value = "";
      wedge.reset();
    });
    this.form.addEventListener(SCANNED, (event) => {
      const { text, live } = (event as CustomEvent<Scanned>).detail;
      if (!live || !this.repeats.isRepeat(text, performance.now())) {
        this.field.value = text;
        submit(this.form);
      }
    });
    // The steps of a verdict (person matches or not) answer with the next verdict.
    this.place.addEventListener("submit", (event) => {
      const form = event.target;
      if (form instanceof HTMLFormElement) {
        event.preventDefault();
        void this.ask(form, formFields(form, event.submitter));
      }
    });
  }

  private async ask(form: HTMLFormElement, fields: URLSearchParams): Promise<void> {
    this.newest += 1;
    const mine = this.newest;
    this.verdict.clear();
    this.place.setAttribute("aria-busy", "true");
    const answer = await postForm(form.action, fields, this.place.id, this.timeoutMs);
    if (answer.name === "ended") {
      location.reload();
      return;
    }
    if (answer.name === "none") {
      setConnection("offline");
    } else if (!answer.content.querySelector('[data-decision="cannot_check"]')) {
      this.ids.answered(fields.get("scan_id"));
    }
    if (mine !== this.newest) {
      return;
    }
    this.place.removeAttribute("aria-busy");
    this.verdict.show(answer.name === "part" ? answer.content : sentence(this.form, "cannot-check"));
  }
}
