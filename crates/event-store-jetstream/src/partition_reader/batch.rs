//! Commits as the servers send them: many in answer to one request, or one by one on the tail.
//!
//! Each message states in headers set by the server in which stream and at which sequence it is stored. A message with
//! other or missing headers is not of this partition and is ignored: a client with the same account can make the
//! servers send this reader unrequested answers, but with no further effect.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{NATS_SEQUENCE, NATS_STREAM, NATS_SUBJECT};
use async_nats::{Message, Subscriber};
use citycode_event_store::{RecordedCommit, Sequence, codec, heartbeat};
use citycode_jetstream::ApiClient as _;
use citycode_jetstream::api::{self, expected_of, server_header};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;

use super::{CHUNK, End, PartitionReader};
use crate::connection::damaged;
use crate::names;

/// Commits of one request: two chunks are in transit while two are folded.
pub(super) const MAX_BATCH: usize = 2 * CHUNK;
/// Bytes of one request.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Silence after which the rest of an answer is considered lost.
const SILENCE: Duration = Duration::from_secs(3);
/// Ends a batch, like [RFC 9110's "no content"](https://www.rfc-editor.org/rfc/rfc9110#section-15.3.5).
const END_OF_BATCH: u16 = 204;
const NOT_FOUND: u16 = 404;

impl PartitionReader {
    /// Reads everything up to `head`, which is known to exist.
    pub(super) async fn read_up_to(&mut self, head: Sequence) -> Result<(), End> {
        while self.last < head {
            let left = head.0 - self.last.0;
            let count = usize::try_from(left).unwrap_or(MAX_BATCH).min(MAX_BATCH);
            if self.read_batch(count).await? == 0 {
                // The server that answered lags behind the leader.
                let commit = self.get_from_leader(self.last.next()).await?;
                self.deliver(vec![Arc::new(commit)]).await?;
            }
        }
        Ok(())
    }

    /// Reads at most `max` next commits, as far as the server that answers has them; returns their number.
    pub(super) async fn read_batch(&mut self, max: usize) -> Result<usize, End> {
        let restart = |error: &dyn std::fmt::Display| End::Restart(error.to_string());
        let client = self.connection.client().clone();
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(|error| restart(&error))?;
        let subject = format!("{}.DIRECT.GET.{}", client.api(), names::stream(self.partition));
        let body = json!({ "seq": self.last.next().0, "batch": max, "max_bytes": MAX_BATCH_BYTES }).to_string();
        let sent = client.publish_with_reply(subject, inbox, body.into()).await;
        sent.map_err(|error| restart(&error))?;
        let (mut read, mut ended) = (0, false);
        while !ended {
            let mut commits = Vec::new();
            let gathered = self.gather(&mut answers, &mut commits).await;
            read += commits.len();
            // Commits before an error are valid.
            self.deliver(commits).await?;
            // With all commits received, the end itself may have been lost.
            ended = gathered? || read >= max;
        }
        Ok(read)
    }

    /// Waits for an answer's next message and gathers all commits that have arrived, up to a chunk; returns whether the
    /// answer has ended.
    async fn gather(&self, answers: &mut Subscriber, commits: &mut Vec<Arc<RecordedCommit>>) -> Result<bool, End> {
        let silent = |_| End::Restart(format!("no answer for {} s", SILENCE.as_secs()));
        let waited = tokio::time::timeout(SILENCE, answers.next()).await.map_err(silent)?;
        let mut next = Some(waited.ok_or_else(|| End::Restart("the subscription ended".into()))?);
        while let Some(message) = next.take() {
            if is_end(&message)? {
                return Ok(true);
            }
            if let Some(sequence) = self.stored_sequence(&message) {
                let reached = self.reached(commits);
                if sequence == reached.next() {
                    commits.push(Arc::new(self.commit(sequence, message).await?));
                } else if sequence > reached {
                    // Messages were lost; they are requested again.
                    return Ok(true);
                }
            }
            if commits.len() < CHUNK {
                next = answers.next().now_or_never().flatten();
            }
        }
        Ok(false)
    }

    /// The sequence at which the message is stored in this partition; `None` if it is not of this partition.
    pub(super) fn stored_sequence(&self, message: &Message) -> Option<Sequence> {
        let stream = server_header(message, NATS_STREAM)?;
        if message.status.is_some() || !names::is_stream_of(stream, self.partition) {
            return None;
        }
        server_header(message, NATS_SEQUENCE)?.parse().ok().map(Sequence)
    }

    /// The next commit, from the message that contains it.
    pub(super) async fn commit(&self, sequence: Sequence, message: Message) -> Result<RecordedCommit, End> {
        self.check_connection()?;
        let position = self.position(sequence);
        let decoded = codec::decode_recorded(message.payload.clone(), position, self.connection.layout());
        let subject = server_header(&message, NATS_SUBJECT).unwrap_or_default();
        let commit = match decoded {
            Ok(commit) if names::is_subject_of(subject, commit.bucket) && expected_of(&message).is_some() => commit,
            // A message is treated as foreign only after reading the stored one.
            _ => self.get_from_leader(sequence).await?,
        };
        if let Some(foreign) = &commit.foreign {
            if self.connection.layout().is_heartbeat_bucket(commit.bucket) {
                let digest = &foreign.digest;
                tracing::warn!(%position, %digest, "message in the heartbeat bucket is not a heartbeat; ignored");
            }
            return Ok(commit);
        }
        self.probes.see(position, &message);
        if heartbeat::is_heartbeat(&commit.commit.stream) {
            self.probes.see_heartbeat(self.partition);
        }
        Ok(commit)
    }

    /// A commit that must exist, from the partition's leader.
    async fn get_from_leader(&self, sequence: Sequence) -> Result<RecordedCommit, End> {
        let (partition, stream) = (self.partition, names::stream(self.partition));
        let body = json!({ "seq": sequence.0 });
        let found = api::get_from_leader(self.connection.client(), &stream, &body).await;
        let message = found.map_err(|error| End::Restart(error.to_string()))?;
        let message = message.ok_or_else(|| End::Restart(format!("the leader does not have {sequence}")))?;
        let commit = self.commits.recorded(partition, message);
        if commit.position.sequence == sequence {
            Ok(commit)
        } else {
            let reason = "the server returned another commit for it".into();
            Err(End::Failed(damaged(partition, sequence, reason).into()))
        }
    }
}

/// Whether the answer ends with this message.
fn is_end(message: &Message) -> Result<bool, End> {
    let Some(status) = message.status else {
        return Ok(false);
    };
    match status.as_u16() {
        END_OF_BATCH | NOT_FOUND => Ok(true),
        other => {
            let description = message.description.as_deref().unwrap_or_default();
            Err(End::Restart(format!("status {other} {description}")))
        }
    }
}
