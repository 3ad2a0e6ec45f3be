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
    servers_word,
};
pub use stream::{ClusterInfo, Peer, StreamInfo, StreamState, make_stream, stream_info, update_stream};
pub(crate) use stream::{info_once_made, metadata};

use crate::Asks;

/// How long a question may take: an election takes 4 to 9 s.
pub const API_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one attempt of a question waits that may be asked again: a machine that died takes questions with it
/// until its neighbours notice, and the next leader answers the repeat.
pub const ATTEMPT: Duration = Duration::from_secs(3);
/// Between two questions for what is not there yet: a leader, or a stream that was just made.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Asks, and gives the answer's bytes as they came; waits up to [`API_TIMEOUT`].
///
/// # Errors
/// What came instead of an answer.
pub async fn request(
    client: &Client,
    subject: String,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Result<Message, ApiError> {
    request_within(API_TIMEOUT, client, subject, headers, payload).await
}

/// As [`request`], and waits as long as the caller says.
///
/// # Errors
/// What came instead of an answer.
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
    // Around the whole: the client's own limit begins only once its queue took the request.
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

/// Asks until there is an answer, or an error that is not worth asking `again`, or [`API_TIMEOUT`] is over: then the
/// last error.
async fn ask_again<T, F>(again: fn(&ApiError) -> bool, ask: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut last = ApiError::TimedOut;
    let asking = async {
        loop {
            match ask().await {
                Err(error) if again(&error) => last = error,
                answer => return answer,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let answer = tokio::time::timeout(API_TIMEOUT, asking).await;
    answer.unwrap_or(Err(last))
}

/// A question that changes nothing: asked again where no answer comes, or from a server that knows of no leader.
async fn ask_until_answered<T>(
    client: &Client,
    subject: String,
    payload: Bytes,
    read: fn(Message) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let again = |error: &ApiError| *error == ApiError::TimedOut || error.awaits_leader();
    let (subject, payload) = (&subject, &payload);
    ask_again(again, || async move {
        let answer = request_within(ATTEMPT, client, subject.clone(), None, payload.clone()).await;
        read(answer?)
    })
    .await
}

/// Asks the API, `$JS.API.<verb>` or as the connection has it; asks again where the server knows of no leader, and so did
/// nothing.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn ask<T: DeserializeOwned>(client: &impl Asks, verb: &str, body: &Value) -> Result<T, ApiError> {
    let payload = match body {
        Value::Null => Bytes::new(),
        body => body.to_string().into(),
    };
    let subject = format!("{}.{verb}", client.api());
    let (nats, subject, payload) = (client.nats(), &subject, &payload);
    ask_again(ApiError::awaits_leader, || async move {
        let answer = request(nats, subject.clone(), None, payload.clone()).await;
        parse(&answer?.payload)
    })
    .await
}
