//! Time as a value: services read it through [`Clock`], so that tests can move it, and so that a clock that steps
//! back is detected instead of making expired codes valid again.
//!
//! Time zones and calendars (the policy's) and sleeping (tokio's) are not part of it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Seconds since 1970-01-01T00:00:00Z, leap seconds ignored as POSIX does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// This moment moved by `seconds` (negative: earlier); stays at the ends of the range.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// How far the wall clock may fall behind the monotonic clock before it is no longer trusted. NTP slews and small
/// corrections stay below it; a clock that was set back to make an expired code valid does not.
pub const STEP_BACK_TOLERANCE: Duration = Duration::from_secs(5);

/// Whether the wall clock is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockTrust {
    /// It advanced with the monotonic clock.
    Trusted,
    /// It is this many seconds behind the latest time seen, which is more than [`STEP_BACK_TOLERANCE`]. It is trusted
    /// again once it has caught up.
    SteppedBack {
        /// How far it is behind, in whole seconds.
        by_seconds: u64,
    },
}

/// The source of the time. All methods are cheap, never block and may be called from any thread. `monotonic` never goes
/// back within one process; `now` may.
pub trait Clock: Send + Sync {
    /// Wall time in whole seconds.
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.now_millis().div_euclid(1000))
    }
    /// Wall time in milliseconds since 1970.
    fn now_millis(&self) -> i64;
    /// Time since this clock was created. It never goes back, and continues while the machine is suspended.
    fn monotonic(&self) -> Duration;
    /// Whether the wall clock has stepped back.
    fn trust(&self) -> ClockTrust {
        self.reading().trust
    }
    /// All three values from one reading of the clocks, for decisions that use several of them.
    fn reading(&self) -> ClockReading;
}

/// Both clocks at one moment, and whether the wall clock is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// Wall time.
    pub now: UnixSeconds,
    /// Monotonic time of the clock that was read.
    pub monotonic: Duration,
    /// Whether `now` is trusted.
    pub trust: ClockTrust,
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now_millis(&self) -> i64 {
        (**self).now_millis()
    }
    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }
    fn reading(&self) -> ClockReading {
        (**self).reading()
    }
}

/// Stores the latest wall time seen, extrapolated by the monotonic clock. It has no lock, because every scan reads it.
#[derive(Debug)]
struct StepWatch {
    /// Largest `wall - monotonic` seen, in milliseconds. It only grows.
    offset_millis: AtomicI64,
}

impl StepWatch {
    fn new(offset_millis: i64) -> Self {
        Self {
            offset_millis: AtomicI64::new(offset_millis),
        }
    }

    fn reading(&self, wall_millis: i64, monotonic: Duration) -> ClockReading {
        ClockReading {
            now: UnixSeconds(wall_millis.div_euclid(1000)),
            monotonic,
            trust: self.look(wall_millis, monotonic),
        }
    }

    fn look(&self, wall_millis: i64, monotonic: Duration) -> ClockTrust {
        let elapsed = i64::try_from(monotonic.as_millis()).unwrap_or(i64::MAX);
        let offset = wall_millis.saturating_sub(elapsed);
        let mut furthest = self.offset_millis.load(Ordering::Relaxed);
        if offset > furthest {
            // It is written only when it grows, so that scans on many cores share the cache line.
            furthest = self.offset_millis.fetch_max(offset, Ordering::Relaxed).max(offset);
        }
        let behind = furthest.saturating_sub(offset).unsigned_abs();
        if u128::from(behind) > STEP_BACK_TOLERANCE.as_millis() {
            ClockTrust::SteppedBack {
                by_seconds: behind / 1000,
            }
        } else {
            ClockTrust::Trusted
        }
    }
}

/// The operating system's clocks. `main` creates one.
#[derive(Debug)]
pub struct SystemClock {
    origin: Moment,
    watch: StepWatch,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Moment::now(),
            watch: StepWatch::new(Self::wall_millis()),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that may read the operating system's wall clock"
    )]
    fn wall_millis() -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |m| -m),
        }
    }
}

