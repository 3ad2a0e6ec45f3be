//! The reader of one partition: history in batches, then the tail as the servers tell it.
//!
//! A reader asks and listens, and makes nothing on the servers: whoever may make a consumer may have it deliver where it
//! likes, into the log too (docs/decisions/0014). So:
//! - **history** is read by direct gets of many commits at a time, from whichever server is near;
//! - **the tail** comes by itself: each stream republishes what it has stored, and what is told there is only as good as
//!   its sequence: the next one is a commit, an old one is nothing, a later one means that some were missed, and those
//!   are read as history is. Now and then, when nothing is told, the reader asks whether that is true.
//!
//! A gap that cannot be filled, no answer, a lost connection: each is a doubt, and the answer to a doubt is always the
//! same, to begin anew after the last commit that was delivered. A server that lags can only make a reader late, because
//! nothing is taken but the next sequence.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use citycode_event_store::{Partition, Position, ReadError, RecordedCommit, Sequence, SubscriptionError};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};

use crate::batch::MOST;
use crate::log_client::{LogClient, PartitionError};
use crate::names;

/// Silence after which the reader asks whether there really is nothing new.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// The same after it found something: a stream that republishes nothing is followed by asking alone.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Commits handed on together: enough that the cost of handing on vanishes, little enough to stay live.
pub(crate) const CHUNK: usize = 1_024;
/// First pause after a doubt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Soon enough for a place that wants to know within 10 s, and no burden on servers that come up.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a reader hands on.
pub(crate) enum FromReader {
    /// Commits of one partition, in order, without a gap.
    Commits(Vec<Arc<RecordedCommit>>),
    /// The tail may be old from here on; the reader begins anew.
    Doubt,
    /// No retry heals it; the reader has ended.
    Failed(SubscriptionError),
}

/// The reader of one partition.
pub(crate) struct PartitionReader {
    pub(crate) log: Arc<LogClient>,
    pub(crate) partition: Partition,
    /// Delivered up to here.
    pub(crate) last: Sequence,
    pub(crate) sender: mpsc::Sender<FromReader>,
    /// How many partitions read history at once.
    pub(crate) history: Arc<Semaphore>,
    /// Which connection the partition was verified on, see [`LogClient::connections`].
    pub(crate) verified_on: u64,
}

/// Why reading is given up.
pub(crate) enum End {
    Doubt(String),
    Failed(SubscriptionError),
    /// Nobody listens any more.
    Dropped,
}

