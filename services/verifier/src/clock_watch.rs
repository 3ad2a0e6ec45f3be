//! Whether the wall clock can be believed, asked by every scan: [`Clock::trust`] takes a lock, this does not.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use citycode_service_kit::clock::{Clock, ClockTrust, STEP_BACK_TOLERANCE};

/// The furthest that wall time ever ran ahead of monotonic time, in milliseconds. It only grows, so a wall clock that
/// was set back shows as less, until it has caught up.
pub(crate) struct StepWatch(AtomicI64);

impl StepWatch {
    /// Begins where the clock itself is: a step that it has seen already still counts.
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        let behind_seconds = match clock.trust() {
            ClockTrust::Trusted => 0,
            ClockTrust::SteppedBack { by_seconds } => i64::try_from(by_seconds).unwrap_or(i64::MAX),
        };
        let offset = offset(clock.monotonic(), clock.now_millis());
        Self(AtomicI64::new(
            offset.saturating_add(behind_seconds.saturating_mul(1000)),
        ))
    }

    /// Whether wall time is no further behind than small corrections take it.
    pub(crate) fn trusts(&self, monotonic: Duration, wall_millis: i64) -> bool {
        let offset = offset(monotonic, wall_millis);
        let furthest = self.0.load(Ordering::Relaxed);
        if offset > furthest {
            self.0.fetch_max(offset, Ordering::Relaxed);
            return true;
        }
        u128::from(furthest.abs_diff(offset)) <= STEP_BACK_TOLERANCE.as_millis()
    }
}

fn offset(monotonic: Duration, wall_millis: i64) -> i64 {
    wall_millis.saturating_sub(i64::try_from(monotonic.as_millis()).unwrap_or(i64::MAX))
}
