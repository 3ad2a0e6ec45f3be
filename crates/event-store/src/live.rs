//! The subscription of in-process engines: it reads history in ranges, then receives the live tail that the engine
//! broadcasts. There is no polling: a live subscriber sleeps until a batch of commits is durable.

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

/// Commits of one range read: large enough that the cost of starting a read is negligible, and small enough (about 2 MB
/// of ordinary commits) that the chunks in memory do not matter.
const CHUNK_COMMITS: u64 = 4_096;

/// Concurrent range reads: decoding is most of the work of a replay, and a second core halves its time.
const PARALLEL_CHUNKS: usize = 3;

/// Batches that a live subscriber may lag behind before it must read history again.
pub const LIVE_BATCHES: usize = 1_024;

/// Commits that became durable together, in order within each partition.
pub type LiveBatch = Arc<Vec<Arc<RecordedCommit>>>;

/// The engine's side of a subscription.
pub trait History: Send + Sync + 'static {
    /// The last durable sequence of every partition.
    fn heads(&self) -> Result<LogPosition, ReadError>;

    /// The commits of `partition` after `after`, up to and including `up_to`, which is not above a head that
    /// [`History::heads`] returned. Blocks its thread.
    fn read_range(
        &self,
        partition: Partition,
        after: Sequence,
        up_to: Sequence,
    ) -> Result<Vec<Arc<RecordedCommit>>, ReadError>;

    /// A receiver of every batch that becomes durable from now on. A batch must be visible to [`History::heads`] before
    /// the engine broadcasts it.
    fn live(&self) -> Result<broadcast::Receiver<LiveBatch>, ReadError>;
}

/// Starts a subscription from the exclusive position `from`. Must be called within a Tokio runtime.
pub fn subscribe(history: Arc<dyn History>, from: LogPosition) -> Result<Subscription, SubscriptionError> {
    // The receiver is created before the heads are read: a batch that becomes durable in between is delivered twice,
    // which the subscription removes, but is never missed.
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
        damage: None,
    };
    Ok(Subscription::new(from, Box::new(tail)))
}

enum Phase {
    History,
    Live,
}

struct Tail {
    history: Arc<dyn History>,
    /// The end of what was delivered.
    position: LogPosition,
    /// The end of the range reads that were started.
    started: LogPosition,
    /// The end of history in this pass.
    target: LogPosition,
    receiver: broadcast::Receiver<LiveBatch>,
    phase: Phase,
    /// Range reads in progress, in the order of delivery.
    chunks: VecDeque<JoinHandle<Result<Chunk, ReadError>>>,
    /// The damage after what was delivered last.
    damage: Option<ReadError>,
}

/// Commits, and the damage that follows them, if any. What precedes the damage is delivered: a reader that only inspects
/// the log must not miss it.
type Chunk = (Vec<Arc<RecordedCommit>>, Option<ReadError>);

/// Reads the commits of a partition after a sequence and up to another.
fn read_chunk(
    history: &dyn History,
    partition: Partition,
    (after, up_to): (Sequence, Sequence),
) -> Result<Chunk, ReadError> {
    let commits = match history.read_range(partition, after, up_to) {
        Err(ReadError::Damaged { position, reason }) if position.sequence > after.next() => {
            let before = Sequence(position.sequence.0 - 1);
            let (commits, earlier) = read_chunk(history, partition, (after, before))?;
            let damage = earlier.unwrap_or(ReadError::Damaged { position, reason });
            return Ok((commits, Some(damage)));
        }
        commits => commits?,
    };
    let last = commits.last().map_or(after, |last| last.position.sequence);
    let damage = (last != up_to).then(|| ReadError::Damaged {
        position: Position {
            partition,
            sequence: last.next(),
        },
        reason: "the commit is missing".into(),
    });
    Ok((commits, damage))
}

impl Tail {
    /// Starts the next range reads, from the first partition that is behind its target. Sequences have no gaps, so the
    /// end of a range is known before it is read, and a short result means that the log is damaged.
    fn start_chunks(&mut self) {
        while self.chunks.len() < PARALLEL_CHUNKS {
            let behind = self
                .target
                .iter()
                .find(|(partition, target)| self.started.sequence(*partition) < *target);
            let Some((partition, target)) = behind else {
                return;
            };
            let after = self.started.sequence(partition);
            let up_to = target.min(Sequence(after.0.saturating_add(CHUNK_COMMITS)));
            self.started.set(partition, up_to);
            let history = Arc::clone(&self.history);
            self.chunks.push_back(tokio::task::spawn_blocking(move || {
                read_chunk(&*history, partition, (after, up_to))
            }));
        }
    }

    fn advance(&mut self, commits: &[Arc<RecordedCommit>]) {
        for commit in commits {
            self.position.set(commit.position.partition, commit.position.sequence);
        }
    }

    /// The next chunk of history, or `None` once the target is reached.
    async fn next_chunk(&mut self) -> Result<Option<Vec<Arc<RecordedCommit>>>, SubscriptionError> {
        self.start_chunks();
        let Some(chunk) = self.chunks.front_mut() else {
            return Ok(None);
        };
        let read = chunk.await;
        self.chunks.pop_front();
        let (commits, damage) = read.map_err(|_| ReadError::Closed)??;
        self.damage = damage;
        match commits.last() {
            Some(last) => self.position.set(last.position.partition, last.position.sequence),
            None => self.damage.take().map_or(Ok(()), Err)?,
        }
        self.start_chunks();
        Ok(Some(commits))
    }

    /// Sets the target to the newest heads; returns whether they are past the delivered position.
    fn refresh_target(&mut self) -> Result<bool, SubscriptionError> {
        self.receiver = self.history.live()?;
        self.target = self.history.heads()?;
        self.started = self.position.clone();
        Ok(!self.position.reaches(&self.target))
    }
}

#[async_trait]
impl SubscriptionSource for Tail {
    async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError> {
        if let Some(damage) = self.damage.take() {
            return Err(damage.into());
        }
        loop {
            match self.phase {
                Phase::History => {
                    if let Some(commits) = self.next_chunk().await? {
                        return Ok(SubscriptionBatch::Commits(commits));
                    }
                    if !self.refresh_target()? {
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
                        self.refresh_target()?;
                        self.phase = Phase::History;
                        return Ok(SubscriptionBatch::FellBehind(self.position.clone()));
                    }
                    Err(RecvError::Closed) => return Err(ReadError::Closed.into()),
                },
            }
        }
    }
}
