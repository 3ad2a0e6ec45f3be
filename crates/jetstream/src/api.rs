//! Requests to the JetStream API, over the client's plain requests.

mod error;
mod message;
mod stream;

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use error::{ApiError, code, parse};
pub use message::{
    StoredMessage, direct, erase, expected_of, get_batch, get_from_any, get_from_leader, get_last_from_any,
    server_header,
};
pub use stream::{ClusterInfo, Peer, StreamInfo, StreamState, create_stream, stream_info, update_stream};
pub(crate) use stream::{info_after_creation, metadata};

use crate::ApiClient;

/// The timeout of a request; an election takes 4 to 9 s.
pub const API_TIMEOUT: Duration = Duration::from_secs(15);

/// The timeout of one attempt of a request that may be repeated. Requests to a failed machine are lost until the other
/// servers detect the failure, and then the next leader answers the repeated request.
pub const ATTEMPT: Duration = Duration::from_secs(3);
/// Pause between two attempts while there is no leader, or while a new stream is not visible yet.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Sends a request and returns the answer unparsed; waits up to [`API_TIMEOUT`].
///
/// # Errors
/// [`ApiError`].
pub async fn request(
    client: &Client,
    subject: String,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Result<Message, ApiError> {
    request_within(API_TIMEOUT, client, subject, headers, payload).await
}

/// As [`request`], with a timeout.
///
/// # Errors
/// [`ApiError`].
pub async fn request_within(
    limit: Duration,
    client: &Client,
    subject: String,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Result<Message, ApiError> {
    let mut request = Request::new().payload(payload).timeout(None);
    if let Some(headers) = headers {
        request = request.headers(headers);
    }
    // The client's own timeout would start only once its queue accepted the request.
    let answered = tokio::time::timeout(limit, client.send_request(subject, request)).await;
    match answered {
        Err(_) => Err(ApiError::TimedOut),
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(match error.kind() {
            RequestErrorKind::NoResponders => ApiError::NoResponders,
            RequestErrorKind::TimedOut => ApiError::TimedOut,
            _ => ApiError::Connection(error.to_string()),
        }),
    }
}

/// Repeats a request until there is an answer or an error that is not `retryable`. After [`API_TIMEOUT`] returns the
/// last error.
async fn retry<T, F>(retryable: fn(&ApiError) -> bool, ask: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut last = ApiError::TimedOut;
    let asking = async {
        loop {
            match ask().await {
                Err(error) if retryable(&error) => last = error,
                answer => return answer,
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    let answer = tokio::time::timeout(API_TIMEOUT, asking).await;
    answer.unwrap_or(Err(last))
}

/// Sends a request that changes nothing, and repeats it if there is no answer or the server has no leader.
async fn ask_until_answered<T>(
    client: &Client,
    subject: String,
    payload: Bytes,
    read: fn(Message) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let retryable = |error: &ApiError| *error == ApiError::TimedOut || error.awaits_leader();
    let (subject, payload) = (&subject, &payload);
    retry(retryable, || async move {
        let answer = request_within(ATTEMPT, client, subject.clone(), None, payload.clone()).await;
        read(answer?)
    })
    .await
}

/// Sends a request to the API, `$JS.API.<verb>` or with the connection's prefix. Repeats it if the server has no leader
/// and therefore did nothing.
///
/// # Errors
/// [`ApiError`].
pub async fn ask<T: DeserializeOwned>(client: &impl ApiClient, verb: &str, body: &Value) -> Result<T, ApiError> {
    let payload = match body {
        Value::Null => Bytes::new(),
        body => body.to_string().into(),
    };
    let subject = format!("{}.{verb}", client.api());
    let (nats, subject, payload) = (client.nats(), &subject, &payload);
    retry(ApiError::awaits_leader, || async move {
        let answer = request(nats, subject.clone(), None, payload.clone()).await;
        parse(&answer?.payload)
    })
    .await
}
