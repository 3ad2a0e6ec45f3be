//! Counts the calls of a server on their connections, and ends their request bodies at shutdown.
//!
//! A call is in progress while this process has to do something for its client, not while it waits for the client.
//! Shortly after the shutdown signal, request bodies that have not ended fail: a call whose request is incomplete is
//! refused, and a stream of scans or rows is answered up to what has arrived and then ends. A health watch, which never
//! ends by itself, is ended too.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tower::{Layer, Service};

use super::call::{CallHandle, InProgress};
use super::is_grpc;
use crate::problem::{Code, Problem};
use crate::shutdown::Signal;

/// The only method whose answer never ends by itself: standard gRPC health.
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const STOPPING: &str = "this service is stopping, and the request was incomplete";

/// Wraps a service in [`CountedCalls`]. `cut` is the signal at which incomplete request bodies fail.
#[derive(Debug, Clone)]
pub(super) struct CountCalls {
    pub(super) cut: Arc<Signal>,
}

/// Counts each call on its connection.
#[derive(Debug, Clone)]
pub(super) struct CountedCalls<S> {
    inner: S,
    cut: Arc<Signal>,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request's body, which fails at the signal.
struct RequestBody {
    inner: Body,
    cut: Arc<Signal>,
    waiting: Option<Waiting>,
    /// Shared with the code that answers the request.
    was_cut: Arc<AtomicBool>,
}

/// An answer's body; the call ends with it.
struct ResponseBody {
    inner: Body,
    call: Option<InProgress>,
    /// The signal at which an answer without an end of its own ends.
    ends: Option<Waiting>,
}

impl<S> Layer<S> for CountCalls {
    type Service = CountedCalls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountedCalls {
            inner,
            cut: Arc::clone(&self.cut),
        }
    }
}

impl<S> Service<Request> for CountedCalls<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(CallHandle(call)) = request.extensions().get() else {
            return Box::pin(self.inner.call(request));
        };
        let call = InProgress::begin(&call.connection);
        let grpc = is_grpc(request.headers());
        let ends = (request.uri().path() == WATCH).then(|| waiting(&self.cut));
        let was_cut = Arc::new(AtomicBool::new(false));
        let (cut, flag) = (Arc::clone(&self.cut), Arc::clone(&was_cut));
        let answering = self.inner.call(request.map(|body| cuttable_body(body, cut, flag)));
        Box::pin(async move {
            let answer = answering.await?;
            // A handler's error about a partial request would blame the client. gRPC passes our status on unchanged.
            let refused = was_cut.load(Ordering::SeqCst) && !grpc && !answer.status().is_success();
            let answer = if refused { stopping().into_response() } else { answer };
            Ok(answer.map(|body| {
                Body::new(ResponseBody {
                    inner: body,
                    call: Some(call),
                    ends,
                })
            }))
        })
    }
}

fn cuttable_body(inner: Body, cut: Arc<Signal>, was_cut: Arc<AtomicBool>) -> Body {
    if inner.is_end_stream() {
        return inner;
    }
    Body::new(RequestBody {
        inner,
        cut,
        waiting: None,
        was_cut,
    })
}

fn waiting(signal: &Arc<Signal>) -> Waiting {
    Box::pin(Signal::clone(signal).wait())
}

fn stopping() -> Problem {
    Problem::new(Code::Unavailable, STOPPING).with_retry_after(1)
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        // Data that has arrived takes precedence over the signal.
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        if polled.is_ready() {
            return polled;
        }
        let cut = &this.cut;
        let waiting = this.waiting.get_or_insert_with(|| waiting(cut));
        if waiting.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.was_cut.store(true, Ordering::SeqCst);
        this.inner = Body::empty();
        Poll::Ready(Some(Err(axum::Error::new(Status::from(stopping())))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl ResponseBody {
    fn set_working(&mut self, working: bool) {
        if let Some(call) = &mut self.call {
            call.set_working(working);
        }
    }

    /// Whether this answer never ends by itself and the signal was triggered.
    fn ends_now(&mut self, context: &mut Context<'_>) -> bool {
        let ends = self.ends.as_mut();
        let now = ends.is_some_and(|ends| ends.as_mut().poll(context).is_ready());
        if now {
            self.ends = None;
        }
        now
    }
}

/// The trailers of a gRPC answer that the shutdown ends.
fn unavailable() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // The text is a valid header value, so this cannot fail.
    let _ = Status::unavailable("this service is stopping").add_header(&mut trailers);
    trailers
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        match &polled {
            // The client has to read now, until it polls for more.
            Poll::Ready(Some(_)) => this.set_working(false),
            Poll::Ready(None) => this.call = None,
            Poll::Pending if this.ends_now(context) => {
                this.call = None;
                this.inner = Body::empty();
                return Poll::Ready(Some(Ok(Frame::trailers(unavailable()))));
            }
            Poll::Pending => this.set_working(true),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
