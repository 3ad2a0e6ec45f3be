//! Subscriptions to the whole log: one reader for each partition, merged.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_event_store::{
    LogPosition, ReadError, Sequence, Subscription, SubscriptionBatch, SubscriptionError, SubscriptionSource,
};
use futures::future::try_join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::commit_reader::CommitReader;
use crate::connection::LogConnection;
use crate::partition_reader::{CHUNK, FromReader, PartitionReader};
use crate::probes::Probes;

/// Chunks between the readers and the subscriber: at most about 16,000 commits.
const QUEUE_CHUNKS: usize = 16;
/// Partitions that read history concurrently: one's answer is in transit while another's is folded.
const CONCURRENT_HISTORY: usize = 4;
/// Pause before the heads are requested again after a failure.
const PAUSE: Duration = Duration::from_millis(250);

/// Starts subscriptions to one log.
pub(crate) struct Subscriptions {
    connection: Arc<LogConnection>,
    commits: Arc<CommitReader>,
    probes: Arc<Probes>,
}

impl Subscriptions {
    pub(crate) fn new(connection: Arc<LogConnection>, commits: Arc<CommitReader>, probes: Arc<Probes>) -> Self {
        Self {
            connection,
            commits,
            probes,
        }
    }

    /// Starts a subscription from the exclusive position `from`.
    pub(crate) async fn start(&self, from: LogPosition) -> Result<Subscription, SubscriptionError> {
        if let Some(reason) = self.connection.stopped() {
            return Err(ReadError::Unavailable(reason).into());
        }
        let expected = self.connection.layout().partitions();
        if from.partitions() != usize::from(expected) {
            return Err(SubscriptionError::Layout {
                expected,
                found: from.partitions(),
            });
        }
        let heads = self.heads_past(&from).await?;
        let (sender, receiver) = mpsc::channel(QUEUE_CHUNKS);
        let history = Arc::new(Semaphore::new(CONCURRENT_HISTORY));
        let mut readers = JoinSet::new();
        for (partition, last) in from.iter() {
            let reader = PartitionReader {
                connection: Arc::clone(&self.connection),
                commits: Arc::clone(&self.commits),
                probes: Arc::clone(&self.probes),
                partition,
                last,
                sender: sender.clone(),
                history: Arc::clone(&history),
                verified_in: 0,
            };
            readers.spawn(reader.run());
        }
        let merged = Merged {
            commits: Arc::clone(&self.commits),
            position: from.clone(),
            target: heads,
            target_is_recent: false,
            live: false,
            heads_request: JoinSet::new(),
            receiver,
            _readers: readers,
        };
        Ok(Subscription::new(from, Box::new(merged)))
    }

    /// The heads; an error if one of them is before `from`.
    async fn heads_past(&self, from: &LogPosition) -> Result<LogPosition, SubscriptionError> {
        let requests = from.iter().map(|(partition, seen)| async move {
            let extent = self.connection.extent_past(partition, seen).await;
            extent
                .map(|extent| extent.last)
                .map_err(|error| error.into_subscription_error(partition))
        });
        let heads: Vec<Sequence> = try_join_all(requests).await?;
        Ok(LogPosition::from_sequences(heads))
    }
}

/// Requests the heads until every leader answers. A leader that does not answer is no reason to end the subscription,
/// because the readers retry as well.
async fn heads(commits: Arc<CommitReader>) -> Result<LogPosition, ReadError> {
    loop {
        match commits.heads().await {
            Err(ReadError::Unavailable(_)) => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

struct Merged {
    commits: Arc<CommitReader>,
    /// The end of what was delivered.
    position: LogPosition,
    /// The last known heads, up to which history is read.
    target: LogPosition,
    /// The position was close to the target when the target was read, so reaching the target means that it is caught
    /// up.
    target_is_recent: bool,
    live: bool,
    /// The request for the heads, if one is in flight; commits are delivered meanwhile.
    heads_request: JoinSet<Result<LogPosition, ReadError>>,
    receiver: mpsc::Receiver<FromReader>,
    /// Aborted when the subscription is dropped.
    _readers: JoinSet<()>,
}

impl Merged {
    /// Whether the subscription has just caught up. Requests the heads once the known ones are reached.
    fn catches_up(&mut self) -> bool {
        if self.live || !self.position.reaches(&self.target) {
            return false;
        }
        if self.target_is_recent {
            self.live = true;
            return true;
        }
        if self.heads_request.is_empty() {
            self.heads_request.spawn(heads(Arc::clone(&self.commits)));
        }
        false
    }

    fn set_target(&mut self, heads: LogPosition) {
        let missing = |(partition, head): (_, Sequence)| head.0.saturating_sub(self.position.sequence(partition).0);
        self.target_is_recent = heads.iter().map(missing).sum::<u64>() <= CHUNK as u64;
        self.target = heads;
    }

    /// Discards the known heads; returns whether the subscription was live.
    fn invalidate_target(&mut self) -> bool {
        self.target_is_recent = false;
        self.heads_request = JoinSet::new();
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
            let message = tokio::select! {
                message = self.receiver.recv() => message,
                Some(heads) = self.heads_request.join_next() => {
                    // The task is never cancelled except with the runtime.
                    self.set_target(heads.map_err(|_| ReadError::Closed)??);
                    continue;
                }
            };
            match message {
                Some(FromReader::Commits(commits)) => {
                    for commit in &commits {
                        self.position.set(commit.position.partition, commit.position.sequence);
                    }
                    return Ok(SubscriptionBatch::Commits(commits));
                }
                // The subscription has caught up again only after every leader was asked again.
                Some(FromReader::Restarting) => {
                    if self.invalidate_target() {
                        return Ok(SubscriptionBatch::FellBehind(self.position.clone()));
                    }
                }
                Some(FromReader::Failed(error)) => return Err(error),
                None => return Err(ReadError::Closed.into()),
            }
        }
    }
}
