//! Reading recorded scans for audits: sealed batches with their digests, in the order of writing.

use async_trait::async_trait;
use citycode_domain::ids::ScanWriterId;

use crate::{RecordsError, ScanRecord};

/// One sealed batch.
#[derive(Debug)]
pub struct Batch {
    /// The process that wrote it.
    pub writer: ScanWriterId,
    /// Its number among the writer's batches of the day, from 1.
    pub number: u64,
    /// BLAKE3 of its sealed bytes.
    pub digest: [u8; 32],
    /// Its records, in the order of writing; the error if it was changed, or its key is destroyed.
    pub records: Result<Vec<ScanRecord>, RecordsError>,
}

/// The next batches of a day.
#[derive(Debug, Default)]
pub struct Batches {
    /// The batches; none after the last one.
    pub batches: Vec<Batch>,
    /// Where to continue reading the day.
    pub next: u64,
}

/// Recorded scans, for reading.
#[async_trait]
pub trait RecordArchive: Send + Sync + 'static {
    /// The days of which there are batches (days since 1970, UTC), ascending.
    ///
    /// # Errors
    /// [`RecordsError`].
    async fn days(&self) -> Result<Vec<u32>, RecordsError>;

    /// The next batches of a day, a bounded number; `from` is 0 at first and then [`Batches::next`].
    ///
    /// # Errors
    /// [`RecordsError`] if they cannot be read. A batch that cannot be opened has the error in its place.
    async fn batches(&self, day: u32, from: u64) -> Result<Batches, RecordsError>;
}
