//! Where records of scans go, apart from the log of codes (R20).
//!
//! An ordinary scan's record is written with thousands of others, and may be dropped under overload; a registration at
//! a sampling desk is durable before its answer, and once for each (device, scan id). Everything is sealed under a key
//! of its day, so that retention can destroy both. What was shown stands in a registration as an HMAC under the day's
//! key, so that a scan id used for another code or card is noticed and nobody's number can be tried out once the key
//! is destroyed.
//!
//! [`ScanRecords`] is the port; [`embedded::EmbeddedScanRecords`] is the engine of one process,
//! [`jetstream::JetStreamScanRecords`] that of a city's verifiers on NATS servers (decision 12).

pub mod embedded;
pub mod jetstream;
mod record;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use record::{ScanNote, ScanRecord};

/// Seconds of a day of UTC.
pub const DAY_SECONDS: i64 = 86_400;

/// Why records cannot be kept. Names no person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// Nothing was recorded.
    #[error("scan records cannot be kept: {0}")]
    Unavailable(String),
    /// It may have been recorded. The same scan again finds out.
    #[error("whether the scan was recorded is not known: {0}")]
    Unknown(String),
}

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

/// The port of scan records. Any number of calls at the same time.
#[async_trait]
pub trait ScanRecords: Send + Sync + 'static {
    /// Records an ordinary scan, if there is room; never waits. What is dropped is counted.
    fn note(&self, note: &ScanNote<&str>);

    /// Records a registration; durable once it returns. Of one (device, scan id) only the first is recorded, for as
    /// long as the engine remembers it; an empty scan id is always new.
    ///
    /// # Errors
    /// [`RecordsError`]; the caller must not say that the person was registered.
    async fn register(&self, note: &ScanNote<&str>, shown: ShownBytes) -> Result<Registered, RecordsError>;

    /// What was registered under the note's device and scan id before, if anything: none where it is new.
    ///
    /// # Errors
    /// [`RecordsError`].
    async fn registered(&self, note: &ScanNote<&str>, shown: &ShownBytes) -> Result<Option<Registered>, RecordsError>;

    /// At an end: waits until the ordinary scans noted so far are written, or leaves that to dropping; gives up on
    /// what cannot be written soon, and counts it.
    async fn flush(&self);
}

/// The day (since 1970, UTC) of an instant in Unix seconds.
///
/// # Errors
/// [`RecordsError`] for instants before 1970.
pub fn day_of(at: i64) -> Result<u32, RecordsError> {
    u32::try_from(at.div_euclid(DAY_SECONDS)).map_err(failed)
}

fn count_dropped(records: u64) {
    metrics::counter!("citycode_verifier_scan_records_dropped_total").increment(records);
}

fn failed(error: impl std::fmt::Display) -> RecordsError {
    RecordsError::Unavailable(error.to_string())
}
