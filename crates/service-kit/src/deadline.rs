//! One deadline for a call, from the API to the append: every service that works on the call stops when the caller no
//! longer waits, and reports whether the change may have been made.
//!
//! Between services it is passed as gRPC's `grpc-timeout`. Within a process it is task-local, like the trace: code that
//! begins a change sets a flag ([`mark_begun`], or the flag of [`Deadline::begun`]), and the code that answers the call
//! reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use crate::problem::{Code, Outcome, Problem};

/// The timeout of a call whose caller sets none.
pub const DEFAULT: Duration = Duration::from_secs(15);
/// Longest timeout that a caller may set.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// A service answers this much before its caller stops waiting, so that the answer arrives: no longer than a tenth.
const MARGIN: Duration = Duration::from_millis(300);
/// The header with the remaining time (gRPC over HTTP/2, "Timeout").
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The time until which the caller waits, and whether a change was begun.
#[derive(Debug, Clone)]
pub struct Deadline {
    at: Instant,
    begun: Arc<AtomicBool>,
}

/// The time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed {
    /// Whether a change was begun, so that it may have been made.
    pub begun: bool,
}

impl Deadline {
    fn after(time: Duration) -> Self {
        Self {
            at: now() + time,
            begun: Arc::default(),
        }
    }

    /// The remaining time.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(now())
    }

    /// The flag to set right before a change is begun.
    #[must_use]
    pub fn begun(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.begun)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the timer's own clock, used for waiting only, never for decisions or records"
)]
fn now() -> Instant {
    Instant::now()
}

/// The deadline of the current task's call.
#[must_use]
pub fn current() -> Option<Deadline> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Records that from here on the change of this call may have been made.
pub fn mark_begun() {
    // Outside of a call there is nothing to record.
    let _ = CURRENT.try_with(|deadline| deadline.begun.store(true, Ordering::Release));
}

/// Runs `work` for at most this time; it is dropped if it is unfinished then.
///
/// # Errors
/// [`Elapsed`].
pub async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let (done, begun) = run_with_deadline(time, work).await;
    done.ok_or(Elapsed { begun })
}

/// The result of `work`, or `None` if the time elapsed first; and whether it had begun a change.
async fn run_with_deadline<T>(time: Duration, work: impl Future<Output = T>) -> (Option<T>, bool) {
    let deadline = Deadline::after(time);
    let (at, begun) = (deadline.at, deadline.begun());
    let done = tokio::time::timeout_at(at, CURRENT.scope(deadline, work)).await;
    (done.ok(), begun.load(Ordering::Acquire))
}

/// Runs a call that changes something, within the time that its caller waits.
///
/// # Errors
/// The problem of `work`, with the outcome of the change; `unavailable` when the time has elapsed.
pub async fn change<T>(metadata: &MetadataMap, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    change_within(time_limit(metadata), work).await
}

/// As [`change`], with an explicit time.
///
/// # Errors
/// As [`change`].
pub async fn change_within<T>(time: Duration, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let (done, begun) = run_with_deadline(time, work).await;
    let Some(answered) = done else {
        return Err(Elapsed { begun }.into());
    };
    answered.map_err(|problem| {
        // A failure after the change was begun, reported by code that does not know about the change.
        let failed = matches!(problem.code(), Code::Unavailable | Code::Internal);
        if begun && failed && problem.outcome().is_none() {
            problem.with_outcome(Outcome::Unknown)
        } else {
            problem.of_change()
        }
    })
}

/// Runs a call that changes nothing, within the time that its caller waits.
///
/// # Errors
/// The problem of `work`; `unavailable` when the time has elapsed.
pub async fn query<T>(metadata: &MetadataMap, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    match within(time_limit(metadata), work).await {
        Ok(answered) => answered.map_err(Problem::of_query),
        Err(elapsed) => Err(Problem::from(elapsed).of_query()),
    }
}

impl From<Elapsed> for Problem {
    fn from(elapsed: Elapsed) -> Self {
        if elapsed.begun {
            return Self::change_unknown();
        }
        Self::new(
            Code::Unavailable,
            "the time for this call ran out before anything was done",
        )
        .with_outcome(Outcome::NotDone)
    }
}

/// How long this call may take in this service.
fn time_limit(metadata: &MetadataMap) -> Duration {
    let time = requested_timeout(metadata.as_ref()).unwrap_or(DEFAULT).min(MAX_TIMEOUT);
    time - MARGIN.min(time / 10)
}

/// The timeout in the header of a call; `None` if it is missing or malformed.
pub(crate) fn requested_timeout(headers: &http::HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)
}

/// Parses at most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The rest of the current deadline as the value of [`GRPC_TIMEOUT`] for the next service; `None` without a deadline.
#[must_use]
pub fn grpc_timeout() -> Option<String> {
    let left = current()?.remaining();
    // This service waits a little longer than the next one, so that the next one's answer arrives in time.
    let left = left - MARGIN.min(left / 10);
    Some(format!("{}m", left.as_millis().clamp(1, 99_999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(value: &'static str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert(GRPC_TIMEOUT, value.parse().unwrap());
        metadata
    }

    #[test]
    fn a_grpc_timeout_is_read_in_every_unit_and_bounded() {
        for (text, expected) in [
            ("10S", Duration::from_millis(9_700)),
            ("1000m", Duration::from_millis(900)),
            ("1000000u", Duration::from_millis(900)),
            ("10000000n", Duration::from_millis(9)),
            ("99999999H", MAX_TIMEOUT - MARGIN),
            ("2M", MAX_TIMEOUT - MARGIN),
            ("0S", Duration::ZERO),
        ] {
            assert_eq!(time_limit(&metadata(text)), expected, "{text}");
        }
        for none in ["", "S", "10", "123456789S", "-1S", "1.5S", "1s", "十S"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_elapsed_deadline_reports_whether_the_change_was_begun() {
        let waits = || std::future::pending::<Result<(), Problem>>();
        let time = metadata("5S");
        let before = change(&time, waits()).await.unwrap_err();
        assert_eq!(
            (before.code(), before.outcome()),
            (Code::Unavailable, Some(Outcome::NotDone))
        );
        let after = change(&time, async {
            mark_begun();
            waits().await
        });
        assert_eq!(after.await.unwrap_err(), Problem::change_unknown());
        let failed_after = change(&time, async {
            mark_begun();
            Err::<(), _>(Problem::new(Code::Unavailable, "the vault is away"))
        });
        assert!(failed_after.await.unwrap_err().is_outcome_unknown());
        let refused_after = change(&time, async {
            mark_begun();
            Err::<(), _>(Problem::new(Code::OnHold, "held"))
        });
        assert_eq!(refused_after.await.unwrap_err().outcome(), Some(Outcome::NotDone));
        let asked = query(&time, waits()).await.unwrap_err();
        assert_eq!((asked.code(), asked.outcome()), (Code::Unavailable, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_remaining_time_is_passed_on() {
        assert_eq!(grpc_timeout(), None, "outside of a call nothing is passed on");
        let inside = within(Duration::from_secs(15), async {
            tokio::time::advance(Duration::from_secs(5)).await;
            grpc_timeout()
        });
        assert_eq!(inside.await.unwrap().unwrap(), "9700m");
    }
}
