//! Appends: the turn at the bucket, the hash, the publish, and what its answer means to the caller.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, CommitHash, ForeignMessage, MessageId, NewCommit, Position,
    RecordedCommit, Revision, Sequence, codec, foreign, heartbeat,
};
use futures::future::join_all;

use crate::group::{Message, Permit};
use crate::log_client::LogClient;
use crate::publish::{Published, publish};
use citycode_jetstream::api::{API_TIMEOUT, ATTEMPT};

/// First pause after "not now"; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// An election takes seconds: looking four times a second is soon enough and no burden.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

type Answer = Result<AppendOutcome, AppendError>;

impl LogClient {
    /// See [`citycode_event_store::EventStore::append_at`].
    pub(crate) async fn append(&self, commit: NewCommit, expected: BucketTail) -> Answer {
        if let Some(reason) = self.stopped() {
            return Err(AppendError::Unavailable(reason));
        }
        self.manifest.layout.check(&commit.stream)?;
        let (bytes, hash) = codec::encode(&commit, &expected.hash)?;
        let bucket = self.manifest.layout.bucket_of(&commit.stream);
        let _turn = self.locks.turn(bucket).await;
        let _room = self.in_flight.acquire().await.map_err(|_| AppendError::Closed)?;
        self.reverify(bucket.partition)
            .await
            .map_err(|error| AppendError::Unavailable(error.to_string()))?;
        // A declaration stands after foreign messages, of which the last one that was seen may be a copy of a commit: only
        // the whole bucket tells which commit it is to follow.
        let possible = if foreign::is_declarations(&commit.stream) {
            self.bucket_tail(bucket).await? == expected
        } else {
            self.is_possible(bucket, expected).await?
                || (heartbeat::is_heartbeat(&commit.stream) && self.bucket_tail(bucket).await? == expected)
        };
        if !possible {
            return self.settle_conflict(bucket, &commit, expected).await;
        }
        self.publish_until_answered(bucket, &commit, expected, bytes, hash)
            .await
    }

