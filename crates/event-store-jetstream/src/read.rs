//! Reading commits by position and by bucket.
//!
//! A commit at a sequence never changes, so whichever server has it may answer; that it is *not* there, and where a
//! bucket ends, only the partition's leader may say.

use citycode_event_store::foreign::{Chain, Link};
use citycode_event_store::{
    BucketId, BucketTail, CommitHash, ForeignMessage, LogPosition, Partition, Position, ReadError, RecordedCommit,
    Revision, Sequence, codec,
};
use futures::future::join_all;
use serde_json::json;

use crate::log_client::{LogClient, damaged};
use crate::names;
use citycode_jetstream::api::{self, ApiError, StoredMessage};

/// Messages asked for at once: some 100 kB of ordinary commits, far below what a connection may queue.
const BATCH: usize = 256;

const OTHER_BUCKET: &str = "it stands in another bucket than its stream belongs to";
const NO_EXPECTATION: &str = "it was stored without the expectation that every append carries";
const BROKEN: &str = "it names another hash than any commit before it has: the one before it was changed or is missing";

/// A bucket's last message, and when the server stored it.
pub(crate) struct Last {
    pub(crate) commit: RecordedCommit,
    pub(crate) time: Option<String>,
}

impl LogClient {
    /// A stored message as the commit that it is, or marked as foreign.
    pub(crate) fn recorded(&self, partition: Partition, message: StoredMessage) -> RecordedCommit {
        let sequence = Sequence(message.sequence);
        let position = Position { partition, sequence };
        self.see(position);
        let payload = message.payload.clone();
        let reason = match codec::decode_recorded(message.payload, position, &self.manifest.layout) {
            Err(error) => error.to_string(),
            Ok(commit) if !names::is_subject_of(&message.subject, commit.bucket) => OTHER_BUCKET.to_owned(),
            Ok(_) if message.expected.is_none() => NO_EXPECTATION.to_owned(),
            Ok(commit) => {
                self.tails.see(commit.bucket, commit.tail());
                return commit;
            }
        };
        let bucket = names::bucket_of_subject(&message.subject, partition, &self.manifest.layout);
        RecordedCommit::of_foreign(position, bucket, ForeignMessage::of(&payload, reason))
    }

    /// As [`LogClient::recorded`]. Before a message is called foreign the leader is asked for it.
    async fn recorded_surely(&self, partition: Partition, message: StoredMessage) -> Result<RecordedCommit, ReadError> {
        let recorded = self.recorded(partition, message);
        if recorded.foreign.is_none() {
            return Ok(recorded);
        }
        let sequence = recorded.position.sequence;
        let body = json!({ "seq": sequence.0 });
        let again = api::get_from_leader(&self.client, &names::stream(partition), &body)
            .await
            .map_err(unavailable)?;
        let again = again.ok_or_else(|| damaged(partition, sequence, "it is missing".into()))?;
        Ok(self.recorded(partition, again))
    }

