//! A subscription for engines that live in this process: history by range reads, then the live tail as the engine
//! pushes it. No polling: a live subscriber sleeps until a batch of commits is durable.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::{
    LogPosition, Partition, ReadError, RecordedCommit, Sequence, Subscription, SubscriptionBatch,
    SubscriptionError, SubscriptionSource,
};

/// Commits of one range read: large enough that the cost of starting a read vanishes, small enough (about 2 MB of
/// ordinary commits) that the two chunks in memory do not matter.
const CHUNK_COMMITS: usize = 4_096;

/// Batches that a live subscriber may be behind before it is sent back to history.
pub const LIVE_BATCHES: usize = 1_024;

/// Commits that became durable together, in order within each partition.
pub type LiveBatch = Arc<Vec<Arc<RecordedCommit>>>;

/// What a subscription needs of its engine.
pub trait History: Send + Sync + 'static {
    /// The last durable sequence of every partition.
    fn heads(&self) -> Result<LogPosition, ReadError>;

    /// The commits of `partition` after `after`, up to and with `up_to`, at most `limit`; blocks its thread.
    fn read_range(
        &self,
        partition: Partition,
        after: Sequence,
        up_to: Sequence,
        limit: usize,
    ) -> Result<Vec<Arc<RecordedCommit>>, ReadError>;

    /// A receiver of every batch that becomes durable from now on. A batch must be visible to [`History::heads`]
    /// before it is sent.
    fn live(&self) -> Result<broadcast::Receiver<LiveBatch>, ReadError>;
}

/// Starts a subscription from the exclusive position `from`. Must be called within a Tokio runtime.
pub fn subscribe(
    history: Arc<dyn History>,
    from: LogPosition,
) -> Result<Subscription, SubscriptionError> {
    // First the receiver, then the heads: what becomes durable between the two comes twice, never not at all.
    let receiver = history.live()?;
    let heads = history.heads()?;
    if heads.partitions() != from.partitions() {
        let expected =
            u16::try_from(heads.partitions()).expect("a layout has at most 256 partitions");
        return Err(SubscriptionError::Layout {
            expected,
            found: from.partitions(),
        });
    }
    for (partition, seen) in from.iter() {
        let head = heads.sequence(partition);
        if head < seen {
            return Err(SubscriptionError::WentBack {
                partition,
                head,
                seen,
            });
        }
    }
    let position = from.clone();
    let tail = Tail {
        history,
        position,
        target: heads,
        receiver,
        phase: Phase::History,
        chunk: None,
    };
    Ok(Subscription::new(from, Box::new(tail)))
}

enum Phase {
    History,
    Live,
}

struct Tail {
    history: Arc<dyn History>,
    /// Delivered up to here.
    position: LogPosition,
    /// Where history ends in this pass.
    target: LogPosition,
    receiver: broadcast::Receiver<LiveBatch>,
    phase: Phase,
    /// A range read under way, one ahead of what the subscriber works on.
    chunk: Option<JoinHandle<Result<Vec<Arc<RecordedCommit>>, ReadError>>>,
}

impl Tail {
    /// The next range that history still owes, from the first partition that is behind its target.
    fn start_chunk(&mut self) {
        let behind = self
            .target
            .iter()
            .find(|(partition, target)| self.position.sequence(*partition) < *target);
        self.chunk = behind.map(|(partition, up_to)| {
            let (history, after) = (Arc::clone(&self.history), self.position.sequence(partition));
            tokio::task::spawn_blocking(move || {
                history.read_range(partition, after, up_to, CHUNK_COMMITS)
            })
        });
    }

    fn advance(&mut self, commits: &[Arc<RecordedCommit>]) {
        for commit in commits {
            self.position
                .set(commit.position.partition, commit.position.sequence);
        }
    }

    /// A chunk of history, or nothing if history was delivered up to the target.
    async fn next_chunk(&mut self) -> Result<Option<Vec<Arc<RecordedCommit>>>, SubscriptionError> {
        if self.chunk.is_none() {
            self.start_chunk();
        }
        let Some(chunk) = &mut self.chunk else {
            return Ok(None);
        };
        let read = chunk.await;
        self.chunk = None;
        let commits = read.map_err(|_| ReadError::Closed)??;
        let owed = self
            .target
            .iter()
            .find(|(partition, target)| self.position.sequence(*partition) < *target);
        let Some(last) = commits.last() else {
            let (partition, _) = owed.expect("a chunk is only read while history owes one");
            let expected = self.position.sequence(partition).next();
            return Err(SubscriptionError::Gap {
                partition,
                expected,
                found: self.target.sequence(partition),
            });
        };
        self.position
            .set(last.position.partition, last.position.sequence);
        self.start_chunk();
        Ok(Some(commits))
    }

    /// Points history at the newest heads; whether that is further than what was delivered.
    fn look_again(&mut self) -> Result<bool, SubscriptionError> {
        self.receiver = self.history.live()?;
        self.target = self.history.heads()?;
        Ok(!self.position.reaches(&self.target))
    }
}

#[async_trait]
impl SubscriptionSource for Tail {
    async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError> {
        loop {
            match self.phase {
                Phase::History => {
                    if let Some(commits) = self.next_chunk().await? {
                        return Ok(SubscriptionBatch::Commits(commits));
                    }
                    if !self.look_again()? {
                        self.phase = Phase::Live;
                        return Ok(SubscriptionBatch::CaughtUp(self.position.clone()));
                    }
                }
                Phase::Live => match self.receiver.recv().await {
                    Ok(batch) => {
                        let is_new = |commit: &&Arc<RecordedCommit>| {
                            !self.position.includes(commit.position)
                        };
                        let commits: Vec<_> = batch.iter().filter(is_new).cloned().collect();
                        self.advance(&commits);
                        if !commits.is_empty() {
                            return Ok(SubscriptionBatch::Commits(commits));
                        }
                    }
                    Err(RecvError::Lagged(_)) => {
                        self.look_again()?;
                        self.phase = Phase::History;
                        return Ok(SubscriptionBatch::FellBehind(self.position.clone()));
                    }
                    Err(RecvError::Closed) => return Err(ReadError::Closed.into()),
                },
            }
        }
    }
}
