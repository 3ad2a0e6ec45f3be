//! Ordinary scans: thousands per message, sealed, in order, each message once.
//!
//! Each process writes to its own subject, so that the subject's last message shows whether an unacknowledged
//! one was written. The next message waits until one is acknowledged, and scans are buffered in the meantime;
//! beyond [`MAX_BYTES`] they are dropped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use citycode_jetstream::Client;
use citycode_jetstream::api;
use citycode_jetstream::publish::{Published, publish};
use citycode_vault::FillRandom;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, watch};

use super::days::Days;
use super::names;
use super::settings::MAX_CHUNK_BYTES;
use crate::chunk::Chunk;
use crate::{RecordsError, ScanNote, count_dropped, day_of, failed};

/// Interval of writes: a compromise between what a crash may lose and the load of the servers.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// A chunk of this size is written at once: some ten thousand scans.
const FULL_BYTES: usize = MAX_CHUNK_BYTES - 4 * 1024;
/// Limit of buffered scans in bytes; beyond it, they are dropped.
const MAX_BYTES: usize = 32 << 20;
/// Pause after a failed attempt.
const PAUSE: Duration = Duration::from_millis(250);
/// Time that shutdown waits for the remaining scans.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Buffered scans, and the number of finished chunks.
pub(super) struct Chunks {
    waiting: Mutex<Waiting>,
    full: Notify,
    /// Number of chunks that are written or given up.
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct Waiting {
    chunks: VecDeque<DayChunk>,
    bytes: usize,
    /// Whether a chunk was taken from the queue and is being written.
    is_writing: bool,
}

struct DayChunk {
    day: u32,
    records: Chunk,
    scans: u64,
}

/// The subject writer of one process.
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) days: Arc<Days>,
    pub(super) random: FillRandom,
    /// The last token of its subjects: random and unique to this process.
    pub(super) name: String,
    /// Sequence of the last message of its subject, by day.
    pub(super) last: BTreeMap<u32, u64>,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            full: Notify::new(),
            done: watch::Sender::new(0),
        }
    }

    /// Buffers a scan if there is space.
    pub(super) fn note(&self, note: &ScanNote<&str>) {
        let Ok(day) = day_of(note.at) else { return };
        let mut waiting = self.waiting.lock();
        if waiting.bytes >= MAX_BYTES {
            drop(waiting);
            count_dropped(1);
            return;
        }
        let fits = |chunk: &DayChunk| chunk.day == day && chunk.records.bytes().len() < FULL_BYTES;
        if !waiting.chunks.back().is_some_and(fits) {
            let was_empty = waiting.chunks.is_empty();
            waiting.chunks.push_back(DayChunk {
                day,
                records: Chunk::default(),
                scans: 0,
            });
            if !was_empty {
                self.full.notify_one();
            }
        }
        let chunk = waiting.chunks.back_mut().expect("a chunk was just added");
        let before = chunk.records.bytes().len();
        chunk.records.push(note, None);
        chunk.scans += 1;
        let added = chunk.records.bytes().len() - before;
        waiting.bytes += added;
    }

    /// Waits until everything is written, up to [`FLUSH_WITHIN`].
    pub(super) async fn flush(&self) {
        self.full.notify_one();
        let mut done = self.done.subscribe();
        let empty = async { while !self.waiting.lock().is_empty() && done.changed().await.is_ok() {} };
        if tokio::time::timeout(FLUSH_WITHIN, empty).await.is_err() {
            let waiting = self.waiting.lock();
            let left: u64 = waiting.chunks.iter().map(|chunk| chunk.scans).sum();
            tracing::error!(left, "scans could not be written in time");
        }
    }

    /// Writes the buffer until the task is aborted.
    pub(super) async fn run(&self, mut writer: Writer) {
        loop {
            let _ = tokio::time::timeout(WRITE_EVERY, self.full.notified()).await;
            while let Some(chunk) = self.first() {
                if let Err(error) = writer.write(&chunk).await {
                    tracing::error!(%error, scans = chunk.scans, "scans were not written");
                    count_dropped(chunk.scans);
                }
                self.waiting.lock().is_writing = false;
                self.done.send_modify(|done| *done += 1);
            }
        }
    }

    /// Takes the oldest chunk from the queue, so that no scan is added to it.
    fn first(&self) -> Option<DayChunk> {
        let mut waiting = self.waiting.lock();
        let chunk = waiting.chunks.pop_front()?;
        waiting.bytes -= chunk.records.bytes().len();
        waiting.is_writing = true;
        Some(chunk)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && !self.is_writing
    }
}

impl Writer {
    /// Writes a chunk, with unlimited retries.
    ///
    /// # Errors
    /// The chunk's day is past, or it can never be written.
    async fn write(&mut self, chunk: &DayChunk) -> Result<(), RecordsError> {
        let (mut sealed, mut warned): (Option<Vec<u8>>, bool) = (None, false);
        loop {
            let Some(day) = self.days.get(chunk.day) else {
                if self.days.is_out_of_reach(chunk.day) {
                    return Err(failed(format!(
                        "the streams of day {} were not created in time",
                        chunk.day
                    )));
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let bytes = match &sealed {
                Some(bytes) => bytes,
                None => sealed.insert(day.key.seal_chunk(&self.random, chunk.records.bytes())?),
            };
            let subject = names::scans_subject(chunk.day, &self.name);
            let last = self.last.get(&chunk.day).copied().unwrap_or(0);
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{}-{last}", self.name));
            headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
            match publish(&self.client, subject.clone(), headers, bytes.clone().into()).await {
                Published::Written(sequence) | Published::Known(sequence) => {
                    self.last.insert(chunk.day, sequence);
                    self.last.retain(|day, _| *day + 1 >= chunk.day);
                    return Ok(());
                }
                // An earlier attempt was written, because no other process writes to this subject.
                Published::WrongRevision => {
                    let body = json!({ "last_by_subj": subject });
                    let there = api::get_from_leader(&self.client, &names::scans(chunk.day), &body).await;
                    if let Ok(there) = there {
                        let sequence = there.as_ref().map_or(0, |message| message.sequence);
                        self.last.insert(chunk.day, sequence);
                        if there.is_some_and(|message| message.payload == *bytes) {
                            return Ok(());
                        }
                    }
                }
                Published::NotNow(why)
                | Published::InFlight(why)
                | Published::Refused(why)
                | Published::Unknown(why) => {
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(why, "scans wait to be written");
                    }
                }
                Published::Unanswered => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
