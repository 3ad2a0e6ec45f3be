//! Scan records, apart from the log of codes: sealed under a key of the day, so that retention can destroy both.
//!
//! An ordinary scan's record is appended to a buffer in memory, which is sealed and written as one chunk a few times a
//! second; a crash loses what was noted since. Under overload, records are dropped and counted. A sampling desk's
//! record is durable before its answer, registrations at the same time share a sync, and the same (device, scan id) is
//! one record as long as records are kept (R20): a repeat gets the verdict that stands in it. What was shown stands in
//! it as an HMAC under the day's key, so that a scan id used for another code or card is noticed and nobody's number
//! can be tried out once the key is destroyed.
//!
//! ```text
//! scans.redb   table scans-5       (day:u32, sequence:u64) → sealed chunk
//!              table registered-4  (device, scan id) hashed:16 → day:u32 and sealed record
//! keys/DAY.key 32 bytes, 0600      day = days since 1970 (UTC)
//! ```

mod record;
mod store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use citycode_service_kit::entropy::Entropy;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

pub use record::{ScanNote, ScanRecord};
use store::{Registration, Store, day_of, scan_name};

const DAY_SECONDS: i64 = 86_400;
/// What a crash may lose of ordinary scans' records, and how often the disk is bothered.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// A buffer this large does not wait for its turn: some twenty thousand records.
const URGENT_BYTES: usize = 1 << 20;
/// Records that may wait while the disk is slow, in bytes; beyond, they are dropped.
const MAX_BYTES: usize = 32 << 20;
/// Registrations that may wait; beyond, they are refused.
const MAX_REGISTRATIONS: usize = 16_384;

/// Why records cannot be kept.
#[derive(Debug, Clone, thiserror::Error)]
#[error("scan records cannot be kept: {0}")]
pub struct RecordsError(String);

/// What came of a registration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Registered {
    /// It is recorded now.
    Now,
    /// It was before, as this.
    Before(ScanRecord),
    /// The device has used the scan id for something else; nothing was recorded.
    ForAnother,
}

/// What was shown, only to be told apart from what else was: a code's digest, or the bytes of a card's number.
pub type ShownBytes = Zeroizing<Vec<u8>>;

type Answer = oneshot::Sender<Result<Registered, RecordsError>>;

/// Where scan records go. Dropping it writes what waits.
pub struct ScanRecords {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    store: Store,
    waiting: Mutex<Waiting>,
    /// Something is urgent.
    urgent: Condvar,
}

/// What waits for the next transaction.
#[derive(Default)]
struct Waiting {
    /// By day. Nearly always one.
    chunks: BTreeMap<u32, Vec<u8>>,
    bytes: usize,
    /// In the chunks.
    scans: u64,
    registrations: Vec<(Registration, Answer)>,
    stopping: bool,
}

impl ScanRecords {
    /// Opens the records of a folder, or makes it.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn open(folder: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, RecordsError> {
        let shared = Arc::new(Shared {
            store: Store::open(folder, entropy)?,
            waiting: Mutex::default(),
            urgent: Condvar::new(),
        });
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("scan-records".into())
            .spawn(move || writing.run())
            .map_err(failed)?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Records an ordinary scan, if there is room; never waits for the disk.
    pub fn note(&self, note: &ScanNote<&str>) {
        let Ok(day) = day_of(note.at) else { return };
        let mut waiting = self.shared.waiting.lock();
        if waiting.bytes >= MAX_BYTES {
            drop(waiting);
            count_dropped(1);
            return;
        }
        waiting.scans += 1;
        let chunk = waiting.chunks.entry(day);
        let chunk = chunk.or_insert_with(|| Vec::with_capacity(URGENT_BYTES + URGENT_BYTES / 8));
        let before = chunk.len();
        note.write_to_chunk(None, chunk);
        let added = chunk.len() - before;
        let was_urgent = waiting.bytes >= URGENT_BYTES;
        waiting.bytes += added;
        if waiting.bytes >= URGENT_BYTES && !was_urgent {
            self.shared.urgent.notify_one();
        }
    }

    /// Records a registration; durable once it returns. Of one (device, scan id) only the first is recorded.
    ///
    /// # Errors
    /// [`RecordsError`]; then the person was not registered.
    pub async fn register(&self, note: &ScanNote<&str>, shown: ShownBytes) -> Result<Registered, RecordsError> {
        let (answer, answered) = oneshot::channel();
        let registration = Registration {
            scan: note.kept(),
            shown,
        };
        {
            let mut waiting = self.shared.waiting.lock();
            if waiting.registrations.len() >= MAX_REGISTRATIONS {
                return Err(RecordsError("too many registrations wait for the disk".into()));
            }
            waiting.registrations.push((registration, answer));
        }
        self.shared.urgent.notify_one();
        answered.await.map_err(|_| RecordsError("the writer stopped".into()))?
    }

    /// What was registered under this scan id before, if anything: none where it is new.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn registered(
        &self,
        device: &str,
        scan_id: &str,
        shown: &ShownBytes,
    ) -> Result<Option<Registered>, RecordsError> {
        self.shared.store.registered(scan_name(device, scan_id), shown)
    }

    /// The records of a day (days since 1970, UTC) that are on disk, in the order in which they were written.
    ///
    /// # Errors
    /// [`RecordsError`], also where one was changed since.
    pub fn day(&self, day: u32) -> Result<Vec<ScanRecord>, RecordsError> {
        self.shared.store.day(day)
    }

    /// Destroys records and keys of days before `first_kept` (days since 1970).
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn forget_before(&self, first_kept: u32) -> Result<(), RecordsError> {
        self.shared.store.forget_before(first_kept)
    }
}

impl Drop for ScanRecords {
    fn drop(&mut self) {
        self.shared.waiting.lock().stopping = true;
        self.shared.urgent.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of scan records panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let (taken, stopping) = self.wait();
            self.write(taken);
            if stopping {
                return;
            }
        }
    }

    /// Until something is urgent or the time is up.
    fn wait(&self) -> (Waiting, bool) {
        let mut waiting = self.waiting.lock();
        let idle = |waiting: &mut Waiting| {
            waiting.registrations.is_empty() && waiting.bytes < URGENT_BYTES && !waiting.stopping
        };
        self.urgent.wait_while_for(&mut waiting, idle, WRITE_EVERY);
        let stopping = waiting.stopping;
        (std::mem::take(&mut *waiting), stopping)
    }

    fn write(&self, taken: Waiting) {
        if taken.chunks.is_empty() && taken.registrations.is_empty() {
            return;
        }
        let registrations = taken.registrations.iter().map(|(registration, _)| registration);
        let outcome = self.store.write(taken.chunks, registrations);
        if let Err(error) = &outcome {
            tracing::error!(%error, "scan records were not written");
            count_dropped(taken.scans);
        }
        let mut outcome = outcome.map(Vec::into_iter);
        for (_, answer) in taken.registrations {
            let one = match &mut outcome {
                Ok(answers) => answers.next().expect("one answer for each registration of the batch"),
                Err(error) => Err(error.clone()),
            };
            // A caller that went away needs no answer.
            let _ = answer.send(one);
        }
    }
}

fn count_dropped(records: u64) {
    metrics::counter!("citycode_verifier_scan_records_dropped_total").increment(records);
}

fn failed(error: impl std::fmt::Display) -> RecordsError {
    RecordsError(error.to_string())
}
