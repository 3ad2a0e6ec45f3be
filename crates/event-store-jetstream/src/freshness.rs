//! Proof that a reader's knowledge is fresh: a nonce that it sends comes back through the log.
//!
//! A reader publishes a nonce that was never used before to all writers, `cc.echo.v2.ROLE.INSTANCE`. Writers gather the
//! nonces that they are told of in lists and publish each list, `cc.echoed.v2`; the next commit of each partition
//! carries the digest of the newest list in a header. A commit that carries the digest of a list that has the nonce was
//! written after the nonce was sent, so whoever has read up to there knows everything that was acknowledged to anybody
//! before it sent the nonce. Nobody's wall clock and no answer of a server that was cut off takes part, and nothing of it
//! is kept but 43 characters in a commit, however many readers ask.
//!
//! Where a partition is idle one of the writers appends a heartbeat, no oftener than [`ProbeAnswers::heartbeat_every`]
//! whatever the number of readers. What is lost on the way is not sent again: the next question is another nonce.
//!
//! **Nobody is crowded out** by readers of another role, and within a role by another instance: see [`quotas`]. The
//! servers let each credential publish to its own subject alone, and writers hear questions on a connection of their own.
//!
//! **Programs before this release** publish `<reader>.<count>` to `cc.echo.v1`, and their commits carry such numbers. Both
//! are still spoken while the log's minimum reader version is 1: see [`version1`].

mod nonce_list;
mod pending;
mod quotas;
mod responder;
mod version1;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::header::HeaderName;
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use citycode_event_store::{
    BucketTail, LogPosition, Partition, Position, ReadError, ReaderVersion, Sequence, heartbeat,
};
use futures::StreamExt as _;
use futures::stream::{FuturesUnordered, SelectAll};
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, UnboundedSender};

use self::nonce_list::{NonceList, encode_probe, parse_digest};
use self::pending::PendingProbes;
use self::responder::ProbeResponder;
use crate::config::Config;
use crate::log_client::LogClient;
use crate::subjects::{self, NONCE_LISTS, PROBES_V1};

/// The header of a commit that carries a list's digest.
const DIGEST: HeaderName = HeaderName::from_static("CC-Echo-Digest");
/// The header of a commit that carries numbers of version 1, with commas between them.
const NUMBERS: HeaderName = HeaderName::from_static("CC-Echo");
/// Nonces of a list that is believed: more than this release sends, so that a later one may send more.
const MOST_NONCES: usize = 4 * quotas::MOST_NONCES;
const KEY_CONTEXT: &str = "citycode echo nonces v2";
/// Between two looks at what is owed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Questions without a list that has one before a reader asks by version 1 too: its writers may all be older.
const UNHEARD: u32 = 4;
/// Questions of one role that wait to be looked at. What is beyond is forgotten, and asked again.
const QUESTIONS: usize = 4 * 1024;
/// Questions that are at hand are taken together, up to so many.
const AT_HAND: usize = 256;
/// Lists that wait to be sent.
const OUTGOING: usize = 16;

/// How a writer answers.
pub struct ProbeAnswers {
    /// An idle partition gets no more than one heartbeat in this time, from all writers together. A third of the
    /// tightest place's limit: then knowledge of an idle city still passes there.
    pub heartbeat_every: Duration,
    /// How long this writer leaves it to ordinary commits and to other writers. Let writers differ in it.
    pub patience: Duration,
    /// Unix seconds now, for the heartbeats.
    pub now: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// Who asks: as its credential may.
#[derive(Debug, Clone)]
pub(crate) struct ProbeIdentity {
    /// A role that writers know: see [`quotas`].
    pub(crate) role: &'static str,
    /// Its user's public key; without one, whatever the client is called.
    pub(crate) instance: Option<String>,
    /// From which its nonces come; known to nobody else.
    pub(crate) key: [u8; 32],
}

impl ProbeIdentity {
    /// `unique` is a name that the client's generator made.
    pub(crate) fn of(config: &Config, unique: &str) -> Self {
        Self {
            role: config.role,
            instance: config.connection.credentials.public_key(),
            key: config
                .nonce_key
                .unwrap_or_else(|| blake3::derive_key(KEY_CONTEXT, unique.as_bytes())),
        }
    }
}

/// What this client has asked and what it owes.
pub(crate) struct Probes {
    /// Where its questions go.
    subject: String,
    pending: Mutex<PendingProbes>,
    responder: Mutex<ProbeResponder>,
    /// Why headers are looked at: questions under way, and one more for a writer.
    reasons_to_look: AtomicUsize,
    /// Heartbeats that were not written since the last that was. Each is tried again many times a second, so the 1st,
    /// 2nd, 4th, 8th … is reported: the pauses between two reports grow.
    unwritten: AtomicU64,
    /// This reader's part of its numbers of version 1.
    reader: String,
}

impl Probes {
    /// `unique` is a name that the client's generator made.
    pub(crate) fn new(partitions: u16, name: ProbeIdentity, unique: &str) -> Self {
        let ProbeIdentity { role, instance, key } = name;
        let unique = unique.rsplit('.').next().unwrap_or(unique);
        let reader: String = unique.chars().take(version1::READER_CHARACTERS).collect();
        Self {
            subject: subjects::probes(role, instance.as_ref().unwrap_or(&reader)),
            pending: Mutex::new(PendingProbes::new(partitions, key)),
            responder: Mutex::new(ProbeResponder::new(partitions)),
            reasons_to_look: AtomicUsize::new(0),
            unwritten: AtomicU64::new(0),
            reader,
        }
    }

