//! One day's streams, open: its key, what its registrations are, and the follower that keeps that true.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use citycode_jetstream::Client;
use citycode_jetstream::api::{self, ApiError, StoredMessage};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::fold::Fold;
use super::message::{DayKey, Message};
use super::names;
use crate::{RecordsError, failed};

/// Registrations asked for at once: some 100 kB.
const BATCH: usize = 512;
/// Pause between two looks while registrations come, and the longest while none do: a registration that somebody else
/// made in the meantime shows as a conflict, which ends the pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// So many answers in a row, [`LONGEST_PAUSE`] apart, must lack a message that was seen before the stream is not what it
/// was: 25 s. A leader that is cut off from its fellows answers whoever reaches it for up to some 20 s, by what it knew.
const LOOKS: u32 = 50;

/// A day. Follows its registrations until it is dropped.
pub(crate) struct Day {
    pub(crate) number: u32,
    pub(crate) key: DayKey,
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

struct Shared {
    client: Client,
    stream: String,
    number: u32,
    fold: Mutex<Fold>,
    read: watch::Sender<u64>,
    look: Notify,
    /// A message that was seen, and stands no more by the word of a leader.
    doubt: watch::Sender<Option<Seen>>,
    /// Why this day can be trusted no more.
    damage: OnceLock<String>,
    /// Whether what stood there at the start was read.
    read_once: AtomicBool,
}

/// Where a bucket ended.
#[derive(Clone, Copy)]
struct Seen {
    bucket: u16,
    sequence: u64,
}

impl Day {
    /// Follows a day's registrations from the first.
    pub(crate) fn open(client: Client, number: u32, key: DayKey, buckets: u32) -> Self {
        let shared = Arc::new(Shared {
            client,
            stream: names::registered(number),
            number,
            fold: Mutex::new(Fold::new(buckets)),
            read: watch::Sender::new(0),
            look: Notify::new(),
            doubt: watch::Sender::new(None),
            damage: OnceLock::new(),
            read_once: AtomicBool::new(false),
        });
        let following = Arc::clone(&shared);
        let follower = tokio::spawn(async move {
            tokio::join!(following.follow(), following.settle_doubts());
        });
        Self {
            number,
            key,
            shared,
            follower,
        }
    }

    pub(crate) fn stream(&self) -> &str {
        &self.shared.stream
    }

    pub(crate) fn subject(&self, bucket: u16) -> String {
        names::registered_subject(self.number, bucket)
    }

    pub(crate) fn fold<T>(&self, look: impl FnOnce(&mut Fold) -> T) -> T {
        look(&mut self.shared.fold.lock())
    }

    /// Why this day can be trusted no more.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.shared.damage.get().map(String::as_str)
    }

    /// Whether what stood there at the start was read.
    pub(crate) fn is_read_once(&self) -> bool {
        self.shared.read_once.load(Ordering::Relaxed)
    }

    pub(crate) fn was_read_once(&self) {
        self.shared.read_once.store(true, Ordering::Relaxed);
    }

    /// This process wrote the bucket's next message.
    pub(crate) fn wrote(&self, bucket: u16, sequence: u64, message: &[u8]) {
        self.fold(|fold| fold.see(bucket, sequence, &Message::read(message)));
    }

    /// Reads on until the bucket is known as far as its leader has it.
    ///
    /// # Errors
    /// Also where the leader has less than was seen before. That may pass: see [`LOOKS`].
    pub(crate) async fn catch_up(&self, bucket: u16) -> Result<(), RecordsError> {
        // Before the question: what is seen meanwhile is no sign that the stream went back.
        let seen = self.fold(|fold| fold.tail(bucket));
        let body = json!({ "last_by_subj": self.subject(bucket) });
        let last = api::get_from_leader(&self.shared.client, self.stream(), &body).await;
        let last = last.map_err(failed)?.map_or(0, |message| message.sequence);
        if last < seen {
            self.shared.doubt(Seen { bucket, sequence: seen });
            return Err(failed(format!(
                "bucket {bucket:04x} ends at {last}; {seen} was seen before"
            )));
        }
        if self.fold(|fold| fold.tail(bucket)) >= last && self.damage().is_none() {
            return Ok(());
        }
        self.read_through(last).await
    }

    /// Waits until everything up to a sequence was read.
    pub(crate) async fn read_through(&self, sequence: u64) -> Result<(), RecordsError> {
        let mut read = self.shared.read.subscribe();
        loop {
            if let Some(damage) = self.damage() {
                return Err(failed(damage));
            }
            if *read.borrow_and_update() >= sequence {
                return Ok(());
            }
            self.shared.look.notify_one();
            let changed = read.changed().await;
            changed.map_err(|_| failed("the follower of registrations ended"))?;
        }
    }

