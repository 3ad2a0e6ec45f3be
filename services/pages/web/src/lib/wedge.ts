/**
 * Tells a scanner that types like a keyboard (a "wedge") from a person: at least 20 characters, each within 35 ms of
 * the one before, then 80 ms of silence or Enter.
 */

const MIN_CHARACTERS = 20;
const MAX_GAP_MS = 35;
/** After this silence a fast run is complete. Scanners that send Enter do not need it. */
export const SILENCE_MS = 80;
/** So many fast characters are no person: the last verdict leaves the screen. */
const BEGINS_AFTER = 6;

export class Wedge {
  private run = 0;
  private lastMs = Number.NEGATIVE_INFINITY;

  /** Notes that `count` characters arrived at `nowMs`. A deletion (0 or less) ends the run. */
  typed(count: number, nowMs: number): void {
    if (count <= 0) {
      this.reset();
      return;
    }
    this.run = nowMs - this.lastMs <= MAX_GAP_MS ? this.run + count : count;
    this.lastMs = nowMs;
  }

  /** Whether a scanner, not a person, is typing. */
  hasBegun(): boolean {
    return this.run >= BEGINS_AFTER;
  }

  /** Whether a whole scan lies in the field: a fast run, and silence since. */
  isComplete(nowMs: number): boolean {
    return this.run >= MIN_CHARACTERS && nowMs - this.lastMs >= SILENCE_MS;
  }

  /** Forgets the run: the field was sent or emptied. */
  reset(): void {
    this.run = 0;
    this.lastMs = Number.NEGATIVE_INFINITY;
  }
}

/**
 * Undoes what a Chinese input method does to a scanner's characters: full-width forms, `￥` for `$`, `。` for `.`,
 * `、` for `/`. The server ignores white space and letter case; a space inside is part of a code.
 */
export function withoutInputMethod(text: string): string {
  return text
    .replace(/[\uff01-\uff5e]/g, (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0))
    .replace(/\u3000/g, " ")
    .replace(/[￥¥]/g, "$")
    .replace(/。/g, ".")
    .replace(/、/g, "/")
    .replace(/×/g, "*");
}
