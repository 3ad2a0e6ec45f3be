//! Appends: the lock on the bucket, the hash, the publish, and what its answer means to the caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, CommitHash, ForeignMessage, MessageId, NewCommit, Position,
    RecordedCommit, Revision, Sequence, codec, foreign, heartbeat,
};
use citycode_jetstream::api::{API_TIMEOUT, ATTEMPT};
use futures::future::join_all;
use tokio::sync::Semaphore;

use crate::commit_reader::CommitReader;
use crate::conflict::{Answer, settle_conflict, settle_known};
use crate::connection::LogConnection;
use crate::group::{Groups, Permit};
use crate::locks::BucketLocks;
use crate::probes::Probes;
use crate::publish::{Message, Published, publish};

/// Concurrent appends: more do not increase the servers' throughput, and far more (25,000) starve consumers.
const MAX_IN_FLIGHT: usize = 1_000;
/// First pause after a temporary refusal; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// An election takes seconds, so four attempts a second are frequent enough and cost little.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Appends to one log.
pub(crate) struct Appender {
    connection: Arc<LogConnection>,
    reader: Arc<CommitReader>,
    probes: Arc<Probes>,
    locks: BucketLocks,
    in_flight: Semaphore,
    groups: Groups,
}

impl Appender {
    pub(crate) fn new(connection: Arc<LogConnection>, reader: Arc<CommitReader>, probes: Arc<Probes>) -> Self {
        let partitions = connection.layout().partitions();
        Self {
            groups: Groups::new(connection.client().clone(), Arc::clone(&probes), partitions),
            connection,
            reader,
            probes,
            locks: BucketLocks::default(),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
        }
    }

    /// See [`citycode_event_store::EventStore::append_at`].
    pub(crate) async fn append(&self, commit: NewCommit, expected: BucketTail) -> Answer {
        if let Some(reason) = self.connection.stopped() {
            return Err(AppendError::Unavailable(reason));
        }
        let layout = self.connection.layout();
        layout.check(&commit.stream)?;
        let (bytes, hash) = codec::encode(&commit, &expected.hash)?;
        let bucket = layout.bucket_of(&commit.stream);
        let _guard = self.locks.lock(bucket).await;
        let _permit = self.in_flight.acquire().await.map_err(|_| AppendError::Closed)?;
        self.connection
            .verify_once(bucket.partition)
            .await
            .map_err(|error| AppendError::Unavailable(error.to_string()))?;
        // A declaration follows foreign messages, and the last seen message may be a copy of a commit: only the whole
        // bucket shows which commit the declaration must follow.
        let possible = if foreign::is_declarations(&commit.stream) {
            self.reader.bucket_tail(bucket).await? == expected
        } else {
            self.is_possible(bucket, expected).await?
                || (heartbeat::is_heartbeat(&commit.stream) && self.reader.bucket_tail(bucket).await? == expected)
        };
        if !possible {
            return self.settle_conflict(bucket, &commit, expected).await;
        }
        self.publish_until_answered(bucket, &commit, expected, bytes, hash)
            .await
    }

    /// Whether the bucket ever had this tail, as far as this can be determined without reading its current end. The
    /// server compares revisions only; a hash that does not belong to the revision would break the chain.
    async fn is_possible(&self, bucket: BucketId, expected: BucketTail) -> Result<bool, AppendError> {
        if expected.revision == Revision::EMPTY || expected.hash == CommitHash::NONE {
            return Ok(expected == BucketTail::EMPTY);
        }
        let seen = self.reader.tails().get(bucket);
        if seen.revision >= expected.revision {
            return Ok(seen == expected);
        }
        let position = Position {
            partition: bucket.partition,
            sequence: Sequence(expected.revision.to_raw()),
        };
        let found = self.reader.read_at(position).await?;
        let is_tail =
            |found: RecordedCommit| found.bucket == bucket && found.foreign.is_none() && found.hash == expected.hash;
        Ok(found.is_some_and(is_tail))
    }

