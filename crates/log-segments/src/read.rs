//! Reading segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use citycode_event_store::history::HistorySource;
use citycode_event_store::{Layout, LogId, Partition, RecordedCommit};
use citycode_jetstream::api::{ApiError, code};
use citycode_jetstream::object_store::{CHUNK_BYTES, CHUNKS_IN_FLIGHT, DownloadError, ObjectInfo, ObjectStore};
use citycode_jetstream::{ConnectError, Connection};
use data_encoding::BASE64;
use tokio::sync::{OnceCell, mpsc};

use crate::segment::{self, SEGMENT_COMMITS};
use crate::{BUCKET, Refusal, STATEMENT, Statement, object};

/// Access to the segments of one log, over a separate connection, so that segments do not delay commits. It connects at
/// the first request: most services start from a snapshot and never read a segment.
pub struct LogSegments {
    connection: Connection,
    store: OnceCell<ObjectStore>,
    /// A request failed. Nothing more is requested, so that a city whose servers do not allow or do not answer these
    /// requests loses one time limit at a start, not one for each partition.
    unavailable: AtomicBool,
    log_id: LogId,
    layout: Layout,
    /// The public keys of accepted signatures: one, or two while the signing key is being replaced.
    signers: Box<[[u8; 32]]>,
}

/// What the bucket has under the name of a segment.
pub(crate) enum Published {
    /// No object.
    Nothing,
    /// An object without a valid statement about this segment; a writer that replaces it must expect the sequence.
    Refused { why: Refusal, sequence: u64 },
    /// A signed segment. Its bytes are not verified yet.
    Signed {
        statement: Statement,
        object: Box<ObjectInfo>,
        sequence: u64,
    },
}

/// Why a segment was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSegmentError {
    /// The object is not a signed segment of this log.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No server accepted the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A request failed.
    #[error("the segment cannot be read from the servers: {0}")]
    Store(#[from] ApiError),
}

impl LogSegments {
    /// The segments of the log with this identity and layout; `signers` are the keys of accepted signatures.
    #[must_use]
    pub fn new(connection: Connection, (log_id, layout): (LogId, Layout), signers: &[[u8; 32]]) -> Self {
        Self {
            connection,
            store: OnceCell::new(),
            unavailable: AtomicBool::new(false),
            log_id,
            layout,
            signers: signers.into(),
        }
    }

    /// The bucket.
    pub(crate) async fn store(&self) -> Result<&ObjectStore, ConnectError> {
        let connect = || ObjectStore::connect(&self.connection, BUCKET);
        self.store.get_or_try_init(connect).await
    }

    /// The object of a segment, with its statement verified.
    pub(crate) async fn published(&self, partition: Partition, number: u64) -> Result<Published, ReadSegmentError> {
        let current = match self.store().await?.current(&object(partition, number)).await {
            // A city that was provisioned by an earlier release has no bucket.
            Err(error) if error.has_code(code::STREAM_NOT_FOUND) => None,
            current => current?,
        };
        let Some(current) = current else {
            return Ok(Published::Nothing);
        };
        let signed = |object: ObjectInfo| {
            let text = object.metadata.get(STATEMENT).ok_or(Refusal::NotSigned)?;
            let bytes = BASE64.decode(text.as_bytes()).map_err(|_| Refusal::NotSigned)?;
            let statement = Statement::read(&bytes, &self.signers)?;
            let is_this =
                statement.log_id == self.log_id && statement.partition == partition && statement.number == number;
            is_this
                .then(|| (statement, Box::new(object)))
                .ok_or(Refusal::OtherSegment)
        };
        Ok(match current.info.ok_or(Refusal::NotSigned).and_then(signed) {
            Ok((statement, object)) => Published::Signed {
                statement,
                object,
                sequence: current.sequence,
            },
            Err(why) => Published::Refused {
                why,
                sequence: current.sequence,
            },
        })
    }

    /// All messages of a segment, in order; `None` if there is no such segment.
    ///
    /// # Errors
    /// [`ReadSegmentError`].
    pub async fn read(
        &self,
        partition: Partition,
        number: u64,
    ) -> Result<Option<Vec<Arc<RecordedCommit>>>, ReadSegmentError> {
        let (statement, object) = match self.published(partition, number).await? {
            Published::Nothing => return Ok(None),
            Published::Refused { why, .. } => return Err(why.into()),
            Published::Signed { statement, object, .. } => (statement, object),
        };
        let bytes = self.download(&statement, &object).await?;
        let layout = self.layout;
        let decoding = tokio::task::spawn_blocking(move || {
            if *blake3::hash(&bytes).as_bytes() != statement.digest {
                return Err(Refusal::OtherBytes);
            }
            Ok(segment::decode(bytes, partition, number, &layout)?)
        });
        // The thread is never cancelled except with the runtime.
        let decoded = decoding.await.map_err(|_| ApiError::TimedOut)?;
        Ok(Some(decoded?))
    }

    async fn download(&self, statement: &Statement, object: &ObjectInfo) -> Result<Bytes, ReadSegmentError> {
        let length = usize::try_from(statement.length).map_err(|_| Refusal::TooLong(statement.length))?;
        let store = self.store().await?;
        let (sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS_IN_FLIGHT);
        let collecting = async {
            let mut bytes = BytesMut::with_capacity(length);
            while let Some(chunk) = chunks.recv().await {
                if bytes.len() + chunk.len() > length {
                    return Err(Refusal::OtherBytes);
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes.freeze())
        };
        let downloading = async {
            let count = length.div_ceil(CHUNK_BYTES) as u64;
            let downloaded = store.download(object, count, &sender).await;
            drop(sender);
            downloaded
        };
        let (bytes, downloaded) = tokio::join!(collecting, downloading);
        match downloaded {
            // If collecting failed, the download ended because of that.
            Ok(()) | Err(DownloadError::Dropped) => Ok(bytes?),
            Err(DownloadError::Missing { .. }) => Err(Refusal::OtherBytes.into()),
            Err(DownloadError::Unanswered(error)) => Err(error.into()),
        }
    }
}

#[async_trait]
impl HistorySource for LogSegments {
    fn segment_length(&self) -> u64 {
        SEGMENT_COMMITS
    }

    async fn segment(&self, partition: Partition, number: u64) -> Option<Vec<Arc<RecordedCommit>>> {
        if self.unavailable.load(Ordering::Relaxed) {
            return None;
        }
        match self.read(partition, number).await {
            Ok(read) => {
                metrics::counter!("citycode_log_segments_read_total").increment(u64::from(read.is_some()));
                read
            }
            Err(ReadSegmentError::Refused(why)) => {
                metrics::counter!("citycode_log_segments_refused_total").increment(1);
                tracing::error!(%why, %partition, number, "LOG SEGMENT REFUSED: the log is read instead");
                None
            }
            Err(error) => {
                self.unavailable.store(true, Ordering::Relaxed);
                tracing::warn!(%error, %partition, number, "log segments cannot be read: the log is read instead");
                None
            }
        }
    }
}
