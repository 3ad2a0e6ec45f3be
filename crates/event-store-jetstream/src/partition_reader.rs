//! The reader of one partition: history in batches, then the live tail that the servers republish.
//!
//! A reader only sends requests and subscribes; it creates nothing on the servers. A client that may create a consumer
//! could have it deliver to any subject, even into the log (docs/decisions/0014). Therefore:
//! - **history** is read by direct gets of many commits at a time, from any server;
//! - **the live tail** needs no requests: each stream republishes what it stores. A republished message counts only by
//!   its sequence: the next sequence is the next commit, an older one is ignored, and a later one means that messages
//!   were missed, which are then read like history. If nothing arrives for a while, the reader checks with a request.
//!
//! A gap that cannot be filled, a missing answer or a lost connection makes the reader restart after the last delivered
//! commit. A server that lags can only delay a reader, because the reader accepts nothing but the next sequence.

mod batch;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use citycode_event_store::{Partition, Position, ReadError, RecordedCommit, Sequence, SubscriptionError};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};

use self::batch::MAX_BATCH;
use crate::commit_reader::CommitReader;
use crate::connection::{LogConnection, PartitionError};
use crate::names;
use crate::probes::Probes;

/// Silence after which the reader checks whether there is really nothing new.
const CHECK_AFTER: Duration = Duration::from_secs(1);
/// The same after a check found something: a stream that does not republish is followed by requests only.
const CHECK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Commits delivered together: enough that the cost of each delivery is negligible, and few enough to stay live.
pub(crate) const CHUNK: usize = 1_024;
/// First pause before a restart; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Short enough for a place that needs the state within 10 s, and little load for servers that are starting.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A message from a partition reader.
pub(crate) enum FromReader {
    /// Commits of one partition, in order, without a gap.
    Commits(Vec<Arc<RecordedCommit>>),
    /// The tail may be outdated; the reader restarts.
    Restarting,
    /// No retry helps; the reader has ended.
    Failed(SubscriptionError),
}

/// The reader of one partition.
pub(crate) struct PartitionReader {
    pub(crate) connection: Arc<LogConnection>,
    pub(crate) commits: Arc<CommitReader>,
    pub(crate) probes: Arc<Probes>,
    pub(crate) partition: Partition,
    /// The last delivered sequence.
    pub(crate) last: Sequence,
    pub(crate) sender: mpsc::Sender<FromReader>,
    /// Limits how many partitions read history at once.
    pub(crate) history: Arc<Semaphore>,
    /// The [generation](LogConnection::generation) in which the partition was verified.
    pub(crate) verified_in: u64,
}

/// Why following stopped.
enum End {
    /// The reader must restart after the last delivered commit.
    Restart(String),
    Failed(SubscriptionError),
    /// The receiver was dropped.
    Dropped,
}

