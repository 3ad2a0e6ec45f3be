//! Ends a stream of answers when the caller loses the right to it: gRPC with trailers, JSON lines with a last line
//! `{"problem":…}`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::access::AuthError;
use citycode_service_kit::problem::Problem;

/// The encoding of a stream's answers.
#[derive(Clone, Copy)]
enum Form {
    Grpc,
    JsonLines,
}

/// Makes a stream end with `error` once `end` completes. Answers that are not streams are returned unchanged.
pub(super) fn end_stream_when(
    end: impl Future<Output = ()> + Send + 'static,
    error: AuthError,
    response: Response,
) -> Response {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .map_or(&b""[..], http::HeaderValue::as_bytes);
    let form = if kind.starts_with(b"application/grpc") {
        Form::Grpc
    } else if kind.starts_with(b"application/x-ndjson") {
        Form::JsonLines
    } else {
        return response;
    };
    response.map(|inner| {
        Body::new(EndingBody {
            inner: Some(inner),
            end: Box::pin(end),
            error,
            form,
        })
    })
}

struct EndingBody {
    /// `None` once it has ended.
    inner: Option<Body>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    error: AuthError,
    form: Form,
}

impl EndingBody {
    fn last_frame(&self) -> Frame<Bytes> {
        let problem = Problem::from(self.error);
        match self.form {
            Form::Grpc => {
                let (parts, _) = tonic::Status::from(problem).into_http::<Body>().into_parts();
                let of_grpc = parts.headers.iter().filter(|(name, _)| *name != CONTENT_TYPE);
                let trailers: HeaderMap = of_grpc.map(|(name, value)| (name.clone(), value.clone())).collect();
                Frame::trailers(trailers)
            }
            // Every frame contains whole lines, so this is a line of its own.
            Form::JsonLines => {
                let mut line = serde_json::json!({ "problem": problem }).to_string();
                line.push('\n');
                Frame::data(line.into())
            }
        }
    }
}

impl HttpBody for EndingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.inner.is_none() {
            return Poll::Ready(None);
        }
        // Polled first, so that a stream that always has an answer ready ends too.
        if self.end.as_mut().poll(context).is_ready() {
            // Dropping the inner body ends the work on its answers.
            self.inner = None;
            return Poll::Ready(Some(Ok(self.last_frame())));
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.inner = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;
    use tokio::sync::oneshot;

    use super::*;

    fn stream(kind: &'static str, first: &'static str) -> Response {
        let endless = futures::stream::iter([Ok::<_, std::io::Error>(first)]).chain(futures::stream::pending());
        ([(CONTENT_TYPE, kind)], Body::from_stream(endless)).into_response()
    }

    #[tokio::test]
    async fn a_stream_of_lines_ends_with_a_problem() {
        let (end, ended) = oneshot::channel::<()>();
        let ended = async { drop(ended.await) };
        let response = end_stream_when(ended, AuthError::Revoked, stream("application/x-ndjson", "{}\n"));
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{}\n");
        end.send(()).unwrap();
        let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let last: serde_json::Value = serde_json::from_slice(&last).unwrap();
        assert_eq!(last["problem"]["code"], "not_allowed");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_grpc_stream_that_always_has_an_answer_ready_ends_with_its_status() {
        let busy = futures::stream::repeat_with(|| Ok::<_, std::io::Error>("x"));
        let busy = ([(CONTENT_TYPE, "application/grpc")], Body::from_stream(busy)).into_response();
        let response = end_stream_when(std::future::ready(()), AuthError::Revoked, busy);
        let mut body = response.into_body();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "16");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_a_stream_is_unchanged() {
        let whole = ([(CONTENT_TYPE, "application/json")], "{}").into_response();
        let response = end_stream_when(std::future::ready(()), AuthError::Revoked, whole);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
    }
}
