/**
 * The time for proofs. A phone whose clock differs from the server's is corrected: the time that the server wrote
 * into the page plus what has passed since, by the monotonic clock, which nobody can set.
 */

/** Sources of time, so that tests can move them. */
export interface TimeSources {
  /** Milliseconds since 1970 by the phone's clock. */
  readonly wall: () => number;
  /** Milliseconds of a clock that only runs forward; it may stand still while the phone sleeps. */
  readonly monotonic: () => number;
}

/** A difference above this is said to the person and corrected. Less is the time that the page took to arrive. */
const TOLERANCE_SECONDS = 30;
/** A wall clock that is this much ahead of the monotonic one after the page was hidden: the phone slept. */
const SLEEP_MS = 5_000;

export class ServerClock {
  /** Whether the phone's clock was wrong when the page was loaded. */
  readonly isWrong: boolean;
  private readonly startWall: number;
  private readonly startMonotonic: number;
  private sleptMs = 0;

  /** `serverSeconds` is the server's time when it wrote the page. */
  constructor(
    private readonly serverSeconds: number,
    private readonly sources: TimeSources,
  ) {
    this.startWall = sources.wall();
    this.startMonotonic = sources.monotonic();
    this.isWrong = Math.abs(this.startWall / 1000 - serverSeconds) > TOLERANCE_SECONDS;
  }

  /** Call when the page becomes visible again: adds the time that the monotonic clock did not count. */
  wake(): void {
    const missed = this.sources.wall() - this.startWall - this.passedMs();
    if (missed > SLEEP_MS) {
      this.sleptMs += missed;
    }
  }

  /** Seconds since 1970, whole. */
  seconds(): number {
    const now = this.isWrong ? this.serverSeconds * 1000 + this.passedMs() : this.sources.wall();
    return Math.floor(now / 1000);
  }

  private passedMs(): number {
    return this.sources.monotonic() - this.startMonotonic + this.sleptMs;
  }
}