impl PartitionReader {
    /// Reads until the receiver is dropped, or until no retry helps.
    pub(crate) async fn run(mut self) {
        let (mut pause, receiver) = (FIRST_PAUSE, self.sender.clone());
        loop {
            let before = self.last;
            let ended = tokio::select! {
                () = receiver.closed() => End::Dropped,
                Err(end) = self.follow() => end,
            };
            match ended {
                End::Dropped => return,
                End::Failed(error) => {
                    // The receiver may be dropped.
                    let _ = self.sender.send(FromReader::Failed(error)).await;
                    return;
                }
                End::Restart(reason) => {
                    let partition = self.partition;
                    tracing::warn!(%partition, last = %self.last, reason, "reading restarts after the last commit");

                    if self.sender.send(FromReader::Restarting).await.is_err() {
                        return;
                    }
                }
            }
            if self.last > before {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Verifies the partition, reads its history, and follows its tail until something requires a restart.
    async fn follow(&mut self) -> Result<Infallible, End> {
        let history = Arc::clone(&self.history);
        let permit = history.acquire().await.map_err(|_| End::Dropped)?;
        self.verified_in = self.connection.generation();
        let head = self.verify().await?;
        self.read_up_to(head).await?;
        // Another partition may read its history now.
        drop(permit);
        let mut tail = self.subscribe_to_tail().await?;
        // Messages that were written before the subscription was active.
        while self.read_batch(MAX_BATCH).await? == MAX_BATCH {}
        let mut check_after = CHECK_AFTER;
        loop {
            match tokio::time::timeout(check_after, tail.next()).await {
                Ok(Some(message)) => {
                    self.read_from_tail(message, &mut tail).await?;
                    check_after = CHECK_AFTER;
                }
                Ok(None) => return Err(End::Restart("the subscription ended".into())),
                Err(_) => {
                    // After a reconnect the servers may have another log, which has nothing to republish.
                    self.check_connection()?;
                    let missed = self.read_batch(MAX_BATCH).await?;
                    check_after = if missed > 0 { CHECK_AGAIN_AFTER } else { CHECK_AFTER };
                }
            }
        }
    }

    /// Requires a restart if the connection was lost since the partition was verified.
    fn check_connection(&self) -> Result<(), End> {
        if self.verified_in == self.connection.generation() {
            Ok(())
        } else {
            Err(End::Restart("the connection was lost".into()))
        }
    }

    /// Verifies that this is the known log and that it has the next commit; returns its head.
    async fn verify(&self) -> Result<Sequence, End> {
        let partition = self.partition;
        let extent = self.connection.extent(partition).await.map_err(|error| match error {
            PartitionError::Read(ReadError::Unavailable(reason)) => End::Restart(reason),
            error => End::Failed(error.into_subscription_error(partition)),
        })?;
        let next = self.last.next();
        if extent.last >= next && extent.first > next {
            return Err(End::Failed(SubscriptionError::Gap {
                partition,
                expected: next,
                found: extent.first,
            }));
        }
        Ok(extent.last)
    }

    /// Subscribes to the tail; the connected server has the subscription once this returns.
    async fn subscribe_to_tail(&self) -> Result<Subscriber, End> {
        let restart = |error: &dyn std::fmt::Display| End::Restart(error.to_string());
        let client = self.connection.client();
        let tail = client.subscribe(names::tail(self.partition)).await;
        let tail = tail.map_err(|error| restart(&error))?;
        client.flush().await.map_err(|error| restart(&error))?;
        Ok(tail)
    }

    /// Processes a message of the tail and all further ones that have arrived.
    async fn read_from_tail(&mut self, first: async_nats::Message, tail: &mut Subscriber) -> Result<(), End> {
        let mut commits = Vec::new();
        let missed = self.gather_from_tail(first, tail, &mut commits).await;
        // Commits before an error are valid.
        self.deliver(commits).await?;
        match missed? {
            Some(sequence) => self.read_up_to(sequence).await,
            None => Ok(()),
        }
    }

    /// Gathers the commits that have arrived on the tail, up to a chunk. If messages were missed, stops there and
    /// returns the later sequence that arrived instead.
    async fn gather_from_tail(
        &self,
        first: async_nats::Message,
        tail: &mut Subscriber,
        commits: &mut Vec<Arc<RecordedCommit>>,
    ) -> Result<Option<Sequence>, End> {
        let mut next = Some(first);
        while let Some(message) = next.take() {
            let reached = self.reached(commits);
            match self.stored_sequence(&message) {
                Some(sequence) if sequence == reached.next() => {
                    commits.push(Arc::new(self.commit(sequence, message).await?));
                }
                // It is read again together with the missed ones.
                Some(sequence) if sequence > reached => return Ok(Some(sequence)),
                // It was read already, or it is not of this partition.
                Some(_) | None => {}
            }
            if commits.len() < CHUNK {
                next = tail.next().now_or_never().flatten();
            }
        }
        Ok(None)
    }

    /// The last sequence including these commits, which are not delivered yet.
    fn reached(&self, commits: &[Arc<RecordedCommit>]) -> Sequence {
        commits.last().map_or(self.last, |commit| commit.position.sequence)
    }

    /// Delivers commits. Only here does the last delivered sequence advance.
    async fn deliver(&mut self, commits: Vec<Arc<RecordedCommit>>) -> Result<(), End> {
        let Some(last) = commits.last().map(|last| last.position) else {
            return Ok(());
        };
        let known = commits.iter().filter(|commit| commit.foreign.is_none());
        self.commits.tails().see_all(known.map(|commit| &**commit));
        self.connection.see(last);
        let sent = self.sender.send(FromReader::Commits(commits)).await;
        sent.map_err(|_| End::Dropped)?;
        self.last = last.sequence;
        Ok(())
    }

    fn position(&self, sequence: Sequence) -> Position {
        Position {
            partition: self.partition,
            sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use citycode_event_store::conformance::sample_commit;
    use citycode_event_store::{
        BucketTail, EventStore as _, Layout, LogId, LogPosition, NewCommit, StreamName, SubscriptionBatch,
    };
    use citycode_testkit::NatsServer;
    use futures::future::join_all;

    use super::*;
    use crate::config::{Config, Durability, NewLog};
    use crate::open;
    use crate::provision::provision;
    use crate::store::JetStreamEventStore;

    const COMMITS: u64 = 3_000;

    fn commit(number: u64) -> NewCommit {
        let stream = StreamName::new(&format!("holder-{number}")).expect("a name");
        sample_commit(stream, number, vec![7; 64])
    }

    /// Commits that were gathered but not delivered when the connection was lost are neither lost nor delivered twice.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn losing_the_connection_within_a_chunk_causes_no_gap() {
        let server = NatsServer::start().await;
        let config = Config {
            replicas: 1,
            ..Config::new(vec![server.url()], "test", Durability::Unproven)
        };
        let new = NewLog::new(LogId([6; 16]), Layout::new(1, 4_096).expect("a layout"));
        provision(&config, &new).await.expect("the log is created");
        let connection = open::open(&config).await.expect("the log opens");
        let log = JetStreamEventStore::new(&config, Arc::clone(&connection));
        let mut appended = 0;
        for first in (0..COMMITS).step_by(500) {
            let appends = (first..first + 500).map(|number| log.append_at(commit(number), BucketTail::EMPTY));
            // Appends to a bucket that another stream shares are refused.
            appended += join_all(appends).await.iter().filter(|answer| answer.is_ok()).count();
        }
        assert!(appended > 0);
        let head = log.heads().await.expect("a head");
        let subscribed = log.subscribe_to_all(LogPosition::start(1)).await;
        let mut subscription = subscribed.expect("it starts");
        let (mut read, mut losses) = (0, 60);
        let mut loss = tokio::time::interval(Duration::from_millis(7));
        while read < head.commits() {
            tokio::select! {
                batch = subscription.next_batch() => {
                    if let SubscriptionBatch::Commits(commits) = batch.expect("a lost connection is no gap") {
                        read += commits.len() as u64;
                    }
                }
                _ = loss.tick(), if losses > 0 => {
                    connection.start_generation();
                    losses -= 1;
                }
            }
        }
        assert_eq!(subscription.position(), &head);
    }
}
