//! Ends a stream of answers when the right to it ends: gRPC by its trailers, lines of JSON by a last `{"problem":…}`.

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

/// How the answers of a stream are written.
#[derive(Clone, Copy)]
enum Form {
    Grpc,
    JsonLines,
}

/// Makes a stream end with `error` once `end` completes. Answers that are no streams are whole and stay as they are.
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
        Body::new(Ending {
            inner: Some(inner),
            end: Box::pin(end),
            error,
            form,
        })
    })
}

struct Ending {
    /// `None` once it has ended.
    inner: Option<Body>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    error: AuthError,
    form: Form,
}

impl Ending {
    fn last_frame(&self) -> Frame<Bytes> {
        let problem = Problem::from(self.error);
        match self.form {
            Form::Grpc => {
                let (parts, _) = tonic::Status::from(problem).into_http::<Body>().into_parts();
                let of_grpc = parts.headers.iter().filter(|(name, _)| *name != CONTENT_TYPE);
                let trailers: HeaderMap = of_grpc.map(|(name, value)| (name.clone(), value.clone())).collect();
                Frame::trailers(trailers)
            }
            // Every frame holds whole lines, so the last line stands on its own.
            Form::JsonLines => {
                let mut line = serde_json::json!({ "problem": problem }).to_string();
                line.push('\n');
                Frame::data(line.into())
            }
        }
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.inner.is_none() {
            return Poll::Ready(None);
        }
        // First, so that a stream that always has an answer ready ends too.
        if self.end.as_mut().poll(context).is_ready() {
            // Dropping what makes the answers ends the work on them.
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
    async fn a_grpc_stream_ends_with_its_status_also_where_it_always_has_an_answer() {
        let busy = futures::stream::repeat_with(|| Ok::<_, std::io::Error>("x"));
        let busy = ([(CONTENT_TYPE, "application/grpc")], Body::from_stream(busy)).into_response();
        let response = end_stream_when(std::future::ready(()), AuthError::Revoked, busy);
        let mut body = response.into_body();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "16");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_is_whole_stays_as_it_is() {
        let whole = ([(CONTENT_TYPE, "application/json")], "{}").into_response();
        let response = end_stream_when(std::future::ready(()), AuthError::Revoked, whole);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
    }
}
