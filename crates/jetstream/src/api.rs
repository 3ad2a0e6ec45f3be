//! Requests to the JetStream API, over the client's plain requests.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::{HeaderName, NATS_SEQUENCE, NATS_SUBJECT, NATS_TIME_STAMP};
use async_nats::{Client, HeaderMap, Message, StatusCode};
use bytes::Bytes;
use data_encoding::BASE64;
use futures::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::Asks;

/// How long a question may take: an election takes 4 to 9 s.
pub const API_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one attempt of a question waits that may be asked again: a machine that died takes questions with it
/// until its neighbours notice, and the next leader answers the repeat.
pub const ATTEMPT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 5;
/// Between two looks at a stream that was just made.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The server's error codes that mean something here.
pub mod code {
    /// Too few servers to place a stream on: some are still coming up, or their disks are full.
    pub const CLUSTER_NO_PEERS: u64 = 10_005;
    /// No meta leader yet.
    pub const CLUSTER_NOT_AVAILABLE: u64 = 10_008;
    /// Asked of a server that lost its lead.
    pub const CLUSTER_NOT_LEADER: u64 = 10_009;
    /// The cluster has too little of something.
    pub const INSUFFICIENT_RESOURCES: u64 = 10_023;
    /// The account's or server's memory is full.
    pub const MEMORY_RESOURCES_EXCEEDED: u64 = 10_028;
    /// No message there.
    pub const NO_MESSAGE_FOUND: u64 = 10_037;
    /// The account's or server's disk is full.
    pub const STORAGE_RESOURCES_EXCEEDED: u64 = 10_047;
    /// Larger than the stream takes.
    pub const MESSAGE_TOO_LARGE: u64 = 10_054;
    /// A message could not be deleted: it is gone, or the disk is ill.
    pub const MESSAGE_DELETE_FAILED: u64 = 10_057;
    /// Made by somebody else, with other settings.
    pub const STREAM_NAME_IN_USE: u64 = 10_058;
    /// There is no such stream.
    pub const STREAM_NOT_FOUND: u64 = 10_059;
    /// No message has that sequence.
    pub const SEQUENCE_NOT_FOUND: u64 = 10_043;
    /// The expectation does not hold.
    pub const WRONG_LAST_SEQUENCE: u64 = 10_071;
    /// The server, or the account, keeps no streams.
    pub const JETSTREAM_NOT_ENABLED: u64 = 10_076;
    /// The stream takes nothing any more.
    pub const STREAM_SEALED: u64 = 10_109;
    /// Too few of its servers are up.
    pub const STREAM_OFFLINE: u64 = 10_118;
    /// The same message id is in flight.
    pub const DUPLICATE_IN_FLIGHT: u64 = 10_158;
    /// The bucket's last sequence cannot be told yet.
    pub const LAST_SEQUENCE_NOT_READY: u64 = 10_163;
    /// Another message to the bucket is in flight.
    pub const WRITE_IN_FLIGHT: u64 = 10_164;
    /// An atomic batch lacks a message, or took too long.
    pub const BATCH_INCOMPLETE: u64 = 10_176;
    /// A message of an atomic batch stands in the stream already.
    pub const BATCH_HAS_DUPLICATE: u64 = 10_201;
    /// The server holds as many atomic batches as it takes.
    pub const TOO_MANY_BATCHES: u64 = 10_210;
    /// The server has more to do than it takes.
    pub const TOO_MANY_REQUESTS: u64 = 10_167;
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The server refused.
    #[error("the server refused: {description} ({code})")]
    Refused {
        /// The server's error code.
        code: u64,
        /// Its words.
        description: String,
    },
    /// Nobody listens: no leader, no such stream, or no permission.
    #[error("no server answers for it")]
    NoResponders,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection, or the client itself.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// An answer that cannot be read.
    #[error("the server's answer cannot be read: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Whether the server refused with this code.
    #[must_use]
    pub fn has_code(&self, wanted: u64) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }

    /// Whether an election, or a server that comes up, may explain it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { code, .. } => [
                code::CLUSTER_NO_PEERS,
                code::CLUSTER_NOT_AVAILABLE,
                code::CLUSTER_NOT_LEADER,
                code::STREAM_OFFLINE,
            ]
            .contains(code),
            Self::NoResponders | Self::TimedOut | Self::Connection(_) => true,
            Self::Malformed(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Where a stream stands, and what it is.
#[derive(Debug, Deserialize)]
pub struct StreamInfo {
    /// Its settings, by the server's words.
    pub config: Map<String, Value>,
    /// Where it stands.
    pub state: StreamState,
    /// Who holds copies; none if it stands alone.
    pub cluster: Option<ClusterInfo>,
}

/// How far a stream goes.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct StreamState {
    /// Sequence of its first message.
    pub first_seq: u64,
    /// Sequence of its last message; 0 where there was none.
    pub last_seq: u64,
}

