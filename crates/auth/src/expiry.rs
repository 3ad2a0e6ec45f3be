//! Ends streams when the token that opened them expires: a token is verified once, but a stream may last for days.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use tonic::Status;

use super::caller::Caller;
use citycode_service_kit::clock::{Clock, UnixSeconds};
use citycode_service_kit::problem::{Outcome, Problem};

/// How often the wall clock is read. It may be set while a stream is open, so a single timer is not enough.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The problem that ends such a stream. Answered requests were executed, unanswered ones were not.
#[must_use]
pub fn token_expired() -> Problem {
    Problem::unauthenticated("the access token expired while the stream was open; the answers so far are valid")
        .with_fix("Open a new stream with a fresh access token and send the unanswered requests.")
        .with_outcome(Outcome::NotDone)
}

/// Completes when the caller's token is no longer valid: at its `exp` plus the leeway that every call has.
pub async fn expired(caller: Arc<Caller>, clock: Arc<dyn Clock>) {
    let Some(until) = caller.valid_until else {
        return std::future::pending().await;
    };
    while clock.now() < until {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// A stream of requests that ends with [`token_expired`] when its caller's token does.
pub struct UntilExpired<S> {
    /// `None` after the end.
    inner: Option<S>,
    valid_until: Option<UnixSeconds>,
    clock: Arc<dyn Clock>,
    /// Wakes a stream on which nothing arrives.
    expired: BoxFuture<'static, ()>,
}

impl<S> UntilExpired<S> {
    /// The requests of `caller`, while its token is valid.
    #[must_use]
    pub fn new(inner: S, caller: &Arc<Caller>, clock: &Arc<dyn Clock>) -> Self {
        Self {
            inner: Some(inner),
            valid_until: caller.valid_until,
            clock: Arc::clone(clock),
            expired: Box::pin(expired(Arc::clone(caller), Arc::clone(clock))),
        }
    }
}

impl<T, S: Stream<Item = Result<T, Status>> + Unpin> Stream for UntilExpired<S> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let over = this.valid_until.is_some_and(|until| this.clock.now() >= until);
        if !over {
            let next = Pin::new(inner).poll_next(context);
            if let Poll::Ready(None) = next {
                this.inner = None;
            }
            // The timer is polled only while nothing arrives: each poll uses the task's budget (`tokio::task::coop`),
            // and a busy stream would have to yield after every 128 requests.
            if next.is_ready() || this.expired.as_mut().poll(context).is_pending() {
                return next;
            }
        }
        this.inner = None;
        Poll::Ready(Some(Err(token_expired().into())))
    }
}
