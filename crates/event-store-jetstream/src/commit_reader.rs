//! Reads commits by position and by bucket.
//!
//! A commit never changes, so any server that has it may return it. Only the partition's leader may say that a commit
//! does not exist, or where a bucket ends.

use std::sync::Arc;

use citycode_event_store::foreign::{Chain, Link};
use citycode_event_store::{
    BucketId, BucketTail, CommitHash, ForeignMessage, LogPosition, Partition, Position, ReadError, RecordedCommit,
    Revision, Sequence, codec,
};
use citycode_jetstream::api::{self, ApiError, StoredMessage};
use futures::future::join_all;
use serde_json::json;

use crate::connection::{LogConnection, damaged};
use crate::names;
use crate::tails::SeenTails;

/// Messages of one request: about 100 kB of ordinary commits, far below what a connection may queue.
const BATCH: usize = 256;

const OTHER_BUCKET: &str = "it is in another bucket than its stream belongs to";
const NO_EXPECTATION: &str = "it was stored without the expectation that every append carries";
const BROKEN: &str = "no earlier commit has its previous hash: the commit before it was changed or is missing";

/// A bucket's last message, and the server's time at which it was stored.
pub(crate) struct Last {
    pub(crate) commit: RecordedCommit,
    pub(crate) time: Option<String>,
}

/// Reads one log, and keeps the last seen tail of each bucket.
pub(crate) struct CommitReader {
    connection: Arc<LogConnection>,
    tails: SeenTails,
}

impl CommitReader {
    pub(crate) fn new(connection: Arc<LogConnection>) -> Self {
        Self {
            tails: SeenTails::new(*connection.layout()),
            connection,
        }
    }

    /// The last tails that this client has seen.
    pub(crate) fn tails(&self) -> &SeenTails {
        &self.tails
    }

    /// A stored message as a commit, or as a foreign message.
    pub(crate) fn recorded(&self, partition: Partition, message: StoredMessage) -> RecordedCommit {
        let sequence = Sequence(message.sequence);
        let position = Position { partition, sequence };
        self.connection.see(position);
        let layout = self.connection.layout();
        let payload = message.payload.clone();
        let reason = match codec::decode_recorded(message.payload, position, layout) {
            Err(error) => error.to_string(),
            Ok(commit) if !names::is_subject_of(&message.subject, commit.bucket) => OTHER_BUCKET.to_owned(),
            Ok(_) if message.expected.is_none() => NO_EXPECTATION.to_owned(),
            Ok(commit) => {
                self.tails.see(commit.bucket, commit.tail());
                return commit;
            }
        };
        let bucket = names::bucket_of_subject(&message.subject, partition, layout);
        RecordedCommit::of_foreign(position, bucket, ForeignMessage::of(&payload, reason))
    }

    /// As [`CommitReader::recorded`], but reads a message from the leader before it is treated as foreign.
    async fn recorded_by_leader_if_foreign(
        &self,
        partition: Partition,
        message: StoredMessage,
    ) -> Result<RecordedCommit, ReadError> {
        let recorded = self.recorded(partition, message);
        if recorded.foreign.is_none() {
            return Ok(recorded);
        }
        let sequence = recorded.position.sequence;
        let body = json!({ "seq": sequence.0 });
        let again = self.get_from_leader(partition, &body).await?;
        let again = again.ok_or_else(|| damaged(partition, sequence, "it is missing".into()))?;
        Ok(self.recorded(partition, again))
    }

