//! A wrapper of the log whose subscriptions read complete segments of history from elsewhere, because a log server
//! delivers history one commit at a time.
//!
//! A segment is a fixed range of a partition: segment `n` has the commits `n × length + 1` to `(n + 1) × length`. The
//! wrapper delivers segments while the source has them, and continues with the log's own subscription after the last
//! one. It does not trust the source further than the log: the subscription refuses gaps, a fold verifies the chains of
//! buckets as in any other commit, and the log's own subscription refuses a position past its head.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

use crate::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, ForeignMessage, Layout, LogId, LogPosition,
    NewCommit, Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Revision, Sequence,
    Subscription, SubscriptionBatch, SubscriptionError, SubscriptionSource,
};

/// Partitions whose segments are read concurrently: one is in transit while another is decoded.
const CONCURRENT_PARTITIONS: usize = 3;
/// Segments between the readers and the subscriber.
const QUEUED_SEGMENTS: usize = 2;
/// Pause before the log's own subscription is requested again.
const PAUSE: Duration = Duration::from_millis(250);

/// Verified segments of a log's history.
#[async_trait]
pub trait HistorySource: Send + Sync + 'static {
    /// The number of commits of each segment; at least 1.
    fn segment_length(&self) -> u64;

    /// All messages of a segment, in order and verified; `None` if the source does not have the segment or cannot read
    /// it, and then the log is read instead. The source reports a segment that it refuses.
    async fn segment(&self, partition: Partition, number: u64) -> Option<Vec<Arc<RecordedCommit>>>;
}

/// A log whose subscriptions read history from segments.
pub struct LogWithHistory {
    log: Arc<dyn EventStore>,
    history: Arc<dyn HistorySource>,
}

impl LogWithHistory {
    /// Wraps this log. `history` must contain segments of the same log.
    #[must_use]
    pub fn new(log: Arc<dyn EventStore>, history: Arc<dyn HistorySource>) -> Self {
        Self { log, history }
    }

    /// The complete segments of each partition that are not before `from`.
    fn complete_segments(&self, from: &LogPosition, heads: &LogPosition) -> Vec<(Partition, std::ops::Range<u64>)> {
        let length = self.history.segment_length();
        let heads = heads.iter().map(|(_, head)| head.0 / length);
        let ranges = from
            .iter()
            .zip(heads)
            .map(|((partition, seen), end)| (partition, seen.0 / length..end));
        ranges.filter(|(_, segments)| !segments.is_empty()).collect()
    }
}

/// Reads the segments of one partition, up to the first that the source does not have.
async fn read_partition(
    history: Arc<dyn HistorySource>,
    partition: Partition,
    segments: std::ops::Range<u64>,
    sender: mpsc::Sender<Vec<Arc<RecordedCommit>>>,
    permits: Arc<Semaphore>,
) {
    let Ok(_permit) = permits.acquire().await else {
        return;
    };
    for number in segments {
        let Some(commits) = history.segment(partition, number).await else {
            return;
        };
        if sender.send(commits).await.is_err() {
            return;
        }
    }
}

/// Segments first, then the log's own subscription.
struct HistoryThenLog {
    log: Arc<dyn EventStore>,
    position: LogPosition,
    receiver: mpsc::Receiver<Vec<Arc<RecordedCommit>>>,
    /// Aborted when the subscription is dropped.
    _readers: JoinSet<()>,
    tail: Option<Subscription>,
}

/// The log's own subscription. It is repeated while the log is unavailable, as the engines do for a running
/// subscription.
async fn subscribe_to_tail(log: &dyn EventStore, from: LogPosition) -> Result<Subscription, SubscriptionError> {
    loop {
        match log.subscribe_to_all(from.clone()).await {
            Err(SubscriptionError::Read(ReadError::Unavailable(_))) => tokio::time::sleep(PAUSE).await,
            subscribed => return subscribed,
        }
    }
}

#[async_trait]
impl SubscriptionSource for HistoryThenLog {
    async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError> {
        loop {
            if let Some(tail) = &mut self.tail {
                return tail.next_batch().await;
            }
            match self.receiver.recv().await {
                Some(commits) => {
                    for commit in &commits {
                        let Position { partition, sequence } = commit.position;
                        // The first segment may begin before the start of the subscription.
                        self.position
                            .set(partition, sequence.max(self.position.sequence(partition)));
                    }
                    return Ok(SubscriptionBatch::Commits(commits));
                }
                None => {
                    let log = Arc::clone(&self.log);
                    self.tail = Some(subscribe_to_tail(&*log, self.position.clone()).await?);
                }
            }
        }
    }
}

#[async_trait]
impl EventStore for LogWithHistory {
    async fn subscribe_to_all(&self, from: LogPosition) -> Result<Subscription, SubscriptionError> {
        let heads = self.log.heads().await?;
        let segments = if heads.partitions() == from.partitions() {
            self.complete_segments(&from, &heads)
        } else {
            Vec::new()
        };
        if segments.is_empty() {
            return self.log.subscribe_to_all(from).await;
        }
        let (sender, receiver) = mpsc::channel(QUEUED_SEGMENTS);
        let permits = Arc::new(Semaphore::new(CONCURRENT_PARTITIONS));
        let mut readers = JoinSet::new();
        for (partition, segments) in segments {
            let (history, sender, permits) = (Arc::clone(&self.history), sender.clone(), Arc::clone(&permits));
            readers.spawn(read_partition(history, partition, segments, sender, permits));
        }
        let source = HistoryThenLog {
            log: Arc::clone(&self.log),
            position: from.clone(),
            receiver,
            _readers: readers,
            tail: None,
        };
        Ok(Subscription::new(from, Box::new(source)))
    }

    fn log_id(&self) -> LogId {
        self.log.log_id()
    }

    fn parts_log_id(&self) -> LogId {
        self.log.parts_log_id()
    }

    fn layout(&self) -> Layout {
        self.log.layout()
    }

    fn minimum_reader(&self) -> ReaderVersion {
        self.log.minimum_reader()
    }

    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        self.log.raise_minimum_reader(to).await
    }

    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Result<AppendOutcome, AppendError> {
        self.log.append_at(commit, expected).await
    }

    async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Result<AppendOutcome, AppendError>> {
        self.log.append_many(appends).await
    }

    async fn append_foreign(
        &self,
        bucket: BucketId,
        message: ForeignMessage,
        expected: BucketTail,
    ) -> Result<AppendOutcome, AppendError> {
        self.log.append_foreign(bucket, message, expected).await
    }

    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        self.log.read_at(position).await
    }

    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        self.log.read_bucket(bucket, after).await
    }

    async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        self.log.bucket_tail(bucket).await
    }

    async fn heads(&self) -> Result<LogPosition, ReadError> {
        self.log.heads().await
    }

    async fn head(&self, partition: Partition) -> Result<Sequence, ReadError> {
        self.log.head(partition).await
    }

    async fn proved_heads(&self) -> Result<LogPosition, ReadError> {
        self.log.proved_heads().await
    }

    async fn prove_heads(&self, proved: UnboundedSender<Position>) -> Result<(), ReadError> {
        self.log.prove_heads(proved).await
    }
}

#[cfg(test)]
mod tests;
