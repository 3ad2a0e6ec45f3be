//! Commits as the servers tell them: many at a time in answer to a question, or one by one on the tail.
//!
//! Each message says in headers of the server's own which stream it is stored in and where. What says something else, or
//! nothing, is none of this partition's and is passed over: whoever shares this reader's account may have the servers
//! send it answers that it did not ask for, and no more than that.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{NATS_SEQUENCE, NATS_STREAM, NATS_SUBJECT};
use async_nats::{Message, Subscriber};
use citycode_event_store::{RecordedCommit, Sequence, codec, heartbeat};
use citycode_jetstream::Asks as _;
use citycode_jetstream::api::{self, expected_of, servers_word};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;

use crate::log_client::damaged;
use crate::names;
use crate::reader::{CHUNK, End, PartitionReader};

/// Commits asked for at once: two chunks on their way while two are folded.
pub(crate) const MOST: usize = 2 * CHUNK;
/// Bytes asked for at once.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Silence in an answer after which the rest of it is not believed in any more.
const SILENCE: Duration = Duration::from_secs(3);
/// Ends a batch, with the status of [RFC 9110's "no content"](https://www.rfc-editor.org/rfc/rfc9110#section-15.3.5).
const END_OF_BATCH: u16 = 204;
const NOTHING_THERE: u16 = 404;

impl PartitionReader {
    /// Reads everything up to there, which is there for sure.
    pub(crate) async fn read_up_to(&mut self, head: Sequence) -> Result<(), End> {
        while self.last < head {
            let left = head.0 - self.last.0;
            let most = usize::try_from(left).unwrap_or(MOST).min(MOST);
            if self.read_batch(most).await? == 0 {
                // The server that answered lags behind its leader.
                let commit = self.ask_leader(self.last.next()).await?;
                self.hand_on(vec![Arc::new(commit)]).await?;
            }
        }
        Ok(())
    }

    /// Reads the next commits, up to so many, as far as the server that answers has them; how many there were.
    pub(crate) async fn read_batch(&mut self, most: usize) -> Result<usize, End> {
        let doubt = |error: &dyn std::fmt::Display| End::Doubt(error.to_string());
        let client = self.log.client.clone();
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(|error| doubt(&error))?;
        let question = format!("{}.DIRECT.GET.{}", client.api(), names::stream(self.partition));
        let body = json!({ "seq": self.last.next().0, "batch": most, "max_bytes": MOST_BYTES }).to_string();
        let asked = client.publish_with_reply(question, inbox, body.into()).await;
        asked.map_err(|error| doubt(&error))?;
        let (mut read, mut ended) = (0, false);
        while !ended {
            let mut commits = Vec::new();
            let gathered = self.gather(&mut answers, &mut commits).await;
            read += commits.len();
            // What came before a doubt is good.
            self.hand_on(commits).await?;
            // The end itself may be what was lost.
            ended = gathered? || read >= most;
        }
        Ok(read)
    }

    /// Waits for an answer's next commits, takes what is at hand of them, up to a chunk; whether the answer ends there.
    async fn gather(&self, answers: &mut Subscriber, commits: &mut Vec<Arc<RecordedCommit>>) -> Result<bool, End> {
        let silent = |_| End::Doubt(format!("no answer for {} s", SILENCE.as_secs()));
        let waited = tokio::time::timeout(SILENCE, answers.next()).await.map_err(silent)?;
        let mut next = Some(waited.ok_or_else(|| End::Doubt("the subscription ended".into()))?);
        while let Some(message) = next.take() {
            if is_end(&message)? {
                return Ok(true);
            }
            if let Some(sequence) = self.told(&message) {
                let reached = self.reached(commits);
                if sequence == reached.next() {
                    commits.push(Arc::new(self.commit(sequence, message).await?));
                } else if sequence > reached {
                    // Some were lost on the way: asked for anew from there.
                    return Ok(true);
                }
            }
            if commits.len() < CHUNK {
                next = answers.next().now_or_never().flatten();
            }
        }
        Ok(false)
    }

    /// Where in this partition a message is stored, as the server says; none where it is not of this partition.
    pub(crate) fn told(&self, message: &Message) -> Option<Sequence> {
        let stream = servers_word(message, NATS_STREAM)?;
        if message.status.is_some() || !names::is_stream_of(stream, self.partition) {
            return None;
        }
        servers_word(message, NATS_SEQUENCE)?.parse().ok().map(Sequence)
    }

    /// The next commit, from the message that has it.
    pub(crate) async fn commit(&self, sequence: Sequence, message: Message) -> Result<RecordedCommit, End> {
        self.check_connection()?;
        let position = self.position(sequence);
        let decoded = codec::decode_recorded(message.payload.clone(), position, &self.log.manifest.layout);
        let subject = servers_word(&message, NATS_SUBJECT).unwrap_or_default();
        let commit = match decoded {
            Ok(commit) if names::is_subject_of(subject, commit.bucket) && expected_of(&message).is_some() => commit,
            // Before a message is called foreign it is looked at where it is stored.
            _ => self.ask_leader(sequence).await?,
        };
        if let Some(message) = &commit.foreign {
            if self.log.manifest.layout.is_heartbeat_bucket(commit.bucket) {
                tracing::warn!(%position, digest = %message.digest, "message in the heartbeat bucket is not a heartbeat; ignored");
            }
            return Ok(commit);
        }
        self.log.probes.see(position, &message);
        if heartbeat::is_heartbeat(&commit.commit.stream) {
            self.log.probes.see_heartbeat(self.partition);
        }
        Ok(commit)
    }

    /// A commit that must be there, from the partition's leader.
    async fn ask_leader(&self, sequence: Sequence) -> Result<RecordedCommit, End> {
        let (partition, stream) = (self.partition, names::stream(self.partition));
        let body = json!({ "seq": sequence.0 });
        let found = api::get_from_leader(&self.log.client, &stream, &body).await;
        let message = found.map_err(|error| End::Doubt(error.to_string()))?;
        let message = message.ok_or_else(|| End::Doubt(format!("{sequence} is not there, or not yet")))?;
        let commit = self.log.recorded(partition, message);
        if commit.position.sequence == sequence {
            Ok(commit)
        } else {
            let reason = "another commit was given for it".into();
            Err(End::Failed(damaged(partition, sequence, reason).into()))
        }
    }
}

/// Whether the answer ends here.
fn is_end(message: &Message) -> Result<bool, End> {
    let Some(status) = message.status else {
        return Ok(false);
    };
    match status.as_u16() {
        END_OF_BATCH | NOTHING_THERE => Ok(true),
        other => {
            let said = message.description.as_deref().unwrap_or_default();
            Err(End::Doubt(format!("status {other} {said}")))
        }
    }
}
