//! Proves that a reader's knowledge is fresh, and answers the probes of other readers. See [`crate::probes`] for the
//! protocol.
//!
//! In an idle partition one of the writers appends a heartbeat, at most once in [`ProbeAnswers::heartbeat_every`]
//! regardless of the number of readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use citycode_event_store::{
    BucketTail, LogPosition, Partition, Position, ReadError, ReaderVersion, Sequence, heartbeat,
};
use citycode_jetstream::Connection;
use futures::StreamExt as _;
use futures::stream::{FuturesUnordered, SelectAll};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

use crate::appender::Appender;
use crate::commit_reader::CommitReader;
use crate::connection::LogConnection;
use crate::probes::{self, ProbeAnswers, Probes, TICK};
use crate::subjects::{self, NONCE_LISTS, PROBES_V1};

/// Probes of one role that wait to be processed. Further ones are dropped, and their readers send new ones.
const QUEUED_PROBES: usize = 4 * 1024;
/// Most probes that are processed together.
const PROBES_AT_ONCE: usize = 256;
/// Lists that wait to be sent.
const QUEUED_LISTS: usize = 16;

/// Sends and answers freshness probes.
pub(crate) struct Freshness {
    connection: Arc<LogConnection>,
    reader: Arc<CommitReader>,
    appender: Arc<Appender>,
    probes: Arc<Probes>,
    /// The settings for a second connection.
    settings: Connection,
    /// The task that receives lists of nonces, once it is needed.
    list_receiver: tokio::sync::Mutex<JoinSet<()>>,
    /// Heartbeats that could not be written since the last success. Each is retried many times a second, so only the
    /// 1st, 2nd, 4th, 8th, … failure is logged.
    failed_heartbeats: AtomicU64,
}

impl Freshness {
    pub(crate) fn new(
        connection: Arc<LogConnection>,
        reader: Arc<CommitReader>,
        appender: Arc<Appender>,
        probes: Arc<Probes>,
        settings: Connection,
    ) -> Self {
        Self {
            connection,
            reader,
            appender,
            probes,
            settings,
            list_receiver: tokio::sync::Mutex::new(JoinSet::new()),
            failed_heartbeats: AtomicU64::new(0),
        }
    }

    /// See [`citycode_event_store::EventStore::proved_heads`]. Waits without limit until a writer answers.
    pub(crate) async fn proved_heads(&self) -> Result<LogPosition, ReadError> {
        let (proved, mut heads) = mpsc::unbounded_channel();
        self.prove_heads(proved).await?;
        let mut sequences = vec![Sequence::START; usize::from(self.connection.layout().partitions())];
        while let Some(head) = heads.recv().await {
            sequences[usize::from(head.partition.0)] = head.sequence;
        }
        Ok(LogPosition::from_sequences(sequences))
    }

    /// See [`citycode_event_store::EventStore::prove_heads`].
    pub(crate) async fn prove_heads(&self, proved: UnboundedSender<Position>) -> Result<(), ReadError> {
        if let Some(reason) = self.connection.stopped() {
            return Err(ReadError::Unavailable(reason));
        }
        self.receive_lists().await?;
        let (sender, mut proofs) = mpsc::unbounded_channel();
        let probe = self.probes.start(sender);
        let (subject, payload) = probe.message();
        self.publish(subject, payload).await?;
        if let Some(nonce) = probe.version1().filter(|_| self.uses_version1()) {
            self.publish(PROBES_V1.to_owned(), nonce).await?;
        }
        // The channel closes once all partitions are proved.
        while let Some(head) = proofs.recv().await {
            // The receiver may be dropped.
            let _ = proved.send(head);
        }
        Ok(())
    }

    async fn publish(&self, subject: String, payload: Bytes) -> Result<(), ReadError> {
        let sent = self.connection.client().publish(subject, payload).await;
        sent.map_err(|error| ReadError::Unavailable(error.to_string()))
    }

    /// Starts the task that receives lists, unless it is running.
    async fn receive_lists(&self) -> Result<(), ReadError> {
        let mut receiver = self.list_receiver.lock().await;
        while receiver.try_join_next().is_some() {}
        if receiver.is_empty() {
            let lists = self.connection.client().subscribe(NONCE_LISTS).await;
            let mut lists = lists.map_err(|error| ReadError::Unavailable(error.to_string()))?;
            let probes = Arc::clone(&self.probes);
            receiver.spawn(async move {
                while let Some(list) = lists.next().await {
                    probes.receive_list(&list.payload);
                }
            });
        }
        Ok(())
    }

