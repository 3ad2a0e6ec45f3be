//! Reading and erasing stored messages.

use async_nats::header::{
    HeaderName, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_SEQUENCE, NATS_SUBJECT, NATS_TIME_STAMP,
};
use async_nats::{Client, Message, StatusCode};
use bytes::Bytes;
use data_encoding::BASE64;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{API_TIMEOUT, ApiError, ask, ask_until_answered, code, parse};
use crate::ApiClient;

/// A stored message.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its subject.
    pub subject: String,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Its payload.
    pub payload: Bytes,
    /// The server's time at which it was stored (RFC 3339), if the answer contains it.
    pub time: Option<String>,
    /// The last sequence of its own subject that its writer expected and the server verified; `None` if there was no
    /// expectation, or one for another subject.
    pub expected: Option<u64>,
}

#[derive(Deserialize)]
struct MessageGet {
    message: MessageBody,
}

#[derive(Deserialize)]
struct MessageBody {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
    time: Option<String>,
}

/// Reads one message from the leader: `body` is `seq`, `last_by_subj`, or `seq` with `next_by_subj`.
///
/// # Errors
/// [`ApiError`].
pub async fn get_from_leader(
    client: &impl ApiClient,
    stream: &str,
    body: &Value,
) -> Result<Option<StoredMessage>, ApiError> {
    let subject = format!("{}.STREAM.MSG.GET.{stream}", client.api());
    let payload = Bytes::from(body.to_string());
    match ask_until_answered(client.nats(), subject, payload, |answer| {
        parse::<MessageGet>(&answer.payload)
    })
    .await
    {
        Ok(MessageGet { message }) => {
            let payload = BASE64
                .decode(message.data.as_bytes())
                .map_err(|error| ApiError::Malformed(error.to_string()))?;
            let headers = BASE64.decode(message.hdrs.as_bytes());
            let headers = headers.map_err(|error| ApiError::Malformed(error.to_string()))?;
            Ok(Some(StoredMessage {
                expected: expected_in(&String::from_utf8_lossy(&headers)),
                subject: message.subject,
                sequence: message.seq,
                payload: payload.into(),
                time: message.time,
            }))
        }
        Err(error) if error.has_code(code::NO_MESSAGE_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads one message from any server, which may lag: `None` does not prove that the message does not exist.
///
/// # Errors
/// [`ApiError`].
pub async fn get_from_any(
    client: &impl ApiClient,
    stream: &str,
    body: &Value,
) -> Result<Option<StoredMessage>, ApiError> {
    let subject = format!("{}.DIRECT.GET.{stream}", client.api());
    ask_until_answered(client.nats(), subject, body.to_string().into(), direct).await
}

/// Reads the last message of a subject from any server, as [`get_from_any`]. The subject is part of the request's
/// subject, so that a user's permissions can restrict it.
///
/// # Errors
/// [`ApiError`].
pub async fn get_last_from_any(
    client: &impl ApiClient,
    stream: &str,
    subject: &str,
) -> Result<Option<StoredMessage>, ApiError> {
    let request = format!("{}.DIRECT.GET.{stream}.{subject}", client.api());
    ask_until_answered(client.nats(), request, Bytes::new(), direct).await
}

/// A header that the server adds to a stored message. It is the last header with this name; earlier ones are from the
/// message's writer.
#[must_use]
pub fn server_header(message: &Message, name: HeaderName) -> Option<&str> {
    let value = message.headers.as_ref()?.get_all(name).last();
    value.map(|value| value.as_str())
}

/// Makes the server check an expectation against another subject than the message's own
/// ([ADR-8](https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md)).
const EXPECTED_OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// The expected last sequence of its own subject with which a message was stored. Header names are compared like in the
/// server, with case.
#[must_use]
pub fn expected_of(message: &Message) -> Option<u64> {
    let headers = message.headers.as_ref()?;
    if headers.get(EXPECTED_OF_SUBJECT).is_some() {
        return None;
    }
    headers.get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE)?.as_str().parse().ok()
}

/// As [`expected_of`], from raw headers.
fn expected_in(headers: &str) -> Option<u64> {
    let lines = || headers.lines().filter_map(|line| line.split_once(':'));
    if lines().any(|(name, _)| name.eq_ignore_ascii_case(EXPECTED_OF_SUBJECT)) {
        return None;
    }
    let expected: &str = NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref();
    let (_, value) = lines().find(|(name, _)| *name == expected)?;
    value.trim().parse().ok()
}

/// Reads several messages in order from any server, which may lag: `body` is `batch` with `seq` (and `next_by_subj`),
/// or with `start_time`. Fewer messages than requested do not prove that there are no more.
///
/// # Errors
/// [`ApiError`].
pub async fn get_batch(client: &impl ApiClient, stream: &str, body: &Value) -> Result<Vec<StoredMessage>, ApiError> {
    let subject = format!("{}.DIRECT.GET.{stream}", client.api());
    let answers = batch_answers(client.nats(), subject, body.to_string());
    tokio::time::timeout(API_TIMEOUT, answers)
        .await
        .map_err(|_| ApiError::TimedOut)?
}

async fn batch_answers(client: &Client, subject: String, body: String) -> Result<Vec<StoredMessage>, ApiError> {
    let failed = |error: &dyn std::fmt::Display| ApiError::Connection(error.to_string());
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    let sent = client.publish_with_reply(subject, inbox, body.into()).await;
    sent.map_err(|error| failed(&error))?;
    let mut messages = Vec::new();
    while let Some(answer) = answers.next().await {
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(ApiError::NoResponders);
        }
        match direct(answer)? {
            Some(message) => messages.push(message),
            None => return Ok(messages),
        }
    }
    Err(ApiError::Connection("it closed before the end of the answer".into()))
}

#[derive(Deserialize)]
struct Deleted {
    success: bool,
}

/// Deletes a message; every server with a replica overwrites its bytes. Succeeds if the message no longer exists.
///
/// # Errors
/// [`ApiError`]; the outcome may then be unknown, and a repeated call resolves it.
pub async fn erase(client: &impl ApiClient, stream: &str, sequence: u64) -> Result<(), ApiError> {
    let body = json!({ "seq": sequence, "no_erase": false });
    let deleted: Result<Deleted, ApiError> = ask(client, &format!("STREAM.MSG.DELETE.{stream}"), &body).await;
    match deleted {
        Ok(Deleted { success: true }) => Ok(()),
        Ok(_) => Err(ApiError::Malformed(
            "the message was neither deleted nor refused".into(),
        )),
        // Another call deleted it, or the answer to an earlier attempt was lost, if the message no longer exists.
        Err(error) if error.has_code(code::MESSAGE_DELETE_FAILED) || error.has_code(code::SEQUENCE_NOT_FOUND) => {
            match get_from_leader(client, stream, &json!({ "seq": sequence })).await? {
                Some(_) => Err(error),
                None => Ok(()),
            }
        }
        Err(error) => Err(error),
    }
}

/// The message in the answer to a direct get; `None` if its status means that there is no (further) message.
///
/// # Errors
/// Another status, or a message without the server's headers.
pub fn direct(answer: Message) -> Result<Option<StoredMessage>, ApiError> {
    match answer.status {
        None => {}
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        // The end of a batch.
        Some(status) if status.as_u16() == 204 => return Ok(None),
        Some(status) => {
            return Err(ApiError::Refused {
                code: u64::from(status.as_u16()),
                description: answer.description.unwrap_or_default(),
            });
        }
    }
    let header = |name: HeaderName| {
        server_header(&answer, name.clone())
            .map(str::to_owned)
            .ok_or_else(|| ApiError::Malformed(format!("a stored message without {name}")))
    };
    let sequence = header(NATS_SEQUENCE)?
        .parse()
        .map_err(|_| ApiError::Malformed("a stored message's sequence is not a number".into()))?;
    Ok(Some(StoredMessage {
        expected: expected_of(&answer),
        subject: header(NATS_SUBJECT)?,
        sequence,
        time: header(NATS_TIME_STAMP).ok(),
        payload: answer.payload,
    }))
}