/// A moment on the monotonic clock that includes the time in which the machine is suspended (`CLOCK_BOOTTIME`). The
/// clock of [`std::time::Instant`] stops during a suspension, after which a verifier would take its old state for
/// fresh.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy)]
struct Moment(Duration);

#[cfg(target_os = "linux")]
impl Moment {
    fn now() -> Self {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(Duration::try_from(since_boot).expect("time since boot is not negative"))
    }

    fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment on the standard library's monotonic clock. Whether it continues during a suspension depends on the system.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone, Copy)]
struct Moment(std::time::Instant);

#[cfg(not(target_os = "linux"))]
impl Moment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that may read the operating system's monotonic clock"
    )]
    fn now() -> Self {
        Self(std::time::Instant::now())
    }

    fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_millis(&self) -> i64 {
        Self::wall_millis()
    }

    fn monotonic(&self) -> Duration {
        Moment::now().since(self.origin)
    }

    fn reading(&self) -> ClockReading {
        self.watch.reading(Self::wall_millis(), self.monotonic())
    }
}

/// A clock that advances only when a test moves it.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<Manual>,
}

#[derive(Debug)]
struct Manual {
    wall_millis: i64,
    monotonic: Duration,
    watch: StepWatch,
}

impl ManualClock {
    /// Wall time starts at `now`, monotonic time at zero.
    #[must_use]
    pub fn at(now: UnixSeconds) -> Self {
        let wall_millis = now.0.saturating_mul(1000);
        Self {
            state: Mutex::new(Manual {
                wall_millis,
                monotonic: Duration::ZERO,
                watch: StepWatch::new(wall_millis),
            }),
        }
    }

    /// Advances both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.monotonic = state.monotonic.saturating_add(by);
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        state.wall_millis = state.wall_millis.saturating_add(millis);
    }

    /// Sets the wall clock alone, as an operator or an attacker would.
    pub fn set_wall(&self, now: UnixSeconds) {
        self.state.lock().wall_millis = now.0.saturating_mul(1000);
    }
}

impl Clock for ManualClock {
    fn now_millis(&self) -> i64 {
        self.state.lock().wall_millis
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().monotonic
    }

    fn reading(&self) -> ClockReading {
        let state = self.state.lock();
        state.watch.reading(state.wall_millis, state.monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_is_not_trusted_until_it_has_caught_up() {
        let clock = ManualClock::at(UnixSeconds(1_000_000));
        assert_eq!(clock.trust(), ClockTrust::Trusted);
        clock.advance(Duration::from_secs(100));
        clock.set_wall(UnixSeconds(1_000_100 - 5));
        assert_eq!(clock.trust(), ClockTrust::Trusted, "within tolerance");
        clock.set_wall(UnixSeconds(1_000_100 - 6));
        assert_eq!(clock.trust(), ClockTrust::SteppedBack { by_seconds: 6 });
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.trust(), ClockTrust::SteppedBack { by_seconds: 6 });
        clock.set_wall(UnixSeconds(1_000_160));
        assert_eq!(clock.trust(), ClockTrust::Trusted);
    }

    #[test]
    fn a_clock_that_jumped_ahead_and_back_is_not_trusted() {
        let clock = ManualClock::at(UnixSeconds(1_000_000));
        clock.set_wall(UnixSeconds(2_000_000));
        assert_eq!(
            clock.trust(),
            ClockTrust::Trusted,
            "a jump ahead looks like a late start"
        );
        clock.set_wall(UnixSeconds(1_000_000));
        assert_eq!(clock.trust(), ClockTrust::SteppedBack { by_seconds: 1_000_000 });
    }

    #[test]
    fn the_system_clock_moves_and_is_trusted() {
        let clock = SystemClock::new();
        assert_eq!(clock.trust(), ClockTrust::Trusted);
        assert!(clock.now().0 > 1_600_000_000);
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
    }

    #[test]
    fn seconds_before_1970_round_down() {
        let clock = ManualClock::at(UnixSeconds(-1));
        assert_eq!(clock.now(), UnixSeconds(-1));
    }
}
