//! Rate limits per caller and per key, against harvesting and flooding by a stolen kiosk or a broken client.
//!
//! Time is a parameter (monotonic), nothing personal is stored (keys are ids and keyed hashes), and memory is bounded.
//! The limits hold per process: N instances of a service allow N times as much, and a restart resets them;
//! docs/operations.md ("Default limits") states this for each. Limits for a whole city are counted in durable stores
//! (wrong ID cards, uses of assertions).

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

use crate::bounded::Generations;
use crate::problem::{Code, Problem};

/// A token bucket: `burst` at once, refilled by `per_minute` each minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Most calls at once.
    pub burst: u32,
    /// Calls a minute in the long run.
    pub per_minute: u32,
}

/// All calls of one caller. A kiosk serves about one person a minute, a counter with its own software some dozens. An
/// import runs as admin, which is exempt.
pub const PER_CALLER: Rate = Rate {
    burst: 600,
    per_minute: 1_200,
};

/// Changes to one kind of one holder. A person who prints, loses and reprints codes stays far below it.
pub const PER_HOLDER_AND_KIND: Rate = Rate {
    burst: 20,
    per_minute: 10,
};

/// Distinct ID numbers per caller and [`DISTINCT_WINDOW`]. A kiosk that is busy all hour uses a tenth of it.
pub const DISTINCT_PER_CALLER: u32 = 1_000;

/// The window of [`DISTINCT_PER_CALLER`].
pub const DISTINCT_WINDOW: Duration = Duration::from_secs(3_600);

/// Keys that a limiter stores: at some 60 bytes each, about 6 MB. To evict a key early, an attacker needs half as many
/// other keys, and keys are authenticated callers or existing holders.
pub const REMEMBERED_KEYS: usize = 100_000;

/// Callers whose distinct values are stored: up to [`DISTINCT_PER_CALLER`] values of 8 bytes each.
pub const REMEMBERED_CALLERS: usize = 4_096;

/// A limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls; try again in {} s", retry_after_seconds(.retry_after))]
pub struct Limited {
    /// Time until one more call would pass, if there is none in between.
    pub retry_after: Duration,
}

fn retry_after_seconds(wait: &Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        Problem::new(Code::RateLimited, limited.to_string()).with_retry_after(retry_after_seconds(&limited.retry_after))
    }
}

/// Nanoseconds per minute, the common unit of the bucket arithmetic.
const MINUTE_NANOS: u128 = 60_000_000_000;

/// Token buckets by key. Calls are cheap and allowed from any thread.
#[derive(Debug)]
pub struct RateLimiter<K> {
    rate: Rate,
    buckets: Mutex<Generations<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Calls left, in parts of [`MINUTE_NANOS`].
    level: u128,
    at: Duration,
}

impl<K: Eq + Hash + Clone> RateLimiter<K> {
    /// A limiter that stores at most `keys` keys ([`REMEMBERED_KEYS`] is a good default).
    #[must_use]
    pub fn new(rate: Rate, keys: usize) -> Self {
        Self {
            rate,
            buckets: Mutex::new(Generations::with_capacity(keys)),
        }
    }

    /// Counts one call of `key` at `now` (monotonic; a time before the last one counts as the last one).
    ///
    /// # Errors
    /// [`Limited`] when the bucket is empty; the refused call is not counted.
    pub fn admit(&self, key: &K, now: Duration) -> Result<(), Limited> {
        let full = u128::from(self.rate.burst) * MINUTE_NANOS;
        let mut buckets = self.buckets.lock();
        let bucket = buckets.touch(key, || Bucket { level: full, at: now });
        let elapsed = now.saturating_sub(bucket.at).as_nanos();
        let refill = elapsed.saturating_mul(u128::from(self.rate.per_minute));
        bucket.level = bucket.level.saturating_add(refill).min(full);
        bucket.at = bucket.at.max(now);
        if bucket.level >= MINUTE_NANOS {
            bucket.level -= MINUTE_NANOS;
            return Ok(());
        }
        let missing = MINUTE_NANOS - bucket.level;
        let wait = missing.div_ceil(u128::from(self.rate.per_minute.max(1)));
        Err(Limited {
            retry_after: Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)),
        })
    }
}

/// Limits how many different values each caller uses within a window. Values are keyed 64-bit hashes, so that nothing
/// personal is stored. The window is fixed and starts with a caller's first value, so a caller may use twice the number
/// across its end.
#[derive(Debug)]
pub struct DistinctLimiter<K> {
    most: u32,
    window: Duration,
    callers: Mutex<Generations<K, Seen>>,
}

