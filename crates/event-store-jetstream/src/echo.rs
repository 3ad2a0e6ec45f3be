//! Proof that a reader's knowledge is fresh: a number that it sends comes back through the log.
//!
//! A reader publishes a number that was never used before to all writers, [`SUBJECT`]: `<reader>.<count>`, where the
//! reader's part is random. Each writer puts the numbers
//! that it was told of into a header of the next commit of each partition. A commit that carries the number was
//! written after the number was sent, so whoever has read up to there knows everything that was acknowledged to
//! anybody before it sent the number. Nobody's wall clock and no answer of a server that was cut off takes part.
//!
//! Where a partition is idle one of the writers appends a watermark, no oftener than [`EchoAnswers::watermark_every`]
//! whatever the number of readers. What is lost on the way is not sent again: the next question is another number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::header::HeaderName;
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use citycode_event_store::{BucketTail, LogPosition, Partition, Position, ReadError, Sequence, watermark};
use futures::StreamExt as _;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::log_client::LogClient;

/// Readers publish here, and writers listen.
pub(crate) const SUBJECT: &str = "cc.echo.v1";
/// The header of a commit that carries numbers, with commas between them.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("CC-Echo");
/// Longest number, in bytes: twelve random characters, a dot, and a count.
const MAX_NUMBER_BYTES: usize = 24;
/// Numbers that one commit carries, the newest of each reader: 3 KiB of headers. Beyond it the oldest are forgotten,
/// whose readers ask again.
const MAX_OWED: usize = 128;
/// Of the client's own generator of names: the part that is random and not counted up.
const READER_CHARACTERS: usize = 12;
/// Between two looks at what is owed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a writer answers.
pub struct EchoAnswers {
    /// An idle partition gets no more than one watermark in this time, from all writers together. A third of the
    /// tightest place's limit: then knowledge of an idle city still passes there.
    pub watermark_every: Duration,
    /// How long this writer leaves it to ordinary commits and to other writers. Let writers differ in it.
    pub patience: Duration,
    /// Unix seconds now, for the watermarks.
    pub now: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// What this client has asked and what it owes.
pub(crate) struct Echoes {
    /// By count.
    asked: Mutex<BTreeMap<u64, Asked>>,
    owed: Vec<Mutex<Owed>>,
    /// Why headers are looked at: questions under way, and one more for a writer.
    reasons_to_look: AtomicUsize,
    /// This reader's part of its numbers.
    reader: String,
    count: AtomicU64,
    /// How often a writer has looked at what it owes: its measure of time.
    looks: AtomicU64,
}

/// A question under way.
struct Asked {
    /// By partition: whether it has echoed the number.
    seen: Vec<bool>,
    /// Where each partition is told, once; closed after the last.
    proved: UnboundedSender<Position>,
}

/// What a writer owes one partition.
#[derive(Default)]
struct Owed {
    numbers: Vec<String>,
    /// Since which look.
    since: Option<u64>,
    /// At which look a watermark was read last.
    last_watermark: Option<u64>,
}

impl Echoes {
    /// `unique` is a name that the client's generator made.
    pub(crate) fn new(partitions: u16, unique: &str) -> Self {
        let name = unique.rsplit('.').next().unwrap_or(unique);
        Self {
            reader: name.chars().take(READER_CHARACTERS).collect(),
            count: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            asked: Mutex::default(),
            owed: std::iter::repeat_with(Mutex::default)
                .take(usize::from(partitions))
                .collect(),
            reasons_to_look: AtomicUsize::new(0),
        }
    }

    /// Puts what is owed to the partition into the headers of a commit.
    pub(crate) fn put(&self, partition: Partition, headers: &mut HeaderMap) {
        let owed = self.owed[usize::from(partition.0)].lock();
        if !owed.numbers.is_empty() {
            headers.insert(HEADER, owed.numbers.join(","));
        }
    }

    /// A commit was read, at `position`.
    pub(crate) fn see(&self, position: Position, message: &Message) {
        if self.reasons_to_look.load(Ordering::Acquire) == 0 {
            return;
        }
        let header = message.headers.as_ref().and_then(|headers| headers.get(HEADER));
        if let Some(numbers) = header {
            let numbers: Vec<&str> = numbers.as_str().split(',').collect();
            self.owed[usize::from(position.partition.0)].lock().pay(&numbers);
            let newest = numbers.iter().filter_map(|number| self.own_count(number)).max();
            if let Some(newest) = newest {
                // What came back proves every question that was asked before it, too.
                let mut asked = self.asked.lock();
                asked.retain(|count, asked| *count > newest || !asked.see(position));
            }
        }
    }

    /// The count of a number that is this reader's own.
    fn own_count(&self, number: &str) -> Option<u64> {
        let (reader, count) = number.split_once('.')?;
        (reader == self.reader)
            .then(|| u64::from_str_radix(count, 16).ok())
            .flatten()
    }

    /// A watermark was read.
    pub(crate) fn see_watermark(&self, partition: Partition) {
        if self.reasons_to_look.load(Ordering::Acquire) > 0 {
            self.owed[usize::from(partition.0)].lock().last_watermark = Some(self.looks.load(Ordering::Relaxed));
        }
    }

    fn owe(&self, number: &[u8]) {
        let Some((reader, number)) = parse(number) else {
            tracing::warn!(bytes = number.len(), "a number to echo that is none");
            return;
        };
        for owed in &self.owed {
            owed.lock().owe(reader, number, self.looks.load(Ordering::Relaxed));
        }
    }