    /// Answers readers' probes while it is polled; requires that this client may append and that it follows the log.
    /// Returns the reason if it must stop, for example because the servers do not permit the subscription.
    pub(crate) async fn answer_probes(&self, answers: ProbeAnswers) -> String {
        match self.receive_probes(&answers).await {
            Ok(()) => "the subscription ended".into(),
            Err(reason) => reason,
        }
    }

    async fn receive_probes(&self, answers: &ProbeAnswers) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        self.receive_lists().await.map_err(|error| failed(&error))?;
        // Probes have a separate connection, so that a flood of them does not delay the log.
        let mut settings = self.settings.clone();
        settings.client_name.push_str(", readers' probes");
        settings.subscription_capacity = QUEUED_PROBES;
        let client = citycode_jetstream::connect(&settings, |_| ()).await;
        let client = client.map_err(|error| failed(&error))?;
        let mut received = SelectAll::new();
        for role in probes::roles() {
            let messages = client.subscribe(subjects::probes(role, "*")).await;
            received.push(
                messages
                    .map_err(|error| failed(&error))?
                    .map(move |message| (role, message)),
            );
        }
        let mut received = received.ready_chunks(PROBES_AT_ONCE);
        let version1 = client.subscribe(PROBES_V1).await.map_err(|error| failed(&error))?;
        let mut version1 = version1.ready_chunks(PROBES_AT_ONCE);
        let (sender, mut lists) = mpsc::channel(QUEUED_LISTS);
        self.probes.start_answering(sender);
        let mut heartbeats = FuturesUnordered::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                probes = received.next() => match probes {
                    Some(probes) => self.probes.receive(&probes),
                    None => return Ok(()),
                },
                Some(nonces) = version1.next() => if self.uses_version1() {
                    self.probes.receive_version1(&nonces);
                },
                Some(list) = lists.recv() => {
                    self.publish(NONCE_LISTS.to_owned(), list).await.map_err(|error| failed(&error))?;
                }
                Some(()) = heartbeats.next() => {}
                _ = tick.tick() => {
                    if let Some(reason) = self.connection.stopped() {
                        return Err(reason);
                    }
                    let due = self.probes.tick(answers).into_iter();
                    heartbeats.extend(due.map(|partition| self.append_heartbeat(partition, answers)));
                }
            }
        }
    }

    /// Appends one heartbeat. If another writer is faster, its heartbeat serves the same purpose.
    async fn append_heartbeat(&self, partition: Partition, answers: &ProbeAnswers) {
        match self.try_append_heartbeat(partition, answers).await {
            Ok(()) => self.failed_heartbeats.store(0, Ordering::Relaxed),
            Err(error) => {
                let failures = self.failed_heartbeats.fetch_add(1, Ordering::Relaxed) + 1;
                if failures.is_power_of_two() {
                    tracing::warn!(%partition, error, failures, "no heartbeat was written");
                }
            }
        }
        self.probes.heartbeat_ended(partition);
    }

    async fn try_append_heartbeat(&self, partition: Partition, answers: &ProbeAnswers) -> Result<(), String> {
        let bucket = self.connection.layout().heartbeat_bucket(partition);
        let last = self.reader.last_of(bucket).await.map_err(|error| error.to_string())?;
        // The heartbeat follows any last message: otherwise a foreign message would make the partition stale.
        let tail = last.as_ref().map_or(BucketTail::EMPTY, |last| last.commit.tail());
        let decided_at = (answers.now)().max(last.as_ref().map_or(0, |last| last.commit.commit.decided_at));
        let commit = heartbeat::commit(partition, &tail, decided_at);
        self.appender
            .append(commit, tail)
            .await
            .map_err(|error| error.to_string())?;
        self.probes.see_heartbeat(partition);
        Ok(())
    }

    /// Whether programs of the previous release may read this log and therefore use version 1.
    fn uses_version1(&self) -> bool {
        self.connection.minimum_reader() < ReaderVersion(2)
    }
}