    /// Whether the bucket ever had this tail, as far as can be known without asking where it ends now. The server
    /// compares revisions only; a hash that is not that revision's would break the chain.
    async fn is_possible(&self, bucket: BucketId, expected: BucketTail) -> Result<bool, AppendError> {
        if expected.revision == Revision::EMPTY || expected.hash == CommitHash::NONE {
            return Ok(expected == BucketTail::EMPTY);
        }
        let seen = self.tails.get(bucket);
        if seen.revision >= expected.revision {
            return Ok(seen == expected);
        }
        let position = Position {
            partition: bucket.partition,
            sequence: Sequence(expected.revision.to_raw()),
        };
        let there = self.read_at(position).await?;
        let is_tail =
            |there: RecordedCommit| there.bucket == bucket && there.foreign.is_none() && there.hash == expected.hash;
        Ok(there.is_some_and(is_tail))
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
        let seen = self.seen(bucket.partition);
        let message = Message {
            bucket,
            id: commit.message_id,
            expected: expected.revision,
            bytes: bytes.clone(),
        };
        let (_place, mut unanswered) = match self.groups.turn(message).await {
            Permit::Written(sequence) => return Ok(self.written(bucket, sequence, seen, expected, hash)),
            Permit::Alone { place, unanswered } => (place, unanswered),
        };
        loop {
            let seen = self.seen(bucket.partition);
            match publish(self, bucket, &commit.message_id, expected.revision, bytes.clone()).await {
                Published::Written(sequence) => {
                    return Ok(self.written(bucket, Sequence(sequence), seen, expected, hash));
                }
                Published::Known(sequence) => return self.settle_known(bucket, commit, Sequence(sequence)).await,
                Published::WrongRevision => return self.settle_conflict(bucket, commit, expected).await,
                // Nothing is decided anew: the same bytes with the same expectation again. What an earlier attempt that
                // is under way comes to, whoever made it, the repeat will tell.
                answer @ (Published::NotNow(_) | Published::InFlight(_)) if waited < API_TIMEOUT => {
                    unanswered |= matches!(answer, Published::InFlight(_));
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                // The machine that had the question may be gone; what became of it the repeat will tell.
                Published::Unanswered if waited < API_TIMEOUT => {
                    waited += ATTEMPT;
                    unanswered = true;
                }
                Published::Unanswered => {
                    tracing::warn!(%bucket, "what became of an append is not known");
                    return Ok(AppendOutcome::Unknown);
                }
                // This attempt was not taken; an earlier one that nobody answered may have been.
                Published::NotNow(reason) | Published::Refused(reason) if unanswered => {
                    tracing::warn!(%bucket, reason, "what became of an append is not known");
                    return Ok(AppendOutcome::Unknown);
                }
                Published::NotNow(reason) | Published::Refused(reason) => {
                    return Err(AppendError::Unavailable(reason));
                }
                Published::InFlight(reason) | Published::Unknown(reason) => {
                    tracing::warn!(%bucket, reason, "what became of an append is not known");
                    return Ok(AppendOutcome::Unknown);
                }
            }
        }
    }

    /// The answer to a commit that was acknowledged as new. A sequence that was taken before means that the log is
    /// not the one that was known; then the commit stands in another log, and nobody may count on it.
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
            self.stop(format!(
                "partition {partition} gave sequence {sequence} again; {seen} was seen before"
            ));
            return AppendOutcome::Unknown;
        }
        let (position, revision) = (Position { partition, sequence }, Revision::from_raw(sequence.0));
        self.see(position);
        self.tails.see(bucket, BucketTail { revision, hash });
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
        if let Some(reason) = self.stopped() {
            return Err(AppendError::Unavailable(reason));
        }
        let bytes = foreign::encode_placeholder(bucket.bucket, &message);
        // Of its place too: the same foreign message may stand there twice.
        let place = [&message.digest.0[..], &expected.revision.to_raw().to_be_bytes()].concat();
        let id = MessageId(codec::hash(&place).0);
        let _turn = self.locks.turn(bucket).await;
        let at = |sequence: u64, duplicate| AppendOutcome::Appended {
            position: Position {
                partition: bucket.partition,
                sequence: Sequence(sequence),
            },
            revision: Revision::from_raw(sequence),
            hash: expected.hash,
            duplicate,
        };
        match publish(self, bucket, &id, expected.revision, bytes).await {
            Published::Written(sequence) => Ok(at(sequence, false)),
            Published::Known(sequence) => Ok(at(sequence, true)),
            Published::WrongRevision => {
                let next = self.next_of(bucket, expected.revision).await?;
                let foreign = next.filter(|next| next.foreign.as_ref().is_some_and(|it| it.digest == message.digest));
                match foreign {
                    Some(stands) => Ok(at(stands.position.sequence.0, true)),
                    None => {
                        let last = self.last_of(bucket).await?;
                        let current = last.map_or(Revision::EMPTY, |last| last.commit.revision);
                        Ok(AppendOutcome::WrongExpectedVersion { current })
                    }
                }
            }
            Published::Refused(reason) => Err(AppendError::Unavailable(reason)),
            // Whoever copies repeats it.
            Published::NotNow(_) | Published::InFlight(_) | Published::Unanswered | Published::Unknown(_) => {
                tokio::time::sleep(LONGEST_PAUSE).await;
                Ok(AppendOutcome::Unknown)
            }
        }
    }

    /// Many appends: those to one bucket in their order, buckets beside each other.
    pub(crate) async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = appends.iter().map(|_| None).collect();
        let mut buckets: BTreeMap<BucketId, Vec<(usize, NewCommit, BucketTail)>> = BTreeMap::new();
        for (index, (commit, expected)) in appends.into_iter().enumerate() {
            let bucket = self.manifest.layout.bucket_of(&commit.stream);
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
            .map(|answer| answer.expect("every append stands in one chain"))
            .collect()
    }
}
