/** A camera sees the same code many times a second: it counts again only after it was out of sight for 1.5 s. */

const OUT_OF_SIGHT_MS = 1_500;

export class Repeats {
  private lastText = "";
  private lastSeenMs = Number.NEGATIVE_INFINITY;

  /** Whether this text is the one that is already being held up. */
  isRepeat(text: string, nowMs: number): boolean {
    const repeat = text === this.lastText && nowMs - this.lastSeenMs < OUT_OF_SIGHT_MS;
    this.lastText = text;
    this.lastSeenMs = nowMs;
    return repeat;
  }
}