    async fn publish_until_answered(
        &self,
        bucket: BucketId,
        commit: &NewCommit,
        expected: BucketTail,
        bytes: Bytes,
        hash: CommitHash,
    ) -> Answer {
        let (mut pause, mut waited) = (FIRST_PAUSE, Duration::ZERO);
        let seen = self.connection.seen(bucket.partition);
        let message = Message {
            bucket,
            id: commit.message_id,
            expected: expected.revision,
            bytes,
        };
        let (_slot, mut unanswered) = match self.groups.submit(message.clone()).await {
            Permit::Written(sequence) => return Ok(self.written(bucket, sequence, seen, expected, hash)),
            Permit::Single { slot, unanswered } => (slot, unanswered),
        };
        loop {
            let seen = self.connection.seen(bucket.partition);
            match self.publish(message.clone()).await {
                Published::Written(sequence) => {
                    return Ok(self.written(bucket, Sequence(sequence), seen, expected, hash));
                }
                Published::Known(sequence) => {
                    return settle_known(&self.reader, bucket, commit, Sequence(sequence)).await;
                }
                Published::WrongRevision => return self.settle_conflict(bucket, commit, expected).await,
                // The next attempt sends the same bytes with the same expectation. Its answer also covers any earlier
                // attempt that is still in flight.
                answer @ (Published::NotNow(_) | Published::InFlight(_)) if waited < API_TIMEOUT => {
                    unanswered |= matches!(answer, Published::InFlight(_));
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                // The server may have failed after it wrote the message; the answer to the next attempt shows that.
                Published::Unanswered if waited < API_TIMEOUT => {
                    waited += ATTEMPT;
                    unanswered = true;
                }
                Published::Unanswered => {
                    tracing::warn!(%bucket, "the outcome of an append is unknown");
                    return Ok(AppendOutcome::Unknown);
                }
                // This attempt was refused, but an earlier one without an answer may have been written.
                Published::NotNow(reason) | Published::Refused(reason) if unanswered => {
                    tracing::warn!(%bucket, reason, "the outcome of an append is unknown");
                    return Ok(AppendOutcome::Unknown);
                }
                Published::NotNow(reason) | Published::Refused(reason) => {
                    return Err(AppendError::Unavailable(reason));
                }
                Published::InFlight(reason) | Published::Unknown(reason) => {
                    tracing::warn!(%bucket, reason, "the outcome of an append is unknown");
                    return Ok(AppendOutcome::Unknown);
                }
            }
        }
    }

    /// The answer to a commit that the server acknowledged as new. If its sequence was assigned before, the commit is
    /// in another log than the known one, and its outcome in this log is unknown.
    fn written(
        &self,
        bucket: BucketId,
        sequence: Sequence,
        seen: Sequence,
        expected: BucketTail,
        hash: CommitHash,
    ) -> AppendOutcome {
        let partition = bucket.partition;
        if sequence <= seen || sequence.0 <= expected.revision.to_raw() {
            self.connection.stop(format!(
                "partition {partition} assigned sequence {sequence} again; {seen} was seen before"
            ));
            return AppendOutcome::Unknown;
        }
        let (position, revision) = (Position { partition, sequence }, Revision::from_raw(sequence.0));
        self.connection.see(position);
        self.reader.tails().see(bucket, BucketTail { revision, hash });
        AppendOutcome::Appended {
            position,
            revision,
            hash,
            duplicate: false,
        }
    }

    /// See [`citycode_event_store::EventStore::append_foreign`].
    pub(crate) async fn append_foreign(
        &self,
        bucket: BucketId,
        message: ForeignMessage,
        expected: BucketTail,
    ) -> Answer {
        if let Some(reason) = self.connection.stopped() {
            return Err(AppendError::Unavailable(reason));
        }
        // The id includes the expected revision, because a bucket may contain the same foreign message twice.
        let identity = [&message.digest.0[..], &expected.revision.to_raw().to_be_bytes()].concat();
        let placeholder = Message {
            bucket,
            id: MessageId(codec::hash(&identity).0),
            expected: expected.revision,
            bytes: foreign::encode_placeholder(bucket.bucket, &message),
        };
        let _guard = self.locks.lock(bucket).await;
        let appended = |sequence: u64, duplicate| AppendOutcome::Appended {
            position: Position {
                partition: bucket.partition,
                sequence: Sequence(sequence),
            },
            revision: Revision::from_raw(sequence),
            hash: expected.hash,
            duplicate,
        };
        match self.publish(placeholder).await {
            Published::Written(sequence) => Ok(appended(sequence, false)),
            Published::Known(sequence) => Ok(appended(sequence, true)),
            Published::WrongRevision => {
                let next = self.reader.next_of(bucket, expected.revision).await?;
                let foreign = next.filter(|next| next.foreign.as_ref().is_some_and(|it| it.digest == message.digest));
                match foreign {
                    Some(existing) => Ok(appended(existing.position.sequence.0, true)),
                    None => {
                        let last = self.reader.last_of(bucket).await?;
                        let current = last.map_or(Revision::EMPTY, |last| last.commit.revision);
                        Ok(AppendOutcome::WrongExpectedVersion { current })
                    }
                }
            }
            Published::Refused(reason) => Err(AppendError::Unavailable(reason)),
            // The copy repeats the append.
            Published::NotNow(_) | Published::InFlight(_) | Published::Unanswered | Published::Unknown(_) => {
                tokio::time::sleep(LONGEST_PAUSE).await;
                Ok(AppendOutcome::Unknown)
            }
        }
    }

    /// Many appends: those to one bucket in order, different buckets concurrently.
    pub(crate) async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = appends.iter().map(|_| None).collect();
        let mut buckets: BTreeMap<BucketId, Vec<(usize, NewCommit, BucketTail)>> = BTreeMap::new();
        for (index, (commit, expected)) in appends.into_iter().enumerate() {
            let bucket = self.connection.layout().bucket_of(&commit.stream);
            buckets.entry(bucket).or_default().push((index, commit, expected));
        }
        let chains = buckets.into_values().map(|chain| async move {
            let mut answered = Vec::with_capacity(chain.len());
            for (index, commit, expected) in chain {
                answered.push((index, self.append(commit, expected).await));
            }
            answered
        });
        for (index, answer) in join_all(chains).await.into_iter().flatten() {
            answers[index] = Some(answer);
        }
        answers
            .into_iter()
            .map(|answer| answer.expect("every append is in one chain"))
            .collect()
    }

    async fn publish(&self, message: Message) -> Published {
        publish(self.connection.client(), &self.probes, message).await
    }

    async fn settle_conflict(&self, bucket: BucketId, commit: &NewCommit, expected: BucketTail) -> Answer {
        let layout = self.connection.layout();
        settle_conflict(&self.reader, layout, bucket, commit, expected).await
    }
}
