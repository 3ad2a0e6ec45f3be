//! Waits for a condition instead of a fixed time.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// First pause between two checks; it doubles up to [`LONGEST_PAUSE`], so that fast changes are detected quickly.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Checks repeatedly until the condition holds. `what` is formatted only on failure.
///
/// # Panics
/// With `what`, once the deadline has passed, even if a check takes longer.
pub async fn eventually<F, Fut>(what: &(impl Display + ?Sized), deadline: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    eventually_some(what, deadline, || {
        let check = condition();
        async move { check.await.then_some(()) }
    })
    .await;
}

/// Checks repeatedly until there is a value, and returns it.
///
/// # Panics
/// As [`eventually`].
#[expect(
    clippy::disallowed_methods,
    reason = "a test waits in real time; no decision depends on it"
)]
pub async fn eventually_some<F, Fut, T>(what: &(impl Display + ?Sized), deadline: Duration, mut check: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let until = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        match timeout_at(until, check()).await {
            Ok(Some(value)) => return value,
            Ok(None) if Instant::now() + pause < until => sleep(pause).await,
            _ => panic!("this did not happen within {deadline:?}: {what}"),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn it_checks_until_the_condition_holds() {
        let checks = Cell::new(0);
        let found = eventually_some("five checks", Duration::from_secs(30), || {
            checks.set(checks.get() + 1);
            let count = checks.get();
            async move { (count == 5).then_some(count) }
        })
        .await;
        assert_eq!(found, 5);
    }

    #[tokio::test]
    #[should_panic(expected = "this did not happen within 5ms: never")]
    async fn it_panics_with_the_expected_condition() {
        eventually("never", Duration::from_millis(5), || async { false }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "this did not happen within 5ms: a check that hangs")]
    async fn a_check_that_hangs_is_cancelled() {
        eventually("a check that hangs", Duration::from_millis(5), std::future::pending).await;
    }
}
