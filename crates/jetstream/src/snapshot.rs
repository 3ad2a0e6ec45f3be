//! A stream as bytes, and back: the servers' own snapshots, over the client's plain requests.
//!
//! Of [`take`], the server publishes chunks to an inbox of this client and sends on as they are acknowledged; a message
//! without bytes ends them. Of [`bring_back`], this client sends chunks to a subject that the server names and waits for
//! each answer; a chunk without bytes ends them, and its answer is that of a stream that was made. What is inside the
//! chunks is the servers' own: every message with its sequence and time, compressed.
//!
//! The server must have no stream of the name to bring one back, and takes any settings and any messages then.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Asks;
use crate::api::{self, ApiError};

/// Bytes of a chunk; the server's own default, far below what a message may have.
const CHUNK_BYTES: usize = 128 * 1024;
/// How long a server may take over a chunk, or over making the stream of them: it writes to its disk, and three agree.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a stream was when its snapshot was taken, by the server's words: needed to bring it back.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Its settings.
    pub config: Map<String, Value>,
    /// Its first and last sequence, and what else the server counts.
    pub state: Map<String, Value>,
}

impl Description {
    /// What the settings say in words of the stream's maker.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        api::metadata(&self.config)
    }
}

/// Why a snapshot was not taken or brought back.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The server refused, or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The server ended it in the middle.
    #[error("the server ended the snapshot: {0}")]
    Ended(String),
    /// A chunk did not arrive.
    #[error("chunk {0} of the snapshot is missing; take another one")]
    Missing(u64),
    /// The bytes cannot be written or read.
    #[error("the snapshot's file: {0}")]
    File(#[from] std::io::Error),
}

/// Writes a stream's snapshot, without its consumers; the server looks at every message's checksum first. It is whole once
/// this returns.
///
/// # Errors
/// [`SnapshotError`]; what was written is of no use then.
pub async fn take(
    client: &impl Asks,
    stream: &str,
    to: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<Description, SnapshotError> {
    let nats = client.nats();
    let inbox = nats.new_inbox();
    let chunks = nats.subscribe(inbox.clone()).await;
    let mut chunks = chunks.map_err(|error| ApiError::Connection(error.to_string()))?;
    let question = json!({ "deliver_subject": inbox, "no_consumers": true, "chunk_size": CHUNK_BYTES, "jsck": true });
    let description: Value = api::ask(client, &format!("STREAM.SNAPSHOT.{stream}"), &question).await?;
    let mut taken = 0;
    loop {
        let next = tokio::time::timeout(PATIENCE, chunks.next()).await;
        let chunk = next.map_err(|_| ApiError::TimedOut)?;
        let chunk = chunk.ok_or_else(|| ApiError::Connection("it was closed".into()))?;
        if chunk.payload.is_empty() {
            ended_well(&chunk)?;
            break;
        }
        to.write_all(&chunk.payload).await?;
        // The last one, which is shorter, asks for no answer.
        if let Some(reply) = chunk.reply {
            taken += 1;
            let number = reply.rsplit('.').next().and_then(|number| number.parse().ok());
            if number != Some(taken) {
                return Err(SnapshotError::Missing(taken));
            }
            let told = nats.publish(reply, Bytes::new()).await;
            told.map_err(|error| ApiError::Connection(error.to_string()))?;
        }
    }
    to.flush().await?;
    Ok(Description {
        config: object(&description, "config")?,
        state: object(&description, "state")?,
    })
}

/// The end has no status, or says that all is well.
fn ended_well(end: &Message) -> Result<(), SnapshotError> {
    match end.status {
        None | Some(StatusCode::OK) => Ok(()),
        Some(status) if status.as_u16() == 204 => Ok(()),
        Some(status) => {
            let why = end.description.as_ref().map(ToString::to_string);
            Err(SnapshotError::Ended(why.unwrap_or_else(|| status.to_string())))
        }
    }
}

fn object(whole: &Value, name: &str) -> Result<Map<String, Value>, ApiError> {
    let part = whole[name].as_object().cloned();
    part.ok_or_else(|| ApiError::Malformed(format!("the snapshot's answer has no `{name}`")))
}

/// Makes a stream of what [`take`] wrote, with the settings in `description`, which may be others than it had where the
/// server can make such a stream of these messages (replicas).
///
/// # Errors
/// [`SnapshotError`]; no stream was made then, unless the last answer was lost: look.
pub async fn bring_back(
    client: &impl Asks,
    stream: &str,
    description: &Description,
    from: &mut (impl AsyncRead + Unpin + Send),
) -> Result<(), SnapshotError> {
    let question = json!({ "config": description.config, "state": description.state });
    let answer: Value = api::ask(client, &format!("STREAM.RESTORE.{stream}"), &question).await?;
    let subject = answer["deliver_subject"].as_str().map(str::to_owned);
    let subject = subject.ok_or_else(|| ApiError::Malformed("it names no place for the snapshot".into()))?;
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
            // To a chunk: why it goes no further. To the end: the stream, or why there is none.
            api::parse::<Value>(&answer.payload)?;
        }
        if filled == 0 {
            break;
        }
    }
    api::info_once_made(client, stream).await?;
    Ok(())
}