impl PartitionReader {
    /// Reads until nobody listens, or until no retry helps.
    pub(crate) async fn run(mut self) {
        let (mut pause, listener) = (FIRST_PAUSE, self.sender.clone());
        loop {
            let before = self.last;
            let ended = tokio::select! {
                () = listener.closed() => End::Dropped,
                Err(end) = self.follow() => end,
            };
            match ended {
                End::Dropped => return,
                End::Failed(error) => {
                    // Nobody may be there to hear it.
                    let _ = self.sender.send(FromReader::Failed(error)).await;
                    return;
                }
                End::Doubt(reason) => {
                    let partition = self.partition;
                    tracing::warn!(%partition, last = %self.last, reason, "the log is read anew from the last commit");

                    if self.sender.send(FromReader::Doubt).await.is_err() {
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

    /// From making sure of the log to the first doubt.
    async fn follow(&mut self) -> Result<Infallible, End> {
        let history = Arc::clone(&self.history);
        let turn = history.acquire().await.map_err(|_| End::Dropped)?;
        self.verified_on = self.log.connections();
        let head = self.verify().await?;
        self.read_up_to(head).await?;
        // Another partition may read its history now.
        drop(turn);
        let mut tail = self.listen().await?;
        // What was written before the servers knew that somebody listens.
        while self.read_batch(MOST).await? == MOST {}
        let mut ask_after = ASK_AFTER;
        loop {
            match tokio::time::timeout(ask_after, tail.next()).await {
                Ok(Some(message)) => {
                    self.take_told(message, &mut tail).await?;
                    ask_after = ASK_AFTER;
                }
                Ok(None) => return Err(End::Doubt("the subscription ended".into())),
                Err(_) => {
                    // What it leads to now may be another log, which has nothing to tell.
                    self.check_connection()?;
                    let missed = self.read_batch(MOST).await?;
                    ask_after = if missed > 0 { ASK_AGAIN_AFTER } else { ASK_AFTER };
                }
            }
        }
    }

    /// A doubt where the connection was lost since the partition was verified.
    pub(crate) fn check_connection(&self) -> Result<(), End> {
        if self.verified_on == self.log.connections() {
            Ok(())
        } else {
            Err(End::Doubt("the connection was lost meanwhile".into()))
        }
    }

    /// Makes sure that this is the log that was known and has what comes next; its head.
    async fn verify(&self) -> Result<Sequence, End> {
        let partition = self.partition;
        let extent = self.log.extent(partition).await.map_err(|error| match error {
            PartitionError::Read(ReadError::Unavailable(reason)) => End::Doubt(reason),
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

    /// Begins to listen to the tail; the near server knows it once this returns.
    async fn listen(&self) -> Result<Subscriber, End> {
        let doubt = |error: &dyn std::fmt::Display| End::Doubt(error.to_string());
        let client = &self.log.client;
        let tail = client.subscribe(names::tail(self.partition)).await;
        let tail = tail.map_err(|error| doubt(&error))?;
        client.flush().await.map_err(|error| doubt(&error))?;
        Ok(tail)
    }

    /// One message of the tail and what else is at hand there.
    async fn take_told(&mut self, first: async_nats::Message, tail: &mut Subscriber) -> Result<(), End> {
        let mut commits = Vec::new();
        let missed = self.gather_told(first, tail, &mut commits).await;
        // What came before a doubt is good.
        self.hand_on(commits).await?;
        match missed? {
            Some(sequence) => self.read_up_to(sequence).await,
            None => Ok(()),
        }
    }

    /// The commits that are at hand on the tail, up to a chunk, and up to where some were missed: what came instead.
    async fn gather_told(
        &self,
        first: async_nats::Message,
        tail: &mut Subscriber,
        commits: &mut Vec<Arc<RecordedCommit>>,
    ) -> Result<Option<Sequence>, End> {
        let mut next = Some(first);
        while let Some(message) = next.take() {
            let reached = self.reached(commits);
            match self.told(&message) {
                Some(sequence) if sequence == reached.next() => {
                    commits.push(Arc::new(self.commit(sequence, message).await?));
                }
                // This one is to be read with those that were missed.
                Some(sequence) if sequence > reached => return Ok(Some(sequence)),
                // Read already, or none of this partition's.
                Some(_) | None => {}
            }
            if commits.len() < CHUNK {
                next = tail.next().now_or_never().flatten();
            }
        }
        Ok(None)
    }

    /// How far it is with these, which are to be handed on.
    pub(crate) fn reached(&self, commits: &[Arc<RecordedCommit>]) -> Sequence {
        commits.last().map_or(self.last, |commit| commit.position.sequence)
    }

    /// Delivers commits, and counts nothing else as delivered.
    pub(crate) async fn hand_on(&mut self, commits: Vec<Arc<RecordedCommit>>) -> Result<(), End> {
        let Some(last) = commits.last().map(|last| last.position) else {
            return Ok(());
        };
        let known = commits.iter().filter(|commit| commit.foreign.is_none());
        self.log.tails.see_all(known.map(|commit| &**commit));
        self.log.see(last);
        let sent = self.sender.send(FromReader::Commits(commits)).await;
        sent.map_err(|_| End::Dropped)?;
        self.last = last.sequence;
        Ok(())
    }

    pub(crate) fn position(&self, sequence: Sequence) -> Position {
        Position {
            partition: self.partition,
            sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use citycode_event_store::{
        BucketTail, CommandId, EventData, Layout, LogId, LogPosition, NewCommit, RequestDigest, StreamName,
        SubscriptionBatch, message_id,
    };
    use citycode_testkit::NatsServer;
    use futures::future::join_all;

    use super::*;
    use crate::config::{Config, Durability, NewLog};
    use crate::provision::provision;
    use crate::{open, subscription};

    const COMMITS: u64 = 3_000;

    fn commit(number: u64) -> NewCommit {
        let stream = StreamName::new(&format!("holder-{number}")).expect("a name");
        let command_id = CommandId(u128::from(number).to_be_bytes());
        NewCommit {
            message_id: message_id("test", &stream, &command_id),
            stream,
            events: vec![EventData {
                event_type: "Told".into(),
                version: 1,
                payload: vec![7; 64].into(),
            }],
            request_digest: RequestDigest([1; 32]),
            command_id,
            actor: "test".into(),
            causation_id: None,
            correlation_id: None,
            decided_at: 0,
            trace_context: None,
        }
    }

    /// What the reader has in hand when it hears of the loss is neither lost nor delivered twice.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_lost_amid_a_chunk_is_no_gap() {
        let server = NatsServer::start().await;
        let config = Config {
            replicas: 1,
            ..Config::new(vec![server.url()], "test", Durability::Unproven)
        };
        let new = NewLog::new(LogId([6; 16]), Layout::new(1, 4_096).expect("a layout"));
        provision(&config, &new).await.expect("the log is made");
        let log = open::open(&config).await.expect("the log opens");
        let mut appended = 0;
        for first in (0..COMMITS).step_by(500) {
            let appends = (first..first + 500).map(|number| log.append(commit(number), BucketTail::EMPTY));
            // Those to a bucket of another's are refused.
            appended += join_all(appends).await.iter().filter(|answer| answer.is_ok()).count();
        }
        assert!(appended > 0);
        let head = log.heads().await.expect("a head");
        let subscribed = subscription::subscribe(&log, LogPosition::start(1)).await;
        let mut subscription = subscribed.expect("it begins");
        let (mut read, mut losses) = (0, 60);
        let mut shaken = tokio::time::interval(Duration::from_millis(7));
        while read < head.commits() {
            tokio::select! {
                told = subscription.next_batch() => {
                    if let SubscriptionBatch::Commits(commits) = told.expect("a lost connection is no gap") {
                        read += commits.len() as u64;
                    }
                }
                _ = shaken.tick(), if losses > 0 => {
                    log.suspect_all();
                    losses -= 1;
                }
            }
        }
        assert_eq!(subscription.position(), &head);
    }
}