    /// Puts what is owed to the partition into the headers of a commit.
    pub(crate) fn put(&self, partition: Partition, headers: &mut HeaderMap) {
        let (digest, numbers) = self.responder.lock().carried(partition);
        if let Some(digest) = digest {
            headers.insert(DIGEST, digest);
        }
        if let Some(numbers) = numbers {
            headers.insert(NUMBERS, numbers);
        }
    }

    /// A commit was read, at `position`.
    pub(crate) fn see(&self, position: Position, message: &Message) {
        if self.reasons_to_look.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(headers) = &message.headers else {
            return;
        };
        if let Some(digest) = headers.get(DIGEST).and_then(|text| parse_digest(text.as_str())) {
            self.responder.lock().see(position.partition, &digest);
            self.pending.lock().see(position, &digest);
        }
        if let Some(numbers) = headers.get(NUMBERS) {
            let numbers: Vec<&str> = numbers.as_str().split(',').collect();
            self.responder.lock().see_numbers(position.partition, &numbers);
            let newest = numbers.iter().filter_map(|number| self.own_count(number)).max();
            if let Some(newest) = newest {
                // What came back proves every question that was asked before it, too.
                self.pending.lock().settle(position, newest);
            }
        }
    }

    /// The count of a number of version 1 that is this reader's own.
    fn own_count(&self, number: &str) -> Option<u64> {
        let (reader, count) = number.split_once('.')?;
        (reader == self.reader)
            .then(|| u64::from_str_radix(count, 16).ok())
            .flatten()
    }

    /// A heartbeat was read.
    pub(crate) fn see_heartbeat(&self, partition: Partition) {
        if self.reasons_to_look.load(Ordering::Acquire) > 0 {
            self.responder.lock().see_heartbeat(partition);
        }
    }

    /// A list was heard.
    fn hear(&self, list: &[u8]) {
        if let Some(list) = NonceList::parse(list, MOST_NONCES) {
            self.responder.lock().hear(&list);
            self.pending.lock().hear(&list);
        }
    }
}

/// A question under way; gone when dropped.
struct Question<'a> {
    probes: &'a Probes,
    count: u64,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.probes.pending.lock().end(self.count);
        self.probes.reasons_to_look.fetch_sub(1, Ordering::AcqRel);
    }
}

impl LogClient {
    /// See [`citycode_event_store::EventStore::proved_heads`]. Waits for as long as no writer answers.
    pub(crate) async fn proved_heads(&self) -> Result<LogPosition, ReadError> {
        let (proved, mut heads) = mpsc::unbounded_channel();
        self.prove_heads(proved).await?;
        let mut sequences = vec![Sequence::START; usize::from(self.manifest.layout.partitions())];
        while let Some(head) = heads.recv().await {
            sequences[usize::from(head.partition.0)] = head.sequence;
        }
        Ok(LogPosition::from_sequences(sequences))
    }

    /// See [`citycode_event_store::EventStore::prove_heads`].
    pub(crate) async fn prove_heads(&self, proved: UnboundedSender<Position>) -> Result<(), ReadError> {
        if let Some(reason) = self.stopped() {
            return Err(ReadError::Unavailable(reason));
        }
        self.listen_to_lists().await?;
        let (echoed, mut probes) = mpsc::unbounded_channel();
        self.probes.reasons_to_look.fetch_add(1, Ordering::AcqRel);
        let (count, sent, is_unheard) = {
            let mut pending = self.probes.pending.lock();
            let count = pending.begin(echoed);
            let sent = encode_probe(&pending.reader(), &pending.nonce(count));
            (count, sent, pending.is_unheard(UNHEARD))
        };
        let _question = Question {
            probes: &self.probes,
            count,
        };
        self.publish_core(self.probes.subject.clone(), sent).await?;
        if is_unheard && self.speaks_version1() {
            let number = format!("{}.{count:x}", self.probes.reader);
            self.publish_core(PROBES_V1.to_owned(), Bytes::from(number)).await?;
        }
        // It ends once all partitions are proved.
        while let Some(head) = probes.recv().await {
            // Who asked may have gone meanwhile.
            let _ = proved.send(head);
        }
        Ok(())
    }

    async fn publish_core(&self, subject: String, bytes: Bytes) -> Result<(), ReadError> {
        let sent = self.client.publish(subject, bytes).await;
        sent.map_err(|error| ReadError::Unavailable(error.to_string()))
    }