    /// Partitions in which nobody else has paid for so long that a watermark is due.
    fn due(&self, answers: &EchoAnswers) -> Vec<Partition> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        (0..)
            .map(Partition)
            .zip(&self.owed)
            .filter(|(_, owed)| owed.lock().is_due(look, answers))
            .map(|(partition, _)| partition)
            .collect()
    }
}

impl Asked {
    /// Whether every partition has now echoed the number.
    fn see(&mut self, position: Position) -> bool {
        let seen = &mut self.seen[usize::from(position.partition.0)];
        if !std::mem::replace(seen, true) {
            // Who asked may have gone meanwhile.
            let _ = self.proved.send(position);
        }
        self.seen.iter().all(|seen| *seen)
    }
}

impl Owed {
    fn owe(&mut self, reader: &str, number: &str, look: u64) {
        // Its newest question answers its older ones too.
        self.numbers.retain(|owed| reader_of(owed) != Some(reader));
        if self.numbers.len() == MAX_OWED {
            self.numbers.remove(0);
        }
        self.numbers.push(number.to_owned());
        self.since.get_or_insert(look);
    }

    fn pay(&mut self, numbers: &[&str]) {
        self.numbers.retain(|owed| !numbers.contains(&owed.as_str()));
        if self.numbers.is_empty() {
            self.since = None;
        }
    }

    fn is_due(&self, look: u64, answers: &EchoAnswers) -> bool {
        let waited = self
            .since
            .is_some_and(|since| look - since >= looks_in(answers.patience));
        let rested = self
            .last_watermark
            .is_none_or(|last| look - last >= looks_in(answers.watermark_every));
        waited && rested
    }
}

/// How many looks fill a time; a look may come late and never early.
fn looks_in(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(LOOK_EVERY.as_millis())).unwrap_or(u64::MAX)
}

/// A number as a stranger may have sent it: the reader's part, and the whole.
fn parse(number: &[u8]) -> Option<(&str, &str)> {
    let number = std::str::from_utf8(number)
        .ok()
        .filter(|number| number.len() <= MAX_NUMBER_BYTES)?;
    let (reader, count) = number.split_once('.')?;
    let good = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (good(reader) && good(count)).then_some((reader, number))
}

fn reader_of(number: &str) -> Option<&str> {
    number.split_once('.').map(|(reader, _)| reader)
}

/// A question under way; gone when dropped.
struct Question<'a> {
    echoes: &'a Echoes,
    count: u64,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.echoes.asked.lock().remove(&self.count);
        self.echoes.reasons_to_look.fetch_sub(1, Ordering::AcqRel);
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
        let count = self.echoes.count.fetch_add(1, Ordering::Relaxed);
        let number = format!("{}.{count:x}", self.echoes.reader);
        let (echoed, mut echoes) = mpsc::unbounded_channel();
        let asked = Asked {
            seen: vec![false; usize::from(self.manifest.layout.partitions())],
            proved: echoed,
        };
        self.echoes.reasons_to_look.fetch_add(1, Ordering::AcqRel);
        self.echoes.asked.lock().insert(count, asked);
        let _question = Question {
            echoes: &self.echoes,
            count,
        };
        let unavailable = |error: &dyn std::fmt::Display| ReadError::Unavailable(error.to_string());
        let sent = self.client.publish(SUBJECT, Bytes::from(number)).await;
        sent.map_err(|error| unavailable(&error))?;
        // It ends with the last partition, whose echo drops the other end.
        while let Some(head) = echoes.recv().await {
            let _ = proved.send(head);
        }
        Ok(())
    }

    /// Answers readers' questions for as long as it is polled; only for a client that may append and that follows
    /// the log. Ends where the servers do not let it listen.
    pub(crate) async fn answer_echoes(&self, answers: EchoAnswers) -> String {
        let mut questions = match self.client.subscribe(SUBJECT).await {
            Ok(questions) => questions,
            Err(error) => return error.to_string(),
        };
        self.echoes.reasons_to_look.fetch_add(1, Ordering::AcqRel);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                question = questions.next() => match question {
                    Some(question) => self.echoes.owe(&question.payload),
                    None => return "the subscription ended".into(),
                },
                _ = look.tick() => {
                    let due = self.echoes.due(&answers);
                    join_all(due.into_iter().map(|partition| self.append_watermark(partition, &answers))).await;
                }
            }
        }
    }

    /// One watermark. Whoever is faster has paid for this client too.
    async fn append_watermark(&self, partition: Partition, answers: &EchoAnswers) {
        let bucket = self.manifest.layout.watermark_bucket(partition);
        let last = match self.last_of(bucket).await {
            Ok(last) => last,
            Err(error) => {
                tracing::warn!(%partition, %error, "no watermark: its bucket cannot be read");
                return;
            }
        };
        let tail = last.as_ref().map_or(BucketTail::EMPTY, |last| last.commit.tail());
        let decided_at = (answers.now)().max(last.as_ref().map_or(0, |last| last.commit.commit.decided_at));
        let commit = watermark::commit(partition, &tail, decided_at);
        match self.append(commit, tail).await {
            Ok(_) => self.echoes.see_watermark(partition),
            Err(error) => tracing::warn!(%partition, %error, "no watermark was written"),
        }
    }
}