    /// The commit at `position`, or `None` past the head.
    pub(crate) async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        let Position { partition, sequence } = position;
        if partition.0 >= self.manifest.layout.partitions() {
            return Err(ReadError::NoSuchPlace);
        }
        if sequence == Sequence::START {
            return Ok(None);
        }
        let (stream, body) = (names::stream(partition), json!({ "seq": sequence.0 }));
        let near = api::get_from_any(&self.client, &stream, &body).await;
        let found = match near {
            Ok(Some(message)) => Some(message),
            Ok(None) | Err(_) => api::get_from_leader(&self.client, &stream, &body)
                .await
                .map_err(unavailable)?,
        };
        if let Some(message) = found {
            if message.sequence != sequence.0 {
                return Err(damaged(partition, sequence, "another commit was given for it".into()));
            }
            return self.recorded_surely(partition, message).await.map(Some);
        }
        let extent = self
            .extent(partition)
            .await
            .map_err(|error| error.into_read_error(partition))?;
        if sequence <= extent.last {
            // It may have been written between the two questions.
            let again = api::get_from_leader(&self.client, &stream, &body)
                .await
                .map_err(unavailable)?;
            let message = again.ok_or_else(|| damaged(partition, sequence, "it is missing".into()))?;
            return Ok(Some(self.recorded(partition, message)));
        }
        Ok(None)
    }

    /// The bucket's last commit, as the leader has it.
    pub(crate) async fn last_of(&self, bucket: BucketId) -> Result<Option<Last>, ReadError> {
        self.check(bucket)?;
        let seen = self.tails.get(bucket);
        let body = json!({ "last_by_subj": names::subject(bucket) });
        let message = api::get_from_leader(&self.client, &names::stream(bucket.partition), &body)
            .await
            .map_err(unavailable)?;
        let ends_at = message.as_ref().map_or(0, |message| message.sequence);
        if ends_at < seen.revision.to_raw() {
            // A leader that was just elected, or a log that went back: looking at its head tells which.
            self.extent(bucket.partition)
                .await
                .map_err(|error| error.into_read_error(bucket.partition))?;
            return Err(ReadError::Unavailable(format!(
                "bucket {bucket} is not up to date where it was asked"
            )));
        }
        let Some(message) = message else {
            return Ok(None);
        };
        let time = message.time.clone();
        let commit = self.recorded(bucket.partition, message);
        Ok(Some(Last { commit, time }))
    }

    /// See [`citycode_event_store::EventStore::bucket_tail`]. A heartbeat follows whatever stands before it. Elsewhere only
    /// the whole bucket tells which of its messages is the last commit: the last ones may be copies of earlier commits,
    /// each of which follows the copy before it.
    pub(crate) async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        let Some(last) = self.last_of(bucket).await? else {
            return Ok(BucketTail::EMPTY);
        };
        if self.manifest.layout.is_heartbeat_bucket(bucket) {
            return Ok(last.commit.tail());
        }
        let revision = last.commit.revision;
        let commits = self.read_up_to(bucket, Revision::EMPTY, None, last.commit).await?;
        let hash = commits.last().map_or(CommitHash::NONE, |commit| commit.hash);
        Ok(BucketTail { revision, hash })
    }

    /// The first commit of the bucket after that revision, as the leader has it.
    pub(crate) async fn next_of(&self, bucket: BucketId, after: Revision) -> Result<Option<RecordedCommit>, ReadError> {
        let Some(from) = after.to_raw().checked_add(1) else {
            return Ok(None);
        };
        let body = json!({ "seq": from, "next_by_subj": names::subject(bucket) });
        let message = api::get_from_leader(&self.client, &names::stream(bucket.partition), &body)
            .await
            .map_err(unavailable)?;
        Ok(message.map(|message| self.recorded(bucket.partition, message)))
    }

    /// All commits of a bucket after that revision, up to where the leader says that it ends.
    pub(crate) async fn read_bucket(
        &self,
        bucket: BucketId,
        after: Revision,
    ) -> Result<Vec<RecordedCommit>, ReadError> {
        let last = self.last_of(bucket).await?;
        match last {
            Some(last) if last.commit.revision > after => self.read_up_to(bucket, after, None, last.commit).await,
            _ => Ok(Vec::new()),
        }
    }

    /// The commits of a bucket after that revision, or since that time if one is given, up to `last`. Which messages are
    /// commits only the whole chain tells, so the whole bucket is read; of heartbeats, which are many and in no chain, that
    /// part alone. A time given elsewhere leaves nothing out.
    pub(crate) async fn read_up_to(
        &self,
        bucket: BucketId,
        after: Revision,
        since: Option<&str>,
        last: RecordedCommit,
    ) -> Result<Vec<RecordedCommit>, ReadError> {
        if self.manifest.layout.is_heartbeat_bucket(bucket) {
            let mut messages = self.read_messages(bucket, after, since, last).await?;
            messages.retain(|message| message.foreign.is_none());
            return Ok(messages);
        }
        let messages = self.read_messages(bucket, Revision::EMPTY, None, last).await?;
        let mut commits = only_commits(messages)?;
        commits.retain(|commit| commit.revision > after);
        Ok(commits)
    }

    async fn read_messages(
        &self,
        bucket: BucketId,
        after: Revision,
        since: Option<&str>,
        last: RecordedCommit,
    ) -> Result<Vec<RecordedCommit>, ReadError> {
        let mut commits: Vec<RecordedCommit> = Vec::new();
        loop {
            let reached = commits.last().map(|commit| commit.revision);
            let from = reached.unwrap_or(after);
            if reached == Some(last.revision) {
                return Ok(commits);
            }
            let since = since.filter(|_| reached.is_none());
            let batch = self.read_batch(bucket, from, since).await.map_err(unavailable)?;
            let before = commits.len();
            for message in batch {
                let commit = self.recorded_surely(bucket.partition, message).await?;
                let is_next = commits.last().is_none_or(|one| commit.revision > one.revision);
                if is_next && commit.revision <= last.revision {
                    commits.push(commit);
                }
            }
            if commits.len() == before {
                // The server that answered lags, or all that is owed is the last one: the leader goes on.
                match self.next_of(bucket, from).await? {
                    Some(commit) if since.is_none() && commit.revision < last.revision => commits.push(commit),
                    _ => {
                        commits.push(last);
                        return Ok(commits);
                    }
                }
            }
        }
    }

    /// Some messages of the bucket in order, from whichever server is near.
    async fn read_batch(
        &self,
        bucket: BucketId,
        after: Revision,
        since: Option<&str>,
    ) -> Result<Vec<StoredMessage>, ApiError> {
        let subject = names::subject(bucket);
        let body = match since {
            Some(time) => json!({ "start_time": time, "batch": BATCH, "next_by_subj": subject }),
            None => json!({ "seq": after.to_raw().saturating_add(1), "batch": BATCH, "next_by_subj": subject }),
        };
        api::get_batch(&self.client, &names::stream(bucket.partition), &body).await
    }

    /// Asks that partition's leader alone.
    pub(crate) async fn head(&self, partition: Partition) -> Result<Sequence, ReadError> {
        if partition.0 >= self.manifest.layout.partitions() {
            return Err(ReadError::NoSuchPlace);
        }
        let extent = self.extent(partition).await;
        extent
            .map(|extent| extent.last)
            .map_err(|error| error.into_read_error(partition))
    }

    pub(crate) async fn heads(&self) -> Result<LogPosition, ReadError> {
        let asked = self
            .manifest
            .layout
            .all_partitions()
            .map(|partition| self.head(partition));
        let heads: Result<Vec<Sequence>, ReadError> = join_all(asked).await.into_iter().collect();
        Ok(LogPosition::from_sequences(heads?))
    }

    pub(crate) fn check(&self, bucket: BucketId) -> Result<(), ReadError> {
        if self.manifest.layout.contains(bucket) {
            Ok(())
        } else {
            Err(ReadError::NoSuchPlace)
        }
    }
}

/// The commits among all messages of a bucket, without foreign ones.
fn only_commits(messages: Vec<RecordedCommit>) -> Result<Vec<RecordedCommit>, ReadError> {
    let mut chain = Chain::default();
    let mut commits = Vec::with_capacity(messages.len());
    for message in messages.into_iter().filter(|message| message.foreign.is_none()) {
        match chain.link(&message) {
            Link::Follows => commits.push(message),
            Link::Broken => {
                let Position { partition, sequence } = message.position;
                return Err(damaged(partition, sequence, BROKEN.to_owned()));
            }
            Link::Copy => {}
        }
    }
    Ok(commits)
}

pub(crate) fn unavailable(error: ApiError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
