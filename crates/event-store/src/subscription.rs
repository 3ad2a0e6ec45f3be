//! A subscription to the whole log, which verifies that no sequence is missing.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{LogPosition, Partition, Position, ReadError, RecordedCommit, Sequence};

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

/// A message that a subscription could not deliver because the log is damaged there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// The position of the damage.
    pub position: Position,
    /// The last sequence of the partition that is damaged or missing: a subscription from there on delivers the rest.
    pub last: Sequence,
    /// What is wrong; contains no content of the log.
    pub what: String,
}

impl SubscriptionError {
    /// The damaged or missing messages after which a reader that only inspects the log can continue. A fold must not: it
    /// would miss changes.
    ///
    /// # Errors
    /// The error itself, if it is not about single messages, or if it is about messages up to `position`, which were
    /// delivered.
    pub fn undelivered(self, position: &LogPosition) -> Result<Undelivered, Self> {
        let undelivered = match &self {
            Self::Read(ReadError::Damaged { position, reason }) => Undelivered {
                position: *position,
                last: position.sequence,
                what: reason.clone(),
            },
            Self::Gap {
                partition,
                expected,
                found,
            } => Undelivered {
                position: Position {
                    partition: *partition,
                    sequence: *expected,
                },
                last: Sequence(found.0 - 1),
                what: format!("the next message has the sequence {found}"),
            },
            _ => return Err(self),
        };
        // An engine that reports a place that was passed already would be asked forever.
        if undelivered.last <= position.sequence(undelivered.position.partition) {
            return Err(self);
        }
        Ok(undelivered)
    }
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
    /// The gap after the commits that were returned last.
    gap: Option<SubscriptionError>,
}

impl Subscription {
    /// A subscription from the exclusive position `from`, for engines.
    pub fn new(from: LogPosition, source: Box<dyn SubscriptionSource>) -> Self {
        Self {
            source,
            position: from,
            pending: VecDeque::new(),
            gap: None,
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
            if let Some(gap) = self.gap.take() {
                return Err(gap);
            }
            match self.source.next_batch().await? {
                SubscriptionBatch::Commits(mut commits) => {
                    // What precedes a gap is returned first.
                    self.gap = self.admit(&mut commits);
                    if !commits.is_empty() {
                        return Ok(SubscriptionBatch::Commits(commits));
                    }
                }
                other => return Ok(other),
            }
        }
    }

    /// Advances the position past `commits`, and drops duplicates. Commits after a gap are dropped too, and the gap is
    /// returned.
    fn admit(&mut self, commits: &mut Vec<Arc<RecordedCommit>>) -> Option<SubscriptionError> {
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
        gap
    }
}
