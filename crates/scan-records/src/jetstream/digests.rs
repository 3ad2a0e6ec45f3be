//! Digests of recorded batches, for a service that puts them into the log and can open none of them.

use citycode_domain::event::ScanBatches;
use citycode_jetstream::Client;

use super::archive::RecordStream;
use super::{OpenError, ScansConfig, stored};
use crate::{BatchesDigest, RecordsError};

/// The sealed records of a city, for reading without any key.
pub struct SealedRecords {
    client: Client,
}

impl SealedRecords {
    /// Opens the records.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: &ScansConfig) -> Result<Self, OpenError> {
        let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
        super::manifest(&client, config).await?;
        Ok(Self { client })
    }

    /// The next batches of a stream after a number: contiguous ones, and a bounded number of them, so that the caller
    /// repeats this until there are none. A gap, which only a deleted message leaves, begins the next batches.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn after(
        &self,
        day: u32,
        stream: RecordStream,
        number: u64,
    ) -> Result<Option<ScanBatches>, RecordsError> {
        let page = stored::page(&self.client, &stream.name(day), number).await?;
        let (mut digest, mut count) = (BatchesDigest::default(), 0);
        for message in &page {
            digest.add(&message.payload);
            count += 1;
        }
        Ok(page.first().map(|first| ScanBatches {
            day,
            writer: stream.writer(),
            first: first.sequence,
            count,
            digest: digest.finish(),
        }))
    }
}
