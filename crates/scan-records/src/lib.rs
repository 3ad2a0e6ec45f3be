//! Records of scans, stored separately from the log of codes (R20).
//!
//! The record of an ordinary scan is written in a batch with thousands of others, and may be dropped under
//! overload. A registration at a sampling desk is durable before its response, and recorded once per (device,
//! scan id). Everything is sealed under a key of its day, so that retention can destroy both. A registration
//! contains what was shown as an HMAC under the day's key, so that a scan id that is reused for another code or
//! card is detected, and nobody can find an ID number by trying candidates once the key is destroyed.
//!
//! [`ScanRecords`] is the port; [`embedded::EmbeddedScanRecords`] is the engine of one process,
//! [`jetstream::JetStreamScanRecords`] that of a city's verifiers on NATS servers (decision 12).

mod archive;
mod chunk;
pub mod embedded;
pub mod jetstream;
mod record;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use archive::{Batch, Batches, RecordArchive};
pub use chunk::{read_chunk, write_chunk};
pub use record::{Basis, NotInLog, ScanNote, ScanRecord, ShownEvidence};

/// Seconds of a UTC day.
pub const DAY_SECONDS: i64 = 86_400;

/// Why records cannot be written. It never names a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// Nothing was recorded.
    #[error("scan records cannot be written: {0}")]
    Unavailable(String),
    /// The scan may have been recorded. Repeating it shows whether it was.
    #[error("it is unknown whether the scan was recorded: {0}")]
    Unknown(String),
}

/// The result of a registration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Registered {
    /// It was recorded by this call.
    Now,
    /// It was recorded earlier, as this record.
    Before(Box<ScanRecord>),
    /// The device used the scan id for something else before; nothing was recorded.
    ForAnother,
}

/// The bytes that were shown, used only for comparison: a code's digest, or the bytes of a card's number.
pub type ShownBytes = Zeroizing<Vec<u8>>;

/// The port of scan records. Calls may be concurrent.
#[async_trait]
pub trait ScanRecords: Send + Sync + 'static {
    /// Records an ordinary scan if the buffer has space; it never waits. Dropped scans are counted.
    fn note(&self, note: &ScanNote<&str>);

    /// Records a registration; durable when it returns. For each (device, scan id) only the first is recorded,
    /// as long as the engine retains it; an empty scan id is always new.
    ///
    /// # Errors
    /// [`RecordsError`]; the caller must not report that the person was registered.
    async fn register(&self, note: &ScanNote<&str>, shown: ShownBytes) -> Result<Registered, RecordsError>;

    /// The earlier registration under the note's device and scan id; `None` if there is none.
    ///
    /// # Errors
    /// [`RecordsError`].
    async fn registered(&self, note: &ScanNote<&str>, shown: &ShownBytes) -> Result<Option<Registered>, RecordsError>;

    /// Called at shutdown: waits until the ordinary scans noted so far are written, or leaves that to `Drop`.
    /// Scans that cannot be written soon are given up and counted.
    async fn flush(&self);
}

/// The day (since 1970, UTC) of an instant in Unix seconds.
///
/// # Errors
/// [`RecordsError`] for instants before 1970.
pub fn day_of(at: i64) -> Result<u32, RecordsError> {
    u32::try_from(at.div_euclid(DAY_SECONDS)).map_err(failed)
}

/// The digest of consecutive sealed batches, as [`citycode_domain::event::ScanBatches`] has it: BLAKE3 over the BLAKE3
/// digests of the batches, in order.
#[derive(Default)]
pub struct BatchesDigest(blake3::Hasher);

impl BatchesDigest {
    /// Adds the next batch by its sealed bytes.
    pub fn add(&mut self, sealed: &[u8]) {
        self.add_digest(blake3::hash(sealed).as_bytes());
    }

    /// Adds the next batch by its digest.
    pub fn add_digest(&mut self, digest: &[u8; 32]) {
        self.0.update(digest);
    }

    /// The digest of all batches so far.
    #[must_use]
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

fn count_dropped(records: u64) {
    metrics::counter!("citycode_verifier_scan_records_dropped_total").increment(records);
}

fn failed(error: impl std::fmt::Display) -> RecordsError {
    RecordsError::Unavailable(error.to_string())
}