/// The servers of a stream.
#[derive(Debug, Deserialize)]
pub struct ClusterInfo {
    /// The one that leads.
    pub leader: Option<String>,
    /// The others.
    #[serde(default)]
    pub replicas: Vec<Peer>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
}

impl StreamInfo {
    /// The metadata that its maker gave it.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let metadata = self.config.get("metadata").and_then(Value::as_object);
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        metadata.into_iter().flatten().filter_map(text).collect()
    }

    /// The servers that hold a copy; none if it stands alone.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let cluster = self.cluster.as_ref();
        let leader = cluster
            .and_then(|cluster| cluster.leader.clone())
            .filter(|name| !name.is_empty());
        let others = cluster.into_iter().flat_map(|cluster| cluster.replicas.iter());
        leader.into_iter().chain(others.map(|peer| peer.name.clone())).collect()
    }
}

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
    time: Option<String>,
}

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

/// Reads an answer of the API: its body, or the error that stands in it.
///
/// # Errors
/// The error in the answer, or that it cannot be read.
pub fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    let malformed = |error: serde_json::Error| ApiError::Malformed(error.to_string());
    let value: Value = serde_json::from_slice(payload).map_err(malformed)?;
    if let Some(error) = value.get("error") {
        let ErrorBody { err_code, description } = ErrorBody::deserialize(error).map_err(malformed)?;
        return Err(ApiError::Refused {
            code: err_code,
            description,
        });
    }
    T::deserialize(value).map_err(malformed)
}

/// A question that changes nothing: asked again where no answer comes.
async fn request_again(client: &Client, subject: String, payload: Bytes) -> Result<Message, ApiError> {
    for _ in 1..ATTEMPTS {
        let answer = request_within(ATTEMPT, client, subject.clone(), None, payload.clone()).await;
        if !matches!(answer, Err(ApiError::TimedOut)) {
            return answer;
        }
    }
    request_within(ATTEMPT, client, subject, None, payload).await
}

/// Asks the API, `$JS.API.<verb>` or as the connection has it.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn ask<T: DeserializeOwned>(client: &impl Asks, verb: &str, body: &Value) -> Result<T, ApiError> {
    let payload = match body {
        Value::Null => Bytes::new(),
        body => body.to_string().into(),
    };
    let subject = format!("{}.{verb}", client.api());
    let answer = request(client.nats(), subject, None, payload).await?;
    parse(&answer.payload)
}

/// Where the stream stands, as its leader says.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn stream_info(client: &impl Asks, stream: &str) -> Result<StreamInfo, ApiError> {
    let subject = format!("{}.STREAM.INFO.{stream}", client.api());
    let answer = request_again(client.nats(), subject, Bytes::new()).await?;
    parse(&answer.payload)
}

/// Makes a stream, and waits until it stands: a moment after it was made on several servers, one of them may still say
/// that there is none. One of the same name that stands is left as it is; whoever asked compares its settings. The stream
/// as its leader says.
///
/// # Errors
/// The refusal, or what came instead of an answer.
pub async fn make_stream(client: &impl Asks, stream: &str, request: &Value) -> Result<StreamInfo, ApiError> {
    match ask::<Value>(client, &format!("STREAM.CREATE.{stream}"), request).await {
        Ok(_) => {}
        // Somebody was faster.
        Err(error) if error.has_code(code::STREAM_NAME_IN_USE) => {}
        Err(error) => return Err(error),
    }
    let mut waited = Duration::ZERO;
    loop {
        match stream_info(client, stream).await {
            Err(error) if error.has_code(code::STREAM_NOT_FOUND) && waited < API_TIMEOUT => {
                tokio::time::sleep(LOOK_AGAIN).await;
                waited += LOOK_AGAIN;
            }
            looked => return looked,
        }
    }
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
    let answer = request_again(client.nats(), subject, body.to_string().into()).await?;
    match parse::<MessageGet>(&answer.payload) {
        Ok(MessageGet { message }) => {
            let payload = BASE64
                .decode(message.data.as_bytes())
                .map_err(|error| ApiError::Malformed(error.to_string()))?;
            Ok(Some(StoredMessage {
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
    direct(request_again(client.nats(), subject, body.to_string().into()).await?)
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
    direct(request_again(client.nats(), question, Bytes::new()).await?)
}

/// What the server says of a stored message in a header of its own. The last of the name: what stands before it came
/// from whoever wrote the message.
#[must_use]
pub fn servers_word(message: &Message, name: HeaderName) -> Option<&str> {
    let said = message.headers.as_ref()?.get_all(name).last();
    said.map(|said| said.as_str())
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
        subject: header(NATS_SUBJECT)?,
        sequence,
        time: header(NATS_TIME_STAMP).ok(),
        payload: answer.payload,
    }))
}