    /// The message at a place, whose bytes never change.
    pub(crate) async fn message(&self, sequence: u64) -> Result<Option<StoredMessage>, RecordsError> {
        let body = json!({ "seq": sequence });
        if let Ok(Some(message)) = api::get_from_any(&self.shared.client, self.stream(), &body).await {
            return Ok(Some(message));
        }
        let message = api::get_from_leader(&self.shared.client, self.stream(), &body).await;
        message.map_err(failed)
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Shared {
    async fn follow(&self) {
        let mut pause = SHORTEST_PAUSE;
        while self.damage.get().is_none() {
            let next = self.fold.lock().read() + 1;
            let body = json!({ "seq": next, "batch": BATCH });
            let asked = api::get_batch(&self.client, &self.stream, &body);
            let answered = tokio::time::timeout(api::ATTEMPT, asked).await;
            pause = match answered.unwrap_or(Err(ApiError::TimedOut)) {
                Ok(messages) if messages.is_empty() => (pause * 2).min(LONGEST_PAUSE),
                Ok(messages) => {
                    if let Some(missing) = self.take(&messages) {
                        self.find_missing(missing).await;
                    }
                    if messages.len() >= BATCH {
                        continue;
                    }
                    SHORTEST_PAUSE
                }
                Err(error) => {
                    tracing::debug!(day = self.number, %error, "registrations could not be read; looking again");
                    LONGEST_PAUSE
                }
            };
            // Whoever waits for a registration that is not here yet ends the pause.
            let _ = tokio::time::timeout(pause, self.look.notified()).await;
        }
    }

    /// Folds messages in order; the sequence of one that is missing among them, if any.
    fn take(&self, messages: &[StoredMessage]) -> Option<u64> {
        let mut missing = None;
        let mut fold = self.fold.lock();
        for message in messages {
            let read = Message::read(&message.payload);
            let bucket = names::bucket_of_subject(&message.subject).unwrap_or(u16::MAX);
            if read == Message::Strange {
                tracing::error!(
                    day = self.number,
                    sequence = message.sequence,
                    "ALARM: a message among the registrations that no honest verifier writes"
                );
            }
            if !fold.follow(bucket, message.sequence, &read) {
                missing = Some(fold.read() + 1);
                break;
            }
        }
        let through = fold.read();
        drop(fold);
        self.read.send_replace(through);
        missing
    }

    /// Whoever answered may have had a hole; where leaders have it too, the stream is not what it was.
    async fn find_missing(&self, sequence: u64) {
        match self.as_leaders_have(sequence).await {
            Some(message) => {
                self.take(&[message]);
            }
            None => self.damaged(format!("message {sequence} is missing")),
        }
    }

    /// Remembers that a leader lacks what was seen; one doubt at a time is enough.
    fn doubt(&self, seen: Seen) {
        self.doubt.send_if_modified(|doubt| {
            let is_new = doubt.is_none();
            if is_new {
                tracing::warn!(
                    day = self.number,
                    bucket = seen.bucket,
                    sequence = seen.sequence,
                    "a leader lacks a registration that was seen; looking again"
                );
                *doubt = Some(seen);
            }
            is_new
        });
    }

    /// Looks again after what a leader lacked, beside all other work, until the day is damaged.
    async fn settle_doubts(&self) {
        let mut doubts = self.doubt.subscribe();
        while self.damage.get().is_none() {
            let Ok(doubt) = doubts.wait_for(Option::is_some).await.map(|doubt| *doubt) else {
                return;
            };
            let Some(Seen { bucket, sequence }) = doubt else {
                continue;
            };
            let found = self.as_leaders_have(sequence).await;
            // Another bucket's in its place: the stream was begun anew, and has grown.
            if found.is_some_and(|message| names::bucket_of_subject(&message.subject) == Some(bucket)) {
                self.doubt.send_replace(None);
            } else {
                self.damaged(format!(
                    "message {sequence} of bucket {bucket:04x} was seen before: the stream WENT BACK"
                ));
            }
        }
    }

    /// A message as leaders have it; none only where one lacks it who cannot be cut off from its fellows any more: see
    /// [`LOOKS`]. Asks until it knows.
    async fn as_leaders_have(&self, sequence: u64) -> Option<StoredMessage> {
        let body = json!({ "seq": sequence });
        let mut lacking = 0;
        while lacking < LOOKS {
            match api::get_from_leader(&self.client, &self.stream, &body).await {
                Ok(Some(message)) => return Some(message),
                Ok(None) => lacking += 1,
                // Who answers after a silence may be an old leader again.
                Err(error) => {
                    tracing::debug!(day = self.number, sequence, %error, "a leader could not be asked");
                    lacking = 0;
                }
            }
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
        None
    }

    fn damaged(&self, reason: String) {
        let reason = format!("the registrations of day {} are damaged: {reason}", self.number);
        if self.damage.set(reason.clone()).is_ok() {
            tracing::error!(reason, "REGISTRATIONS ARE REFUSED");
        }
        // Whoever waits looks again.
        self.read.send_modify(|_| ());
    }
}
