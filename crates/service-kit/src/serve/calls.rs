//! The calls of one server: counted on their connection, and at shutdown no longer fed.
//!
//! A call is in progress while this process owes its client something. What it waits for from the client it does not
//! owe: shortly after the signal a request's body that has not ended breaks off, so that a call whose request never
//! comes to its end is refused, and a stream of scans or rows is answered as far as it came and then ends. A health
//! watch, which has no end of its own, ends too.

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

/// The one method whose answer has no end: standard gRPC health.
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const STOPPING: &str = "this service is stopping, and the request had not come to its end";

/// Puts [`CountedCalls`] around a service. `cut` says from when on requests that have not ended break off.
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

/// A request's body, which breaks off at the signal.
struct RequestBody {
    inner: Body,
    cut: Arc<Signal>,
    waiting: Option<Waiting>,
    /// Told to whoever answers the request.
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
        let (cut, told) = (Arc::clone(&self.cut), Arc::clone(&was_cut));
        let answering = self.inner.call(request.map(|body| feed(body, cut, told)));
        Box::pin(async move {
            let answer = answering.await?;
            // What a handler makes of half a request would blame the client. gRPC passes our status on as it is.
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

fn feed(inner: Body, cut: Arc<Signal>, was_cut: Arc<AtomicBool>) -> Body {
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
        // What has arrived is taken first.
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

    /// Whether this answer has no end of its own and the signal was pulled.
    fn ends_now(&mut self, context: &mut Context<'_>) -> bool {
        let ends = self.ends.as_mut();
        let now = ends.is_some_and(|ends| ends.as_mut().poll(context).is_ready());
        if now {
            self.ends = None;
        }
        now
    }
}

/// The trailers of a gRPC answer that the stop of this service ends.
fn unavailable() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Its text is one that a header takes.
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
            // It is the client's turn, until this is asked for more.
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
