//! A subscription to the whole log, which verifies that no sequence is missing.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{LogPosition, Partition, ReadError, RecordedCommit, Sequence};

/// One message of a subscription, with one commit at a time.
#[derive(Debug, Clone)]
pub enum SubscriptionMessage {
    /// The next commit of its partition.
    EventAppeared(Arc<RecordedCommit>),
    /// Everything up to this position was delivered, and it was the head a moment ago; the following commits are live.
    CaughtUp(LogPosition),
    /// The subscriber was too slow for the live tail: the following commits are read from history until it has caught
    /// up.
    FellBehind(LogPosition),
}

/// One message of a subscription, with many commits at once.
#[derive(Debug, Clone)]
pub enum SubscriptionBatch {
    /// At least one commit; in order within each partition.
    Commits(Vec<Arc<RecordedCommit>>),
    /// As [`SubscriptionMessage::CaughtUp`].
    CaughtUp(LogPosition),
    /// As [`SubscriptionMessage::FellBehind`].
    FellBehind(LogPosition),
}

/// Why a subscription ended or could not start. Continuing to read resolves none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// A commit is missing: the log is damaged, or its delivery is faulty.
    #[error("GAP in partition {partition}: expected sequence {expected}, found {found}; stop and find out why")]
    Gap {
        /// The partition with the gap.
        partition: Partition,
        /// The next sequence.
        expected: Sequence,
        /// The sequence that was delivered instead.
        found: Sequence,
    },
    /// The log ends before a commit that the subscriber has already seen: it was rolled back, or it is another log.
    #[error("the log WENT BACK in partition {partition}: it ends at {head}, but {seen} was seen before")]
    WentBack {
        /// The partition.
        partition: Partition,
        /// The partition's head.
        head: Sequence,
        /// The last sequence that the subscriber has seen.
        seen: Sequence,
    },
    /// The position and the log have different numbers of partitions.
    #[error("the position has {found} partitions, the log {expected}")]
    Layout {
        /// The log's number of partitions.
        expected: u16,
        /// The position's number of partitions.
        found: usize,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What an engine implements to deliver a subscription.
#[async_trait]
pub trait SubscriptionSource: Send {
    /// The next message. Must be cancel-safe: dropping the future loses no message.
    async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError>;
}

/// A running subscription; drop it to end it. It verifies independently of the engine that no sequence is missing, and
/// removes duplicate deliveries.
pub struct Subscription {
    source: Box<dyn SubscriptionSource>,
    position: LogPosition,
    pending: VecDeque<Arc<RecordedCommit>>,
}

impl Subscription {
    /// A subscription from the exclusive position `from`, for engines.
    pub fn new(from: LogPosition, source: Box<dyn SubscriptionSource>) -> Self {
        Self {
            source,
            position: from,
            pending: VecDeque::new(),
        }
    }

    /// The position up to which messages were taken from the source.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }

    /// The next message, one commit at a time. Cancel-safe.
    pub async fn next(&mut self) -> Result<SubscriptionMessage, SubscriptionError> {
        loop {
            if let Some(commit) = self.pending.pop_front() {
                return Ok(SubscriptionMessage::EventAppeared(commit));
            }
            match self.take_batch().await? {
                SubscriptionBatch::Commits(commits) => self.pending = commits.into(),
                SubscriptionBatch::CaughtUp(position) => {
                    return Ok(SubscriptionMessage::CaughtUp(position));
                }
                SubscriptionBatch::FellBehind(position) => {
                    return Ok(SubscriptionMessage::FellBehind(position));
                }
            }
        }
    }

    /// The next message, with all commits that the engine has ready. Cancel-safe; may be mixed with
    /// [`Subscription::next`].
    pub async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError> {
        if !self.pending.is_empty() {
            return Ok(SubscriptionBatch::Commits(std::mem::take(&mut self.pending).into()));
        }
        self.take_batch().await
    }

    /// Takes batches until one contains a new commit, and checks the sequences.
    async fn take_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError> {
        loop {
            match self.source.next_batch().await? {
                SubscriptionBatch::Commits(mut commits) => {
                    self.admit(&mut commits)?;
                    if !commits.is_empty() {
                        return Ok(SubscriptionBatch::Commits(commits));
                    }
                }
                other => return Ok(other),
            }
        }
    }

    /// Advances the position past `commits`, drops duplicates and refuses a gap.
    fn admit(&mut self, commits: &mut Vec<Arc<RecordedCommit>>) -> Result<(), SubscriptionError> {
        let mut gap = None;
        commits.retain(|commit| {
            let place = commit.position;
            let expected = self.position.sequence(place.partition).next();
            if place.sequence > expected && gap.is_none() {
                let (partition, found) = (place.partition, place.sequence);
                gap = Some(SubscriptionError::Gap {
                    partition,
                    expected,
                    found,
                });
            }
            let is_next = place.sequence == expected && gap.is_none();
            if is_next {
                self.position.set(place.partition, place.sequence);
            }
            is_next
        });
        gap.map_or(Ok(()), Err)
    }
}
