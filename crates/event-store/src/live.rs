//! A subscription for engines that live in this process: history by range reads, then the live tail as the engine
//! pushes it. No polling: a live subscriber sleeps until a batch of commits is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::{
    LogPosition, Partition, Position, ReadError, RecordedCommit, Sequence, Subscription, SubscriptionBatch,
    SubscriptionError, SubscriptionSource,
};

/// Commits of one range read: large enough that the cost of starting a read vanishes, small enough (about 2 MB of
/// ordinary commits) that the chunks in memory do not matter.
const CHUNK_COMMITS: u64 = 4_096;

/// Range reads under way at once: decoding is most of the work of a replay, and two cores halve it.
const PARALLEL_CHUNKS: usize = 3;

/// Batches that a live subscriber may be behind before it is sent back to history.
pub const LIVE_BATCHES: usize = 1_024;

/// Commits that became durable together, in order within each partition.
pub type LiveBatch = Arc<Vec<Arc<RecordedCommit>>>;

/// What a subscription needs of its engine.
pub trait History: Send + Sync + 'static {
    /// The last durable sequence of every partition.
    fn heads(&self) -> Result<LogPosition, ReadError>;

    /// The commits of `partition` after `after`, up to and with `up_to`, which is no higher than a head that
    /// [`History::heads`] gave; blocks its thread.
    fn read_range(
        &self,
        partition: Partition,
        after: Sequence,
        up_to: Sequence,
    ) -> Result<Vec<Arc<RecordedCommit>>, ReadError>;

    /// A receiver of every batch that becomes durable from now on. A batch must be visible to [`History::heads`]
    /// before it is sent.
    fn live(&self) -> Result<broadcast::Receiver<LiveBatch>, ReadError>;
}

/// Starts a subscription from the exclusive position `from`. Must be called within a Tokio runtime.
pub fn subscribe(history: Arc<dyn History>, from: LogPosition) -> Result<Subscription, SubscriptionError> {
    // First the receiver, then the heads: what becomes durable between the two comes twice, never not at all.
    let receiver = history.live()?;
    let heads = history.heads()?;
    if heads.partitions() != from.partitions() {
        let expected = u16::try_from(heads.partitions()).expect("a layout has at most 256 partitions");
        return Err(SubscriptionError::Layout {
            expected,
            found: from.partitions(),
        });
    }
    for (partition, seen) in from.iter() {
        let head = heads.sequence(partition);
        if head < seen {
            return Err(SubscriptionError::WentBack { partition, head, seen });
        }
    }
    let position = from.clone();
    let tail = Tail {
        history,
        started: position.clone(),
        position,
        target: heads,
        receiver,
        phase: Phase::History,
        chunks: VecDeque::new(),
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
    /// Range reads were started up to here.
    started: LogPosition,
    /// Where history ends in this pass.
    target: LogPosition,
    receiver: broadcast::Receiver<LiveBatch>,
    phase: Phase,
    /// Range reads under way, in the order in which they are delivered.
    chunks: VecDeque<JoinHandle<Result<Vec<Arc<RecordedCommit>>, ReadError>>>,
}

impl Tail {
    /// Starts the next ranges that history still owes, from the first partition that is behind its target.
    /// Sequences are gap-free, so the end of a range is known before it is read; a range that comes back short
    /// shows as a gap in front of the next commit, or as a head that is never reached.
    fn start_chunks(&mut self) {
        while self.chunks.len() < PARALLEL_CHUNKS {
            let owed = self
                .target
                .iter()
                .find(|(partition, target)| self.started.sequence(*partition) < *target);
            let Some((partition, target)) = owed else {
                return;
            };
            let after = self.started.sequence(partition);
            let up_to = target.min(Sequence(after.0.saturating_add(CHUNK_COMMITS)));
            self.started.set(partition, up_to);
            let history = Arc::clone(&self.history);
            self.chunks.push_back(tokio::task::spawn_blocking(move || {
                let commits = history.read_range(partition, after, up_to)?;
                match commits.last() {
                    Some(last) if last.position.sequence == up_to => Ok(commits),
                    _ => {
                        let position = Position {
                            partition,
                            sequence: up_to,
                        };
                        Err(ReadError::Damaged {
                            position,
                            reason: "commits before it are missing".into(),
                        })
                    }
                }
            }));
        }
    }

    fn advance(&mut self, commits: &[Arc<RecordedCommit>]) {
        for commit in commits {
            self.position.set(commit.position.partition, commit.position.sequence);
        }
    }

    /// A chunk of history, or nothing if history was delivered up to the target.
    async fn next_chunk(&mut self) -> Result<Option<Vec<Arc<RecordedCommit>>>, SubscriptionError> {
        self.start_chunks();
        let Some(chunk) = self.chunks.front_mut() else {
            return Ok(None);
        };
        let read = chunk.await;
        self.chunks.pop_front();
        let commits = read.map_err(|_| ReadError::Closed)??;
        if let Some(last) = commits.last() {
            self.position.set(last.position.partition, last.position.sequence);
        }
        self.start_chunks();
        Ok(Some(commits))
    }

    /// Points history at the newest heads; whether that is further than what was delivered.
    fn look_again(&mut self) -> Result<bool, SubscriptionError> {
        self.receiver = self.history.live()?;
        self.target = self.history.heads()?;
        self.started = self.position.clone();
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
                        let is_new = |commit: &&Arc<RecordedCommit>| !self.position.includes(commit.position);
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
