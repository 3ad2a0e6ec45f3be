//! The engine of one process: a database in a folder, and one key file per day.
//!
//! Records of ordinary scans are appended to a buffer in memory, which is sealed and written as one chunk a few
//! times per second; a crash loses the buffer. Concurrent registrations share one sync, and the same (device,
//! scan id) is one record as long as records are retained.
//!
//! ```text
//! scans.redb   table scans-5       (day:u32, sequence:u64) → sealed chunk
//!              table registered-4  (device, scan id) hashed:16 → day:u32 and sealed record
//!              table extent-1      () → writes:u64, newest day:u32
//!              table recorded-1    day:u32 → the last batch whose digest is in the log:u64
//!              table writers-1     (day:u32, first batch:u64) → the random id of the process that wrote from there on:8
//!              table log-1         the log of the records; see `citycode_vault::log_binding`
//! keys/DAY.key 32 bytes, 0600      day = days since 1970 (UTC)
//! ```

mod retention;
mod store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use citycode_domain::event::ScanBatches;
use citycode_service_kit::entropy::Entropy;
use citycode_vault::log_binding::{BindingError, ForLog};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::archive::{Batches, RecordArchive};
use crate::chunk::Chunk;
use crate::{RecordsError, Registered, ScanNote, ScanRecord, ScanRecords, ShownBytes, count_dropped, day_of, failed};
use store::{Registration, Store, scan_name};

/// Interval of writes: a compromise between what a crash may lose and the load of the disk.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// A buffer of this size is written at once: some twenty thousand records.
const URGENT_BYTES: usize = 1 << 20;
/// Limit of buffered records in bytes while the disk is slow; beyond it, records are dropped.
const MAX_BYTES: usize = 32 << 20;
/// Limit of waiting registrations; beyond it, they are refused.
const MAX_REGISTRATIONS: usize = 16_384;

type Answer = oneshot::Sender<Result<Registered, RecordsError>>;

/// The records of one process. Dropping it writes the buffer.
pub struct EmbeddedScanRecords {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    store: Store,
    waiting: Mutex<Waiting>,
    /// Notified when the writer should not wait longer.
    urgent: Condvar,
}

/// The contents of the next transaction.
#[derive(Default)]
struct Waiting {
    /// By day; nearly always one.
    chunks: BTreeMap<u32, Chunk>,
    bytes: usize,
    /// Number of scans in the chunks.
    scans: u64,
    registrations: Vec<(Registration, Answer)>,
    stopping: bool,
}

/// How far records were written; an older copy has a smaller extent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Extent {
    /// Number of durable transactions that wrote records since the file was created. Removing records does not
    /// change it.
    pub writes: u64,
    /// The newest day with a written record, in days since 1970 (UTC).
    pub day: u32,
}

/// Batches are read until they have this many sealed bytes: their records take some seven times as much memory.
const BYTES_AT_ONCE: usize = 4 << 20;

/// Why the scan records of a log were not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenForLogError {
    /// The file is missing, or belongs to another log.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The file cannot be used.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl EmbeddedScanRecords {
    /// Opens the records of a folder, or creates them, whatever log they belong to. For tests and benchmarks.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn open(folder: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, RecordsError> {
        Self::over(Store::open(folder, entropy)?)
    }

    /// Opens the records of a log; `how` says whether they may be created.
    ///
    /// # Errors
    /// [`OpenForLogError`]; nothing was created.
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

    /// The records of a day (days since 1970, UTC) that are on disk, in the order of writing.
    ///
    /// # Errors
    /// [`RecordsError`], also if a record was changed.
    pub fn day(&self, day: u32) -> Result<Vec<ScanRecord>, RecordsError> {
        let mut records = Vec::new();
        let mut after = 0;
        loop {
            let batches = self.shared.store.batches(day, after, BYTES_AT_ONCE)?;
            let Some(last) = batches.last() else {
                return Ok(records);
            };
            after = last.number;
            for batch in batches {
                records.extend(batch.records?);
            }
        }
    }

    /// An archive of the records, for audits.
    #[must_use]
    pub fn archive(&self) -> EmbeddedArchive {
        EmbeddedArchive(Arc::clone(&self.shared))
    }

    /// The batches whose digests were not marked as recorded in the log: an entry for each day and writer, and more if
    /// batches are missing. Blocks its thread.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn unrecorded(&self) -> Result<Vec<ScanBatches>, RecordsError> {
        self.shared.store.unrecorded()
    }

    /// Marks batches whose digests are durable in the log. Blocks its thread.
    ///
    /// # Errors
    /// [`RecordsError`]; they are returned by [`Self::unrecorded`] again.
    pub fn mark_recorded(&self, batches: &[ScanBatches]) -> Result<(), RecordsError> {
        self.shared.store.mark_recorded(batches)
    }

    /// Forgets which batches have digests in the log, after the log lost changes: all digests are appended again. Blocks its
    /// thread.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn forget_recorded(&self) -> Result<(), RecordsError> {
        self.shared.store.forget_recorded()
    }

    /// Destroys records and keys of days before `first_kept` (days since 1970).
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn forget_before(&self, first_kept: u32) -> Result<(), RecordsError> {
        self.shared.store.forget_before(first_kept)
    }
}

/// The records of one process, for audits. Reads run on threads for blocking work.
#[derive(Clone)]
pub struct EmbeddedArchive(Arc<Shared>);

impl EmbeddedArchive {
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, RecordsError> + Send + 'static,
    ) -> Result<T, RecordsError> {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || read(&shared.store)).await;
        done.map_err(failed)?
    }
}

#[async_trait]
impl RecordArchive for EmbeddedArchive {
    async fn days(&self) -> Result<Vec<u32>, RecordsError> {
        self.read(Store::days).await
    }

    async fn batches(&self, day: u32, from: u64) -> Result<Batches, RecordsError> {
        self.read(move |store| {
            let batches = store.batches(day, from, BYTES_AT_ONCE)?;
            let next = batches.last().map_or(from, |last| last.number);
            Ok(Batches { batches, next })
        })
        .await
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
        let chunk = chunk.or_insert_with(|| Chunk::with_capacity(URGENT_BYTES + URGENT_BYTES / 8));
        let before = chunk.bytes().len();
        chunk.push(note, None);
        let added = chunk.bytes().len() - before;
        let was_urgent = waiting.bytes >= URGENT_BYTES;
        waiting.bytes += added;
        if waiting.bytes >= URGENT_BYTES && !was_urgent {
            self.shared.urgent.notify_one();
        }
    }

    async fn register(&self, note: &ScanNote<&str>, shown: ShownBytes) -> Result<Registered, RecordsError> {
        let (answer, answered) = oneshot::channel();
        let registration = Registration {
            scan: note.into_owned(),
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
        // `Drop` writes the buffer.
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

    /// Waits until the buffer is urgent or the interval has passed.
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
            // A caller that no longer waits needs no result.
            let _ = answer.send(one);
        }
    }
}
