/** Puts a verdict on the screen: shows, announces and sounds it, and takes it away after its time. */

import { playDecision } from "./sounds";

/** Screen readers hear a repeated text again only if the region was empty in between. */
const ANNOUNCE_DELAY_MS = 60;

export class VerdictPlace {
  private readonly idle: readonly Node[];
  private readonly announcer: HTMLElement;
  private timer = 0;

  /** The content of `place` without a verdict is what it shows between scans. */
  constructor(private readonly place: HTMLElement) {
    const template = document.querySelector<HTMLTemplateElement>('template[data-say="idle"]');
    const shown = place.querySelector(".verdict") ? [] : [...place.childNodes];
    this.idle = template ? [...template.content.childNodes] : shown;
    this.announcer = document.createElement("p");
    this.announcer.className = "visually-hidden";
    this.announcer.setAttribute("aria-live", "assertive");
    document.body.append(this.announcer);
    this.arrived(false);
  }

  /** Shows new content; a verdict inside is announced and sounded. The field of its next step takes what a card reader types. */
  show(content: Node): void {
    this.place.replaceChildren(content);
    this.arrived(true);
    this.place.querySelector<HTMLElement>("[data-focus]")?.focus();
  }

  /** Takes the verdict away. */
  clear(): void {
    clearTimeout(this.timer);
    this.announcer.textContent = "";
    this.place.replaceChildren(...this.idle.map((node) => node.cloneNode(true)));
  }

  private arrived(sound: boolean): void {
    clearTimeout(this.timer);
    const verdict = this.place.querySelector<HTMLElement>(".verdict");
    if (!verdict) {
      return;
    }
    if (sound) {
      playDecision(verdict.dataset["decision"] ?? "");
      this.announce(verdict);
    }
    const clearAfterMs = Number(verdict.dataset["clearAfterMs"]);
    if (clearAfterMs > 0) {
      this.timer = setTimeout(() => this.clear(), clearAfterMs);
    }
  }

  private announce(verdict: HTMLElement): void {
    const parts = verdict.querySelectorAll(".verdict-word, .verdict-text");
    const text = [...parts].map((part) => part.textContent?.trim()).join(" ");
    this.announcer.textContent = "";
    setTimeout(() => (this.announcer.textContent = text), ANNOUNCE_DELAY_MS);
  }
}
