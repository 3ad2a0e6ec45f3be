//! A subscription to the whole log: one reader a partition, merged.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_event_store::{
    LogPosition, ReadError, Subscription, SubscriptionBatch, SubscriptionError, SubscriptionSource,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::log_client::LogClient;
use crate::reader::{FromReader, PartitionReader};

/// Chunks between the readers and the subscriber: some 16,000 commits at most.
const QUEUE_CHUNKS: usize = 16;
/// Partitions that read history at once: while one's answer is on its way another's is folded.
const HISTORY_AT_ONCE: usize = 4;
/// Before the heads are asked for again when nobody answered.
const PAUSE: Duration = Duration::from_millis(250);

/// Starts a subscription from the exclusive position `from`.
pub(crate) async fn subscribe(log: &Arc<LogClient>, from: LogPosition) -> Result<Subscription, SubscriptionError> {
    if let Some(reason) = log.stopped() {
        return Err(ReadError::Unavailable(reason).into());
    }
    let expected = log.manifest.layout.partitions();
    if from.partitions() != usize::from(expected) {
        return Err(SubscriptionError::Layout {
            expected,
            found: from.partitions(),
        });
    }
    let heads = log.heads().await?;
    for (partition, seen) in from.iter() {
        let head = heads.sequence(partition);
        if head < seen {
            return Err(SubscriptionError::WentBack { partition, head, seen });
        }
    }
    let (sender, receiver) = mpsc::channel(QUEUE_CHUNKS);
    let history = Arc::new(Semaphore::new(HISTORY_AT_ONCE));
    let mut readers = JoinSet::new();
    for (partition, last) in from.iter() {
        let reader = PartitionReader {
            log: Arc::clone(log),
            partition,
            last,
            sender: sender.clone(),
            history: Arc::clone(&history),
            verified_on: 0,
        };
        readers.spawn(reader.run());
    }
    let merged = Merged {
        log: Arc::clone(log),
        position: from.clone(),
        target: heads,
        live: false,
        receiver,
        _readers: readers,
    };
    Ok(Subscription::new(from, Box::new(merged)))
}

struct Merged {
    log: Arc<LogClient>,
    /// Delivered up to here.
    position: LogPosition,
    /// The heads that were last seen; history reaches so far.
    target: LogPosition,
    live: bool,
    receiver: mpsc::Receiver<FromReader>,
    /// Ended when the subscription is dropped.
    _readers: JoinSet<()>,
}

impl Merged {
    /// Whether what was delivered is the head. Nobody answering is no reason to end: the readers try on as well.
    async fn is_at_head(&mut self) -> Result<bool, SubscriptionError> {
        match self.log.heads().await {
            Ok(heads) => {
                self.target = heads;
                Ok(self.position.reaches(&self.target))
            }
            Err(ReadError::Unavailable(_)) => {
                tokio::time::sleep(PAUSE).await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl SubscriptionSource for Merged {
    async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError> {
        loop {
            if !self.live && self.position.reaches(&self.target) {
                if self.is_at_head().await? {
                    self.live = true;
                    return Ok(SubscriptionBatch::CaughtUp(self.position.clone()));
                }
                if self.position.reaches(&self.target) {
                    continue;
                }
            }
            match self.receiver.recv().await {
                Some(FromReader::Commits(commits)) => {
                    for commit in &commits {
                        self.position.set(commit.position.partition, commit.position.sequence);
                    }
                    return Ok(SubscriptionBatch::Commits(commits));
                }
                Some(FromReader::Doubt) if self.live => {
                    // Caught up again only once every leader was asked anew.
                    self.live = false;
                    return Ok(SubscriptionBatch::FellBehind(self.position.clone()));
                }
                Some(FromReader::Doubt) => {}
                Some(FromReader::Failed(error)) => return Err(error),
                None => return Err(ReadError::Closed.into()),
            }
        }
    }
}
