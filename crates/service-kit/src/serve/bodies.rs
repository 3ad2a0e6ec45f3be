//! The bodies of requests and answers, which are counted and bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use bytes::Buf;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::call::Call;
use super::limits::PIECE_BYTES;

/// A request's body. It fails if it takes too long, or if bodies hold too much memory.
pub(super) struct RequestBody {
    inner: Incoming,
    call: Arc<Call>,
}

/// The body was ended early; the answer gives the reason.
#[derive(Debug, thiserror::Error)]
#[error("the request body was not read to its end")]
pub(super) struct BrokenOff;

impl RequestBody {
    pub(super) fn new(inner: Incoming, call: Arc<Call>) -> Self {
        if inner.is_end_stream() {
            call.request_ended();
        }
        Self { inner, call }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let broken_off = || Poll::Ready(Some(Err(axum::Error::new(BrokenOff))));
        let frame = match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Pending => {
                return match this.call.wait_for_request(context.waker()) {
                    Some(_) => broken_off(),
                    None => Poll::Pending,
                };
            }
            Poll::Ready(frame) => frame,
        };
        match frame {
            Some(Ok(frame)) => {
                if this.call.counts_bytes() {
                    this.call.request_goes_on();
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    if let Err(refusal) = this.call.hold(bytes) {
                        this.call.refuse(refusal);
                        return broken_off();
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(axum::Error::new(error)))),
            None => {
                this.call.request_ended();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.call.request_ended();
    }
}

/// A piece of an answer. It keeps the call alive until the connection has passed it to the operating system.
pub(super) struct Piece {
    bytes: Bytes,
    _call: Arc<Call>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

/// An answer's body. It is passed on in small pieces, so that unread bytes stay here, where they are counted.
pub(super) struct AnswerBody {
    inner: Body,
    /// The part of the inner body's last frame that was not passed on yet.
    rest: Bytes,
    call: Arc<Call>,
}

impl AnswerBody {
    pub(super) fn new(inner: Body, call: Arc<Call>) -> Self {
        call.answered();
        Self {
            inner,
            rest: Bytes::new(),
            call,
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            this.call.is_read();
            match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame.map_data(|_| unreachable_piece(&this.call))))),
                },
            }
        }
        this.call.answered();
        let bytes = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        let call = Arc::clone(&this.call);
        Poll::Ready(Some(Ok(Frame::data(Piece { bytes, _call: call }))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Trailers contain no data; this value only satisfies the frame's type.
fn unreachable_piece(call: &Arc<Call>) -> Piece {
    Piece {
        bytes: Bytes::new(),
        _call: Arc::clone(call),
    }
}