#[derive(Debug)]
struct Seen {
    since: Duration,
    values: HashSet<u64>,
}

impl<K: Eq + Hash + Clone> DistinctLimiter<K> {
    /// At most `most` different values per caller and `window`; stores `callers` callers.
    #[must_use]
    pub fn new(most: u32, window: Duration, callers: usize) -> Self {
        Self {
            most,
            window,
            callers: Mutex::new(Generations::with_capacity(callers)),
        }
    }

    /// Records that `caller` used `value`; a value that was used in this window before is free.
    ///
    /// # Errors
    /// [`Limited`] until the window ends, if one more new value would exceed the limit.
    pub fn admit(&self, caller: &K, value: u64, now: Duration) -> Result<(), Limited> {
        let mut callers = self.callers.lock();
        let seen = callers.touch(caller, || Seen {
            since: now,
            values: HashSet::new(),
        });
        let age = now.saturating_sub(seen.since);
        if age >= self.window {
            seen.since = now;
            seen.values = HashSet::new();
        } else if seen.values.contains(&value) {
            return Ok(());
        } else if seen.values.len() >= self.most as usize {
            return Err(Limited {
                retry_after: self.window.saturating_sub(age),
            });
        }
        seen.values.insert(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_allows_its_burst_then_its_rate_and_returns_the_time_to_wait() {
        let limiter = RateLimiter::new(
            Rate {
                burst: 3,
                per_minute: 60,
            },
            10,
        );
        for _ in 0..3 {
            limiter.admit(&"kiosk", SECOND).unwrap();
        }
        let limited = limiter.admit(&"kiosk", SECOND).unwrap_err();
        assert_eq!(limited.retry_after, SECOND);
        limiter.admit(&"other", SECOND).expect("keys are independent");
        limiter.admit(&"kiosk", SECOND + limited.retry_after).unwrap();
        limiter.admit(&"kiosk", SECOND + limited.retry_after).unwrap_err();
        for _ in 0..3 {
            limiter.admit(&"kiosk", SECOND * 1000).unwrap();
        }
        limiter
            .admit(&"kiosk", SECOND * 1000)
            .expect_err("the bucket never exceeds the burst");
    }

    #[test]
    fn waiting_for_the_returned_time_is_enough_and_an_earlier_time_refills_nothing() {
        let limiter = RateLimiter::new(
            Rate {
                burst: 1,
                per_minute: 7,
            },
            10,
        );
        let mut now = SECOND;
        limiter.admit(&1, now).unwrap();
        for _ in 0..50 {
            let limited = limiter.admit(&1, now).unwrap_err();
            limiter.admit(&1, Duration::ZERO).unwrap_err();
            let early = now + limited.retry_after - Duration::from_nanos(10);
            limiter.admit(&1, early).unwrap_err();
            now += limited.retry_after;
            limiter.admit(&1, now).unwrap();
        }
    }

    #[test]
    fn memory_stays_bounded_under_many_keys() {
        let limiter = RateLimiter::new(PER_CALLER, 100);
        for key in 0..10_000_u32 {
            limiter.admit(&key, SECOND).unwrap();
        }
        assert!(limiter.buckets.lock().len() <= 100);
    }

    #[test]
    fn a_repeated_value_is_free_and_a_new_one_over_the_limit_waits_for_the_window() {
        let limiter = DistinctLimiter::new(2, SECOND * 60, 10);
        limiter.admit(&"a", 1, SECOND).unwrap();
        limiter.admit(&"a", 2, SECOND).unwrap();
        for _ in 0..100 {
            limiter.admit(&"a", 1, SECOND * 2).unwrap();
        }
        let limited = limiter.admit(&"a", 3, SECOND * 11).unwrap_err();
        assert_eq!(limited.retry_after, SECOND * 50);
        limiter.admit(&"b", 3, SECOND * 11).unwrap();
        limiter.admit(&"a", 3, SECOND * 61).unwrap();
    }

    #[test]
    fn a_limited_call_is_a_rate_limited_problem_with_whole_seconds_to_wait() {
        let problem = Problem::from(Limited {
            retry_after: Duration::from_millis(1_001),
        });
        assert_eq!(problem.code(), Code::RateLimited);
        assert_eq!(problem.retry_after_seconds(), Some(2));
    }
}
