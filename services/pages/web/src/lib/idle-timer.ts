/** When a person has left a kiosk: idle time, then a warning, then the end. The caller ticks it; no timer is inside. */

export type Phase =
  | { readonly name: "active" }
  | { readonly name: "warning"; readonly secondsLeft: number }
  | { readonly name: "over" };

export interface IdleLimits {
  /** Seconds without a touch before the warning: 45, in the large view 90. */
  readonly idleSeconds: number;
  /** Seconds of the warning. */
  readonly warningSeconds: number;
}

export class IdleTimer {
  private lastTouchMs: number;
  private over = false;

  constructor(
    private readonly limits: IdleLimits,
    nowMs: number,
  ) {
    this.lastTouchMs = nowMs;
  }

  /** A touch or key. It does not revive a session that is over. */
  touch(nowMs: number): void {
    this.lastTouchMs = nowMs;
  }

  /** The phase at `nowMs`. While `held` no time runs, as when the machine prints. */
  tick(nowMs: number, held: boolean): Phase {
    if (held) {
      this.lastTouchMs = nowMs;
    }
    const idleMs = nowMs - this.lastTouchMs;
    const leftMs = (this.limits.idleSeconds + this.limits.warningSeconds) * 1000 - idleMs;
    this.over ||= leftMs <= 0;
    if (this.over) {
      return { name: "over" };
    }
    return idleMs < this.limits.idleSeconds * 1000
      ? { name: "active" }
      : { name: "warning", secondsLeft: Math.ceil(leftMs / 1000) };
  }
}
