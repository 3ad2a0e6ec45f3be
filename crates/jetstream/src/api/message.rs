//! Stored messages: reading them, and erasing one.

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
use crate::Asks;

/// A message as it is stored.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// On which subject.
    pub subject: String,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Its bytes.
    pub payload: Bytes,
    /// When the server stored it (RFC 3339), where it said so.
    pub time: Option<String>,
    /// The sequence that its writer expected to be the last of its own subject, if it expected one: then the server made
    /// sure. None where it named another subject, of which the server made sure instead.
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

/// One message from the leader: `body` is `seq`, `last_by_subj`, or `seq` with `next_by_subj`.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn get_from_leader(
    client: &impl Asks,
    stream: &str,
    body: &Value,
) -> Result<Option<StoredMessage>, ApiError> {
    let subject = format!("{}.STREAM.MSG.GET.{stream}", client.api());
    let question = Bytes::from(body.to_string());
    match ask_until_answered(client.nats(), subject, question, |answer| {
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

/// One message from whichever server is near, which may lag: nothing is no proof that there is nothing.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn get_from_any(client: &impl Asks, stream: &str, body: &Value) -> Result<Option<StoredMessage>, ApiError> {
    let subject = format!("{}.DIRECT.GET.{stream}", client.api());
    ask_until_answered(client.nats(), subject, body.to_string().into(), direct).await
}

/// The last message of a subject from whichever server is near, as [`get_from_any`]. The subject stands in the
/// question's own, so that a user's permissions can say which it may ask for.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn get_last_from_any(
    client: &impl Asks,
    stream: &str,
    subject: &str,
) -> Result<Option<StoredMessage>, ApiError> {
    let question = format!("{}.DIRECT.GET.{stream}.{subject}", client.api());
    ask_until_answered(client.nats(), question, Bytes::new(), direct).await
}

/// What the server says of a stored message in a header of its own. The last of the name: what stands before it came
/// from whoever wrote the message.
#[must_use]
pub fn servers_word(message: &Message, name: HeaderName) -> Option<&str> {
    let said = message.headers.as_ref()?.get_all(name).last();
    said.map(|said| said.as_str())
}

/// Has the server compare an expectation with the end of another subject than the message's own
/// ([ADR-8](https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md)).
const EXPECTED_OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// The expectation of its own subject's end that a message was stored with, from its headers. Names of headers are
/// compared as the server does, case and all.
#[must_use]
pub fn expected_of(message: &Message) -> Option<u64> {
    let headers = message.headers.as_ref()?;
    if headers.get(EXPECTED_OF_SUBJECT).is_some() {
        return None;
    }
    headers.get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE)?.as_str().parse().ok()
}

/// As [`expected_of`], from headers as they stand on the wire.
fn expected_in(headers: &str) -> Option<u64> {
    let lines = || headers.lines().filter_map(|line| line.split_once(':'));
    if lines().any(|(name, _)| name.eq_ignore_ascii_case(EXPECTED_OF_SUBJECT)) {
        return None;
    }
    let expected: &str = NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref();
    let (_, said) = lines().find(|(name, _)| *name == expected)?;
    said.trim().parse().ok()
}

/// Several messages in order, from whichever server is near, which may lag: `body` is `batch` with `seq` (and
/// `next_by_subj`), or with `start_time`. Fewer than asked for, or none, are no proof that there are no more.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn get_batch(client: &impl Asks, stream: &str, body: &Value) -> Result<Vec<StoredMessage>, ApiError> {
    let subject = format!("{}.DIRECT.GET.{stream}", client.api());
    let asked = batch_answers(client.nats(), subject, body.to_string());
    tokio::time::timeout(API_TIMEOUT, asked)
        .await
        .map_err(|_| ApiError::TimedOut)?
}

async fn batch_answers(client: &Client, subject: String, body: String) -> Result<Vec<StoredMessage>, ApiError> {
    let failed = |error: &dyn std::fmt::Display| ApiError::Connection(error.to_string());
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    let asked = client.publish_with_reply(subject, inbox, body.into()).await;
    asked.map_err(|error| failed(&error))?;
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
    Err(ApiError::Connection("it closed amid an answer".into()))
}

#[derive(Deserialize)]
struct Deleted {
    success: bool,
}

/// Deletes a message; the server overwrites its bytes on every disk that has it. Done where it is gone already.
///
/// # Errors
/// The refusal, or what came instead of an answer; doing it again finds out.
pub async fn erase(client: &impl Asks, stream: &str, sequence: u64) -> Result<(), ApiError> {
    let body = json!({ "seq": sequence, "no_erase": false });
    let deleted: Result<Deleted, ApiError> = ask(client, &format!("STREAM.MSG.DELETE.{stream}"), &body).await;
    match deleted {
        Ok(Deleted { success: true }) => Ok(()),
        Ok(_) => Err(ApiError::Malformed("neither deleted nor refused".into())),
        // Somebody was faster, or an answer was lost: then it is gone.
        Err(error) if error.has_code(code::MESSAGE_DELETE_FAILED) || error.has_code(code::SEQUENCE_NOT_FOUND) => {
            match get_from_leader(client, stream, &json!({ "seq": sequence })).await? {
                Some(_) => Err(error),
                None => Ok(()),
            }
        }
        Err(error) => Err(error),
    }
}

/// A message of a direct answer; `None` where its status says that there is none (or no further one).
///
/// # Errors
/// A status that is neither; a message without its headers.
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
        servers_word(&answer, name.clone())
            .map(str::to_owned)
            .ok_or_else(|| ApiError::Malformed(format!("a stored message without {name}")))
    };
    let sequence = header(NATS_SEQUENCE)?
        .parse()
        .map_err(|_| ApiError::Malformed("a stored message whose sequence is no number".into()))?;
    Ok(Some(StoredMessage {
        expected: expected_of(&answer),
        subject: header(NATS_SUBJECT)?,
        sequence,
        time: header(NATS_TIME_STAMP).ok(),
        payload: answer.payload,
    }))
}
