//! Waiting for a condition instead of for a time.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// First pause between two looks; it doubles up to [`LONGEST_PAUSE`], so that quick things are seen quickly.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Looks again and again until the condition holds. `what` is asked for its words only where it does not.
///
/// # Panics
/// With `what`, once the deadline has passed; also where one look takes longer.
pub async fn eventually<F, Fut>(what: &(impl Display + ?Sized), deadline: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    eventually_some(what, deadline, || {
        let look = condition();
        async move { look.await.then_some(()) }
    })
    .await;
}

/// Looks again and again until there is a value, and gives it.
///
/// # Panics
/// As [`eventually`].
#[expect(
    clippy::disallowed_methods,
    reason = "a test waits in real time; nothing is decided on it"
)]
pub async fn eventually_some<F, Fut, T>(what: &(impl Display + ?Sized), deadline: Duration, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let until = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        match timeout_at(until, look()).await {
            Ok(Some(value)) => return value,
            Ok(None) if Instant::now() + pause < until => sleep(pause).await,
            _ => panic!("within {deadline:?} it did not come to this: {what}"),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn it_looks_until_the_condition_holds() {
        let looks = Cell::new(0);
        let found = eventually_some("five looks", Duration::from_secs(30), || {
            looks.set(looks.get() + 1);
            let seen = looks.get();
            async move { (seen == 5).then_some(seen) }
        })
        .await;
        assert_eq!(found, 5);
    }

    #[tokio::test]
    #[should_panic(expected = "it did not come to this: never")]
    async fn it_says_what_did_not_come() {
        eventually("never", Duration::from_millis(5), || async { false }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "it did not come to this: a look that hangs")]
    async fn a_look_that_hangs_ends_too() {
        eventually("a look that hangs", Duration::from_millis(5), std::future::pending).await;
    }
}
