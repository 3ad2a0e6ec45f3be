//! Backup and restore of a stream with the servers' own snapshots, over the client's plain requests.
//!
//! In [`take`], the server publishes chunks to an inbox of this client and continues as they are acknowledged; an empty
//! message is the end. In [`restore`], this client sends chunks to a subject that the server chooses and waits for each
//! answer; an empty chunk is the end, and its answer is that of a stream's creation. The format of the chunks is the
//! servers' own: every message with its sequence and time, compressed.
//!
//! A restore requires that the server has no stream of that name; it then accepts any settings and any messages.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::ApiClient;
use crate::api::{self, ApiError};

/// Bytes of a chunk: the server's default, far below the limit of a message.
const CHUNK_BYTES: usize = 128 * 1024;
/// The timeout of a chunk or of the stream's creation: the server writes to its disk, and a cluster must agree.
const PATIENCE: Duration = Duration::from_secs(120);

/// The stream's settings and state at the time of the snapshot, by their names in the API; required for a restore.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Its settings.
    pub config: Map<String, Value>,
    /// Its first and last sequence, and the server's other counters.
    pub state: Map<String, Value>,
}

impl Description {
    /// The metadata that the stream was created with.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        api::metadata(&self.config)
    }
}

/// Why a snapshot was not taken or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The server refused, or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The server aborted the snapshot.
    #[error("the server ended the snapshot: {0}")]
    Ended(String),
    /// A chunk did not arrive.
    #[error("chunk {0} of the snapshot is missing; take another snapshot")]
    Missing(u64),
    /// The file cannot be written or read.
    #[error("the snapshot's file: {0}")]
    File(#[from] std::io::Error),
}

/// Writes a stream's snapshot without its consumers; the server first verifies every message's checksum. The snapshot
/// is complete once this returns.
///
/// # Errors
/// [`SnapshotError`]; discard the written bytes then.
pub async fn take(
    client: &impl ApiClient,
    stream: &str,
    to: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<Description, SnapshotError> {
    let nats = client.nats();
    let inbox = nats.new_inbox();
    let chunks = nats.subscribe(inbox.clone()).await;
    let mut chunks = chunks.map_err(|error| ApiError::Connection(error.to_string()))?;
    let body = json!({ "deliver_subject": inbox, "no_consumers": true, "chunk_size": CHUNK_BYTES, "jsck": true });
    let description: Value = api::ask(client, &format!("STREAM.SNAPSHOT.{stream}"), &body).await?;
    let mut taken = 0;
    loop {
        let next = tokio::time::timeout(PATIENCE, chunks.next()).await;
        let chunk = next.map_err(|_| ApiError::TimedOut)?;
        let chunk = chunk.ok_or_else(|| ApiError::Connection("it was closed".into()))?;
        if chunk.payload.is_empty() {
            check_end(&chunk)?;
            break;
        }
        to.write_all(&chunk.payload).await?;
        // The last chunk, which is shorter, needs no acknowledgement.
        if let Some(reply) = chunk.reply {
            taken += 1;
            let number = reply.rsplit('.').next().and_then(|number| number.parse().ok());
            if number != Some(taken) {
                return Err(SnapshotError::Missing(taken));
            }
            let acknowledged = nats.publish(reply, Bytes::new()).await;
            acknowledged.map_err(|error| ApiError::Connection(error.to_string()))?;
        }
    }
    to.flush().await?;
    Ok(Description {
        config: object(&description, "config")?,
        state: object(&description, "state")?,
    })
}

/// The final message has no status or one of success.
fn check_end(end: &Message) -> Result<(), SnapshotError> {
    match end.status {
        None | Some(StatusCode::OK) => Ok(()),
        Some(status) if status.as_u16() == 204 => Ok(()),
        Some(status) => {
            let reason = end.description.as_ref().map(ToString::to_string);
            Err(SnapshotError::Ended(reason.unwrap_or_else(|| status.to_string())))
        }
    }
}

fn object(whole: &Value, name: &str) -> Result<Map<String, Value>, ApiError> {
    let part = whole[name].as_object().cloned();
    part.ok_or_else(|| ApiError::Malformed(format!("the snapshot's answer has no `{name}`")))
}

/// Creates a stream from the bytes that [`take`] wrote, with the settings in `description`. They may differ from the
/// original ones as far as the server supports that for these messages (replicas).
///
/// # Errors
/// [`SnapshotError`]; no stream was created then, unless the last answer was lost, which the caller must check.
pub async fn restore(
    client: &impl ApiClient,
    stream: &str,
    description: &Description,
    from: &mut (impl AsyncRead + Unpin + Send),
) -> Result<(), SnapshotError> {
    let body = json!({ "config": description.config, "state": description.state });
    let answer: Value = api::ask(client, &format!("STREAM.RESTORE.{stream}"), &body).await?;
    let subject = answer["deliver_subject"].as_str().map(str::to_owned);
    let subject = subject.ok_or_else(|| ApiError::Malformed("the subject for the snapshot is missing".into()))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let mut filled = 0;
        while filled < chunk.len() {
            match from.read(&mut chunk[filled..]).await? {
                0 => break,
                read => filled += read,
            }
        }
        let payload = Bytes::copy_from_slice(&chunk[..filled]);
        let answer = api::request_within(PATIENCE, client.nats(), subject.clone(), None, payload).await?;
        if !answer.payload.is_empty() {
            // The answer to a chunk is an error; the answer to the end is the stream or an error.
            api::parse::<Value>(&answer.payload)?;
        }
        if filled == 0 {
            break;
        }
    }
    api::info_after_creation(client, stream).await?;
    Ok(())
}
