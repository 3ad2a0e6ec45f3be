//! A subscription to the whole log: one reader a partition, merged.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_event_store::{
    LogPosition, ReadError, Sequence, Subscription, SubscriptionBatch, SubscriptionError, SubscriptionSource,
};
use futures::future::try_join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::log_client::LogClient;
use crate::reader::{CHUNK, FromReader, PartitionReader};

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
    let heads = heads_past(log, &from).await?;
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
        near: false,
        live: false,
        asking: JoinSet::new(),
        receiver,
        _readers: readers,
    };
    Ok(Subscription::new(from, Box::new(merged)))
}

/// The heads, none of which is before `from`.
async fn heads_past(log: &LogClient, from: &LogPosition) -> Result<LogPosition, SubscriptionError> {
    let asked = from.iter().map(|(partition, seen)| async move {
        let extent = log.extent_past(partition, seen).await;
        extent
            .map(|extent| extent.last)
            .map_err(|error| error.into_subscription_error(partition))
    });
    let heads: Vec<Sequence> = try_join_all(asked).await?;
    Ok(LogPosition::from_sequences(heads))
}

/// The heads, asked for until every leader answers: that one does not is no reason to end, the readers try on as well.
async fn heads(log: Arc<LogClient>) -> Result<LogPosition, ReadError> {
    loop {
        match log.heads().await {
            Err(ReadError::Unavailable(_)) => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

struct Merged {
    log: Arc<LogClient>,
    /// Delivered up to here.
    position: LogPosition,
    /// The heads that were last seen; history reaches so far.
    target: LogPosition,
    /// They were asked for a moment before they are reached: what lies between is little.
    near: bool,
    live: bool,
    /// The question for the heads, while it is under way: what comes meanwhile is delivered.
    asking: JoinSet<Result<LogPosition, ReadError>>,
    receiver: mpsc::Receiver<FromReader>,
    /// Ended when the subscription is dropped.
    _readers: JoinSet<()>,
}

impl Merged {
    /// Whether it caught up just now; asks for the heads where it reached those that it knows.
    fn catches_up(&mut self) -> bool {
        if self.live || !self.position.reaches(&self.target) {
            return false;
        }
        if self.near {
            self.live = true;
            return true;
        }
        if self.asking.is_empty() {
            self.asking.spawn(heads(Arc::clone(&self.log)));
        }
        false
    }

    fn learn(&mut self, heads: LogPosition) {
        let missing = |(partition, head): (_, Sequence)| head.0.saturating_sub(self.position.sequence(partition).0);
        self.near = heads.iter().map(missing).sum::<u64>() <= CHUNK as u64;
        self.target = heads;
    }

    /// What it knew of the heads is nothing to go by; whether it was live.
    fn doubts(&mut self) -> bool {
        self.near = false;
        self.asking = JoinSet::new();
        std::mem::take(&mut self.live)
    }
}

#[async_trait]
impl SubscriptionSource for Merged {
    async fn next_batch(&mut self) -> Result<SubscriptionBatch, SubscriptionError> {
        loop {
            if self.catches_up() {
                return Ok(SubscriptionBatch::CaughtUp(self.position.clone()));
            }
            let told = tokio::select! {
                told = self.receiver.recv() => told,
                Some(heads) = self.asking.join_next() => {
                    // It ends by itself alone, or with the runtime.
                    self.learn(heads.map_err(|_| ReadError::Closed)??);
                    continue;
                }
            };
            match told {
                Some(FromReader::Commits(commits)) => {
                    for commit in &commits {
                        self.position.set(commit.position.partition, commit.position.sequence);
                    }
                    return Ok(SubscriptionBatch::Commits(commits));
                }
                // Caught up again only once every leader was asked anew.
                Some(FromReader::Doubt) => {
                    if self.doubts() {
                        return Ok(SubscriptionBatch::FellBehind(self.position.clone()));
                    }
                }
                Some(FromReader::Failed(error)) => return Err(error),
                None => return Err(ReadError::Closed.into()),
            }
        }
    }
}
