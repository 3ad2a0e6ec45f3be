//! A subscription to the whole log.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{LogPosition, Partition, ReadError, RecordedCommit, Sequence};

/// One message of a subscription, commit by commit.
#[derive(Debug, Clone)]
pub enum SubscriptionMessage {
    /// The next commit of its partition.
    EventAppeared(Arc<RecordedCommit>),
    /// Everything up to here was delivered, and it was the head a moment ago; what follows is live.
    CaughtUp(LogPosition),
    /// The subscriber was too slow for the live tail: what follows comes out of history, until it caught up again.
    FellBehind(LogPosition),
}

/// One message of a subscription, many commits at once.
#[derive(Debug, Clone)]
pub enum SubscriptionBatch {
    /// At least one commit; in order within each partition.
    Commits(Vec<Arc<RecordedCommit>>),
    /// As [`SubscriptionMessage::CaughtUp`].
    CaughtUp(LogPosition),
    /// As [`SubscriptionMessage::FellBehind`].
    FellBehind(LogPosition),
}

/// Why a subscription ended or could not begin. None of them heals by reading on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// A commit is missing: the log or the way to it is damaged.
    #[error("GAP in partition {partition}: expected sequence {expected}, found {found}; stop and find out why")]
    Gap {
        /// Where.
        partition: Partition,
        /// The sequence that had to come.
        expected: Sequence,
        /// The one that came.
        found: Sequence,
    },
    /// The log ends before what the subscriber has seen already: it went back, or is another one.
    #[error("the log WENT BACK in partition {partition}: it ends at {head}, but {seen} was seen before")]
    WentBack {
        /// Where.
        partition: Partition,
        /// Where the log ends.
        head: Sequence,
        /// What was seen.
        seen: Sequence,
    },
    /// The position is of another number of partitions than the log.
    #[error("the position has {found} partitions, the log {expected}")]
    Layout {
        /// Of the log.
        expected: u16,
        /// Of the position.
        found: usize,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What an engine implements to deliver a subscription.
#[async_trait]
pub trait SubscriptionSource: Send {
    /// The next message. Must be cancel-safe: a dropped future loses nothing.
    async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError>;
}

/// A running subscription; dropping it ends it. It checks that no sequence is missing, whatever the engine does,
/// and leaves out what an engine delivers twice.
pub struct Subscription {
    source: Box<dyn SubscriptionSource>,
    position: LogPosition,
    pending: VecDeque<Arc<RecordedCommit>>,
}

impl Subscription {
    /// For engines: a subscription from the exclusive position `from`.
    pub fn new(from: LogPosition, source: Box<dyn SubscriptionSource>) -> Self {
        Self {
            source,
            position: from,
            pending: VecDeque::new(),
        }
    }

    /// Everything up to here was taken out of the source.
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

    /// The next message, as many commits as the engine has at hand. Cancel-safe; may be mixed with
    /// [`Subscription::next`].
    pub async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError> {
        if !self.pending.is_empty() {
            return Ok(SubscriptionBatch::Commits(std::mem::take(&mut self.pending).into()));
        }
        self.take_batch().await
    }

    /// Takes batches until one has something new in it, and checks the sequences.
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

    /// Moves the position over `commits`, refuses a gap, drops what came before.
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