    /// The commit at `position`, or `None` past the head.
    pub(crate) async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        let Position { partition, sequence } = position;
        self.check_partition(partition)?;
        if sequence == Sequence::START {
            return Ok(None);
        }
        let (stream, body) = (names::stream(partition), json!({ "seq": sequence.0 }));
        let near = api::get_from_any(self.connection.client(), &stream, &body).await;
        let found = match near {
            Ok(Some(message)) => Some(message),
            Ok(None) | Err(_) => self.get_from_leader(partition, &body).await?,
        };
        if let Some(message) = found {
            if message.sequence != sequence.0 {
                let reason = "the server returned another commit for it".into();
                return Err(damaged(partition, sequence, reason));
            }
            return self.recorded_by_leader_if_foreign(partition, message).await.map(Some);
        }
        if sequence <= self.head(partition).await? {
            // It may have been written between the two requests.
            let again = self.get_from_leader(partition, &body).await?;
            let message = again.ok_or_else(|| damaged(partition, sequence, "it is missing".into()))?;
            return Ok(Some(self.recorded(partition, message)));
        }
        Ok(None)
    }

    /// The bucket's last message according to the leader.
    pub(crate) async fn last_of(&self, bucket: BucketId) -> Result<Option<Last>, ReadError> {
        self.check(bucket)?;
        let seen = self.tails.get(bucket);
        let body = json!({ "last_by_subj": names::subject(bucket) });
        let message = self.get_from_leader(bucket.partition, &body).await?;
        let ends_at = message.as_ref().map_or(0, |message| message.sequence);
        if ends_at < seen.revision.to_raw() {
            // A newly elected leader, or a rolled-back log: reading the partition's extent distinguishes them.
            self.head(bucket.partition).await?;
            return Err(ReadError::Unavailable(format!(
                "the server that answered does not have the latest commits of bucket {bucket} yet"
            )));
        }
        let Some(message) = message else {
            return Ok(None);
        };
        let time = message.time.clone();
        let commit = self.recorded(bucket.partition, message);
        Ok(Some(Last { commit, time }))
    }

    /// See [`citycode_event_store::EventStore::bucket_tail`]. A heartbeat follows whatever message precedes it. In
    /// other buckets only the whole bucket shows which message is the last commit: the last messages may be copies of
    /// earlier commits, each of which follows the copy before it.
    pub(crate) async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        let Some(last) = self.last_of(bucket).await? else {
            return Ok(BucketTail::EMPTY);
        };
        if self.connection.layout().is_heartbeat_bucket(bucket) {
            return Ok(last.commit.tail());
        }
        let revision = last.commit.revision;
        let commits = self.read_up_to(bucket, Revision::EMPTY, None, last.commit).await?;
        let hash = commits.last().map_or(CommitHash::NONE, |commit| commit.hash);
        Ok(BucketTail { revision, hash })
    }

    /// The bucket's first message after that revision according to the leader.
    pub(crate) async fn next_of(&self, bucket: BucketId, after: Revision) -> Result<Option<RecordedCommit>, ReadError> {
        let Some(from) = after.to_raw().checked_add(1) else {
            return Ok(None);
        };
        let body = json!({ "seq": from, "next_by_subj": names::subject(bucket) });
        let message = self.get_from_leader(bucket.partition, &body).await?;
        Ok(message.map(|message| self.recorded(bucket.partition, message)))
    }

    /// All commits of a bucket after that revision, up to its end according to the leader.
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

    /// The commits of a bucket up to `last`, after that revision. Only the whole chain shows which messages are
    /// commits, so the whole bucket is read. Of heartbeats, which are many and in no chain, only those after the
    /// revision, or since the time `since`, are read; in other buckets `since` has no effect.
    pub(crate) async fn read_up_to(
        &self,
        bucket: BucketId,
        after: Revision,
        since: Option<&str>,
        last: RecordedCommit,
    ) -> Result<Vec<RecordedCommit>, ReadError> {
        if self.connection.layout().is_heartbeat_bucket(bucket) {
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
                let commit = self.recorded_by_leader_if_foreign(bucket.partition, message).await?;
                let is_next = commits.last().is_none_or(|one| commit.revision > one.revision);
                if is_next && commit.revision <= last.revision {
                    commits.push(commit);
                }
            }
            if commits.len() == before {
                // Either the server that answered lags and the leader has more, or only `last` remains.
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

    /// Some messages of the bucket in order, from any server.
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
        api::get_batch(self.connection.client(), &names::stream(bucket.partition), &body).await
    }

    /// The head of a partition according to its leader; needs no other partition.
    pub(crate) async fn head(&self, partition: Partition) -> Result<Sequence, ReadError> {
        self.check_partition(partition)?;
        let extent = self.connection.extent(partition).await;
        extent
            .map(|extent| extent.last)
            .map_err(|error| error.into_read_error(partition))
    }

    pub(crate) async fn heads(&self) -> Result<LogPosition, ReadError> {
        let partitions = self.connection.layout().all_partitions();
        let requests = partitions.map(|partition| self.head(partition));
        let heads: Result<Vec<Sequence>, ReadError> = join_all(requests).await.into_iter().collect();
        Ok(LogPosition::from_sequences(heads?))
    }

    async fn get_from_leader(
        &self,
        partition: Partition,
        body: &serde_json::Value,
    ) -> Result<Option<StoredMessage>, ReadError> {
        let stream = names::stream(partition);
        let answer = api::get_from_leader(self.connection.client(), &stream, body).await;
        answer.map_err(unavailable)
    }

    fn check_partition(&self, partition: Partition) -> Result<(), ReadError> {
        if partition.0 < self.connection.layout().partitions() {
            Ok(())
        } else {
            Err(ReadError::NotInLayout)
        }
    }

    fn check(&self, bucket: BucketId) -> Result<(), ReadError> {
        if self.connection.layout().contains(bucket) {
            Ok(())
        } else {
            Err(ReadError::NotInLayout)
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

fn unavailable(error: ApiError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
