//! The engine of one process: a database in a folder, and a key file for each day.
//!
//! An ordinary scan's record is appended to a buffer in memory, which is sealed and written as one chunk a few times a
//! second; a crash loses what was noted since. Registrations at the same time share a sync, and the same (device, scan
//! id) is one record as long as records are kept.
//!
//! ```text
//! scans.redb   table scans-5       (day:u32, sequence:u64) → sealed chunk
//!              table registered-4  (device, scan id) hashed:16 → day:u32 and sealed record
//!              table extent-1      () → writes:u64, newest day:u32
//!              table log-1         which log they belong to; see `citycode_vault::log_binding`
//! keys/DAY.key 32 bytes, 0600      day = days since 1970 (UTC)
//! ```

mod store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use citycode_service_kit::entropy::Entropy;
use citycode_vault::log_binding::{BindingError, ForLog};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::{RecordsError, Registered, ScanNote, ScanRecord, ScanRecords, ShownBytes, count_dropped, day_of, failed};
use store::{Registration, Store, scan_name};

/// What a crash may lose of ordinary scans' records, and how often the disk is bothered.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// A buffer this large does not wait for its turn: some twenty thousand records.
const URGENT_BYTES: usize = 1 << 20;
/// Records that may wait while the disk is slow, in bytes; beyond, they are dropped.
const MAX_BYTES: usize = 32 << 20;
/// Registrations that may wait; beyond, they are refused.
const MAX_REGISTRATIONS: usize = 16_384;

type Answer = oneshot::Sender<Result<Registered, RecordsError>>;

/// The records of one process. Dropping it writes what waits.
pub struct EmbeddedScanRecords {
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

/// How far records were written: what a copy of them that is older has less of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Extent {
    /// Durable transactions that wrote records since the file was made. Forgetting records does not change it.
    pub writes: u64,
    /// The newest day of which a record was written, in days since 1970 (UTC).
    pub day: u32,
}

/// Why the scan records of a log were not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenForLogError {
    /// The file is missing, or belongs to another log.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// It cannot be used.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl EmbeddedScanRecords {
    /// Opens the records of a folder, or makes it, whichever log they belong to: for tests and measurements.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn open(folder: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, RecordsError> {
        Self::over(Store::open(folder, entropy)?)
    }

    /// Opens the records that belong to a log; `how` says whether they may be made.
    ///
    /// # Errors
    /// [`OpenForLogError`]; nothing was made then.
    pub fn open_for_log(
        folder: &Path,
        entropy: Arc<dyn Entropy>,
        log_id: &[u8; 16],
        how: ForLog,
    ) -> Result<Self, OpenForLogError> {
        Ok(Self::over(Store::open_for_log(folder, entropy, log_id, how)?)?)
    }

    fn over(store: Store) -> Result<Self, RecordsError> {
        let shared = Arc::new(Shared {
            store,
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

    /// How far records are durable.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn extent(&self) -> Result<Extent, RecordsError> {
        self.shared.store.extent()
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

#[async_trait]
impl ScanRecords for EmbeddedScanRecords {
    fn note(&self, note: &ScanNote<&str>) {
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

    async fn register(&self, note: &ScanNote<&str>, shown: ShownBytes) -> Result<Registered, RecordsError> {
        let (answer, answered) = oneshot::channel();
        let registration = Registration {
            scan: note.kept(),
            shown,
        };
        {
            let mut waiting = self.shared.waiting.lock();
            if waiting.registrations.len() >= MAX_REGISTRATIONS {
                return Err(failed("too many registrations wait for the disk"));
            }
            waiting.registrations.push((registration, answer));
        }
        self.shared.urgent.notify_one();
        answered
            .await
            .map_err(|_| RecordsError::Unknown("the writer stopped".into()))?
    }

    async fn registered(&self, note: &ScanNote<&str>, shown: &ShownBytes) -> Result<Option<Registered>, RecordsError> {
        self.shared
            .store
            .registered(scan_name(note.device, note.scan_id), shown)
    }

    async fn flush(&self) {
        // Dropping does it.
    }
}

impl Drop for EmbeddedScanRecords {
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
