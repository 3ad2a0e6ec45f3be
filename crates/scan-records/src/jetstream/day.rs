//! The open streams of one day: its key, the fold of its registrations, and the follower that keeps the fold
//! current.

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

/// Registrations per request: some 100 kB.
const BATCH: usize = 512;
/// Pause between two requests while registrations arrive, and the longest while none do. A registration of
/// another verifier in the meantime causes a conflict, which ends the pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Number of consecutive responses, [`LONGEST_PAUSE`] apart, that must lack a message that was seen before the
/// stream is declared damaged: 25 s. A leader that is partitioned from the other servers answers its clients
/// with old state for up to some 20 s.
const MAX_LACKING_RESPONSES: u32 = 50;

/// An open day. It follows its registrations until it is dropped.
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
    /// A message that was seen but that a leader lacks.
    missing: watch::Sender<Option<Seen>>,
    /// Why this day can no longer be trusted.
    damage: OnceLock<String>,
    /// Whether the registrations that existed at the start were read.
    read_once: AtomicBool,
}

/// The last message of a bucket.
#[derive(Clone, Copy)]
struct Seen {
    bucket: u16,
    sequence: u64,
}

impl Day {
    /// Opens a day and follows its registrations from the first.
    pub(crate) fn open(client: Client, number: u32, key: DayKey, buckets: u32) -> Self {
        let shared = Arc::new(Shared {
            client,
            stream: names::registered(number),
            number,
            fold: Mutex::new(Fold::new(buckets)),
            read: watch::Sender::new(0),
            look: Notify::new(),
            missing: watch::Sender::new(None),
            damage: OnceLock::new(),
            read_once: AtomicBool::new(false),
        });
        let following = Arc::clone(&shared);
        let follower = tokio::spawn(async move {
            tokio::join!(following.follow(), following.verify_missing());
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

    /// Why this day can no longer be trusted.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.shared.damage.get().map(String::as_str)
    }

    /// Whether the registrations that existed at the start were read.
    pub(crate) fn is_read_once(&self) -> bool {
        self.shared.read_once.load(Ordering::Relaxed)
    }

    pub(crate) fn was_read_once(&self) {
        self.shared.read_once.store(true, Ordering::Relaxed);
    }

    /// Records that this process wrote the bucket's next message.
    pub(crate) fn wrote(&self, bucket: u16, sequence: u64, message: &[u8]) {
        self.fold(|fold| fold.see(bucket, sequence, &Message::read(message)));
    }

    /// Reads until the bucket is known up to its leader's last message.
    ///
    /// # Errors
    /// [`RecordsError`], also if the leader has less than was seen before, which may be transient: see
    /// [`MAX_LACKING_RESPONSES`].
    pub(crate) async fn catch_up(&self, bucket: u16) -> Result<(), RecordsError> {
        // This is read before the request: messages that are seen during the request do not show that the
        // stream went back.
        let seen = self.fold(|fold| fold.tail(bucket));
        let body = json!({ "last_by_subj": self.subject(bucket) });
        let last = api::get_from_leader(&self.shared.client, self.stream(), &body).await;
        let last = last.map_err(failed)?.map_or(0, |message| message.sequence);
        if last < seen {
            self.shared.report_missing(Seen { bucket, sequence: seen });
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

    /// The message at a sequence, whose bytes never change.
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
                    tracing::debug!(day = self.number, %error, "registrations could not be read; retrying");
                    LONGEST_PAUSE
                }
            };
            // A caller that waits for a registration ends the pause.
            let _ = tokio::time::timeout(pause, self.look.notified()).await;
        }
    }

    /// Folds messages in order; returns the sequence of the first missing one, if any.
    fn take(&self, messages: &[StoredMessage]) -> Option<u64> {
        let mut missing = None;
        let mut fold = self.fold.lock();
        for message in messages {
            let read = Message::read(&message.payload);
            let bucket = names::bucket_of_subject(&message.subject).unwrap_or(u16::MAX);
            if read == Message::Unknown {
                tracing::error!(
                    day = self.number,
                    sequence = message.sequence,
                    "ALARM: protocol violation among the registrations: a message of unknown format"
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

    /// The server that answered may lack the message; if leaders lack it too, the stream is damaged.
    async fn find_missing(&self, sequence: u64) {
        match self.message_by_leaders(sequence).await {
            Some(message) => {
                self.take(&[message]);
            }
            None => self.damaged(format!("message {sequence} is missing")),
        }
    }

    /// Records that a leader lacks a message that was seen. One at a time is enough.
    fn report_missing(&self, seen: Seen) {
        self.missing.send_if_modified(|missing| {
            let is_new = missing.is_none();
            if is_new {
                tracing::warn!(
                    day = self.number,
                    bucket = seen.bucket,
                    sequence = seen.sequence,
                    "a leader lacks a registration that was seen; verifying"
                );
                *missing = Some(seen);
            }
            is_new
        });
    }

    /// Verifies messages that a leader lacked, concurrently with other work, until the day is damaged.
    async fn verify_missing(&self) {
        let mut reports = self.missing.subscribe();
        while self.damage.get().is_none() {
            let Ok(missing) = reports.wait_for(Option::is_some).await.map(|missing| *missing) else {
                return;
            };
            let Some(Seen { bucket, sequence }) = missing else {
                continue;
            };
            let found = self.message_by_leaders(sequence).await;
            // A message of another bucket at that sequence means that the stream was created again and has
            // grown.
            if found.is_some_and(|message| names::bucket_of_subject(&message.subject) == Some(bucket)) {
                self.missing.send_replace(None);
            } else {
                self.damaged(format!(
                    "message {sequence} of bucket {bucket:04x} was seen before: the stream WENT BACK"
                ));
            }
        }
    }

    /// A message as leaders have it; `None` only if a leader lacks it that can no longer be partitioned from
    /// the other servers: see [`MAX_LACKING_RESPONSES`]. It retries until it has a result.
    async fn message_by_leaders(&self, sequence: u64) -> Option<StoredMessage> {
        let body = json!({ "seq": sequence });
        let mut lacking = 0;
        while lacking < MAX_LACKING_RESPONSES {
            match api::get_from_leader(&self.client, &self.stream, &body).await {
                Ok(Some(message)) => return Some(message),
                Ok(None) => lacking += 1,
                // The server that answers after a timeout may again be an old leader.
                Err(error) => {
                    tracing::debug!(day = self.number, sequence, %error, "a leader could not be queried");
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
        // Wakes the waiting callers, which check for damage.
        self.read.send_modify(|_| ());
    }
}
