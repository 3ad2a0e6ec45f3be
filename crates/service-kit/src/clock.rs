//! Time as a value: services read it through [`Clock`], so that tests move it by hand and a clock that
//! jumps back is noticed instead of bringing dead codes back to life.
//!
//! What it leaves out: time zones and calendars (policy's affair) and sleeping (tokio's).

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

/// How far the wall clock may fall behind the monotonic clock before it is no longer believed. NTP slews
/// and small corrections stay below; a clock set back to revive an expired code does not.
pub const STEP_BACK_TOLERANCE: Duration = Duration::from_secs(5);

/// Whether the wall clock can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockTrust {
    /// It moved along with the monotonic clock.
    Trusted,
    /// It stands this many seconds behind the latest time seen, which is more than
    /// [`STEP_BACK_TOLERANCE`]. It heals once the wall clock has caught up.
    SteppedBack {
        /// How far it is behind, in whole seconds.
        by_seconds: u64,
    },
}

/// Where `now` comes from. All methods are cheap, never block and may be called from any thread.
/// `monotonic` never goes back within one process; `now` may.
pub trait Clock: Send + Sync {
    /// Wall time in whole seconds.
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.now_millis().div_euclid(1000))
    }
    /// Wall time in milliseconds since 1970.
    fn now_millis(&self) -> i64;
    /// Time since this clock was made; never goes back, and goes on while the machine is suspended.
    fn monotonic(&self) -> Duration;
    /// Whether the wall clock has stepped back since it was last looked at.
    fn trust(&self) -> ClockTrust {
        self.reading().trust
    }
    /// All three at once, for whoever decides by them: the clocks are read once.
    fn reading(&self) -> ClockReading;
}

/// Both clocks at one moment, and whether they can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// Wall time.
    pub now: UnixSeconds,
    /// Monotonic time of the clock that was read.
    pub monotonic: Duration,
    /// Whether `now` can be believed.
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

/// Remembers the furthest point that wall time has reached, carried on by the monotonic clock.
/// Without a lock, as every scan looks.
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
            // Written only when it grows, so that scans on many cores share the line.
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

/// The operating system's clocks. Made once, in `main`.
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

/// A moment on the operating system's monotonic clock that counts the time in which the machine is suspended. Linux
/// has such a clock beside that of [`std::time::Instant`], which rests meanwhile: by it, knowledge from before a night's
/// suspension would be fresh.
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

/// A moment on the standard library's monotonic clock: whether that goes on during suspension depends on the system.
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

/// A clock that stands still until a test moves it.
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

    /// Both clocks move on.
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
    fn a_clock_that_leapt_ahead_and_came_back_is_not_trusted() {
        let clock = ManualClock::at(UnixSeconds(1_000_000));
        clock.set_wall(UnixSeconds(2_000_000));
        assert_eq!(
            clock.trust(),
            ClockTrust::Trusted,
            "ahead cannot be told from a late start"
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
