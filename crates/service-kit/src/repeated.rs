//! Rate limiting of log lines about a repeated failure.
//!
//! A loop that retries every few seconds, and fails each time for the same reason, would fill the log with one line and
//! hide all others. It calls [`Repeated::failed`] after each failure, which returns whether to log it, with growing
//! pauses between, and [`Repeated::over`] after a success.

use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock as _, SystemClock};

/// Pause between the first and the second report of the same failure; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause: the failure must appear in the last hours of a log.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// The shortest pause between two reports, also if the reason changes each time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);
/// A failure that has not recurred for this long is over, even without a call of [`Repeated::over`].
const OVER_AFTER: Duration = Duration::from_secs(600);

/// The reports about one kind of failure. Each loop has one.
#[derive(Debug, Default)]
pub struct Repeated {
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    reason: String,
    reported: Duration,
    occurred: Duration,
    pause: Duration,
    unreported: u64,
}

/// [`Repeated`] for calls, of which thousands may fail in the same way; a static beside the code that logs. It reads
/// the system's clock itself, because only log lines depend on it.
#[derive(Debug)]
pub struct RepeatedInCalls {
    repeated: Repeated,
    clock: LazyLock<SystemClock>,
}

impl Default for RepeatedInCalls {
    fn default() -> Self {
        Self::new()
    }
}

impl RepeatedInCalls {
    /// A state without reports.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            repeated: Repeated::new(),
            clock: LazyLock::new(SystemClock::new),
        }
    }

    /// As [`Repeated::failed`], at the current time.
    pub fn failed(&self, reason: &str) -> Option<u64> {
        self.repeated.failed(reason, self.clock.monotonic())
    }
}

impl Repeated {
    /// A state without reports.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: Mutex::new(None) }
    }

    /// Records a failure at `now` of a monotonic clock. If it is to be logged, returns how many failures were not
    /// logged since the last report.
    pub fn failed(&self, reason: &str, now: Duration) -> Option<u64> {
        let mut last = self.last.lock();
        let lasts = |known: &&mut Last| now.saturating_sub(known.occurred) < OVER_AFTER;
        let Some(known) = last.as_mut().filter(lasts) else {
            *last = Some(Last {
                reason: reason.to_owned(),
                reported: now,
                occurred: now,
                pause: FIRST_PAUSE,
                unreported: 0,
            });
            return Some(0);
        };
        known.occurred = now;
        let reason_changed = known.reason != reason;
        let pause = if reason_changed { SHORTEST_PAUSE } else { known.pause };
        if now.saturating_sub(known.reported) < pause {
            known.unreported += 1;
            return None;
        }
        known.pause = if reason_changed {
            FIRST_PAUSE
        } else {
            (known.pause * 2).min(LONGEST_PAUSE)
        };
        reason.clone_into(&mut known.reason);
        known.reported = now;
        Some(std::mem::take(&mut known.unreported))
    }

    /// Records a success: the next failure is reported at once.
    pub fn over(&self) {
        *self.last.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_same_failure_every_five_seconds_is_reported_a_dozen_times_in_six_hours() {
        let repeated = Repeated::default();
        let reported: Vec<u64> = (0..6 * 3_600)
            .step_by(5)
            .filter(|second| repeated.failed("the disk is full", at(*second)).is_some())
            .collect();
        assert_eq!(reported[..5], [0, 60, 180, 420, 900]);
        let pauses: Vec<u64> = reported.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            reported.len() <= 12 && pauses.iter().all(|pause| *pause <= 3_600),
            "{reported:?}"
        );
    }

    #[test]
    fn a_report_counts_what_was_not_reported_and_another_reason_is_reported_soon() {
        let repeated = Repeated::default();
        assert_eq!(repeated.failed("a", at(0)), Some(0));
        assert_eq!(repeated.failed("a", at(5)), None);
        assert_eq!(
            repeated.failed("b", at(9)),
            None,
            "reasons that change each time fill no log either"
        );
        assert_eq!(repeated.failed("b", at(10)), Some(2));
        assert_eq!(repeated.failed("b", at(69)), None);
        repeated.over();
        assert_eq!(repeated.failed("b", at(70)), Some(0));
        assert_eq!(repeated.failed("b", at(100)), None);
        assert_eq!(repeated.failed("b", at(700)), Some(0), "it was over and recurred");
    }
}