    /// Begins to listen to lists, once.
    async fn listen_to_lists(&self) -> Result<(), ReadError> {
        let mut listening = self.listening.lock().await;
        while listening.try_join_next().is_some() {}
        if listening.is_empty() {
            let lists = self.client.subscribe(NONCE_LISTS).await;
            let mut lists = lists.map_err(|error| ReadError::Unavailable(error.to_string()))?;
            let probes = std::sync::Arc::clone(&self.probes);
            listening.spawn(async move {
                while let Some(list) = lists.next().await {
                    probes.hear(&list.payload);
                }
            });
        }
        Ok(())
    }

    /// Answers readers' questions for as long as it is polled; only for a client that may append and that follows
    /// the log. Ends where the servers do not let it listen.
    pub(crate) async fn answer_probes(&self, answers: ProbeAnswers) -> String {
        match self.hear_questions(&answers).await {
            Ok(()) => "the subscription ended".into(),
            Err(reason) => reason,
        }
    }

    async fn hear_questions(&self, answers: &ProbeAnswers) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        self.listen_to_lists().await.map_err(|error| failed(&error))?;
        // A connection of their own: however many come, nothing of the log waits behind them.
        let mut connection = self.connection.clone();
        connection.client_name.push_str(", readers' questions");
        connection.subscription_capacity = QUESTIONS;
        let client = citycode_jetstream::connect(&connection, |_| ()).await;
        let client = client.map_err(|error| failed(&error))?;
        let mut questions = SelectAll::new();
        for role in quotas::roles() {
            let heard = client.subscribe(subjects::probes(role, "*")).await;
            questions.push(
                heard
                    .map_err(|error| failed(&error))?
                    .map(move |message| (role, message)),
            );
        }
        let mut questions = questions.ready_chunks(AT_HAND);
        let numbers = client.subscribe(PROBES_V1).await.map_err(|error| failed(&error))?;
        let mut numbers = numbers.ready_chunks(AT_HAND);
        let (outgoing, mut lists) = mpsc::channel(OUTGOING);
        self.probes.responder.lock().begin(outgoing);
        self.probes.reasons_to_look.fetch_add(1, Ordering::AcqRel);
        let mut heartbeats = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                some = questions.next() => match some {
                    Some(some) => self.take_questions(&some),
                    None => return Ok(()),
                },
                Some(some) = numbers.next() => if self.speaks_version1() {
                    let mut responder = self.probes.responder.lock();
                    some.iter().for_each(|number| responder.take_number(&number.payload));
                },
                Some(list) = lists.recv() => {
                    self.publish_core(NONCE_LISTS.to_owned(), list).await.map_err(|error| failed(&error))?;
                }
                Some(()) = heartbeats.next() => {}
                _ = look.tick() => {
                    if let Some(reason) = self.stopped() {
                        return Err(reason);
                    }
                    let due = self.probes.responder.lock().due(answers);
                    heartbeats.extend(due.into_iter().map(|partition| self.append_heartbeat(partition, answers)));
                }
            }
        }
    }

    fn take_questions(&self, questions: &[(&'static str, Message)]) {
        let mut responder = self.probes.responder.lock();
        for (role, question) in questions {
            let instance = question.subject.rsplit('.').next().unwrap_or_default();
            responder.take(role, instance, &question.payload);
        }
    }

    /// One heartbeat. Whoever is faster has paid for this client too.
    async fn append_heartbeat(&self, partition: Partition, answers: &ProbeAnswers) {
        match self.try_append_heartbeat(partition, answers).await {
            Ok(()) => self.probes.unwritten.store(0, Ordering::Relaxed),
            Err(error) => {
                let unwritten = self.probes.unwritten.fetch_add(1, Ordering::Relaxed) + 1;
                if unwritten.is_power_of_two() {
                    tracing::warn!(%partition, error, unwritten, "no heartbeat was written");
                }
            }
        }
        self.probes.responder.lock().wrote(partition);
    }

    async fn try_append_heartbeat(&self, partition: Partition, answers: &ProbeAnswers) -> Result<(), String> {
        let bucket = self.manifest.layout.heartbeat_bucket(partition);
        let last = self.last_of(bucket).await.map_err(|error| error.to_string())?;
        // It follows whatever stands there: else a message that is no heartbeat would make the partition stale.
        let tail = last.as_ref().map_or(BucketTail::EMPTY, |last| last.commit.tail());
        let decided_at = (answers.now)().max(last.as_ref().map_or(0, |last| last.commit.commit.decided_at));
        let commit = heartbeat::commit(partition, &tail, decided_at);
        self.append(commit, tail).await.map_err(|error| error.to_string())?;
        self.probes.see_heartbeat(partition);
        Ok(())
    }

    /// Whether programs of the release before may read this log, and so ask and answer by version 1.
    fn speaks_version1(&self) -> bool {
        self.minimum_reader.get() < ReaderVersion(2)
    }
}
