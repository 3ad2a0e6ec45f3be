//! The task that writes segments; revocation services run it.
//!
//! There is no leader. Each instance looks at random intervals for complete segments that the bucket does not have, and
//! writes them from its own view of the log. The id of a segment's chunks follows from its number, so of two instances
//! that write the same segment the servers refuse one at its first chunk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use citycode_event_store::{
    CommitInvalid, EventStore, LogPosition, Partition, ReadError, RecordedCommit, Sequence, Subscription,
    SubscriptionBatch, SubscriptionError,
};
use citycode_jetstream::api::{ApiError, code};
use citycode_jetstream::object_store::{CHUNK_BYTES, Committed};
use citycode_jetstream::{ConnectError, Connection};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::repeated::Repeated;
use citycode_token::SigningKey;
use data_encoding::BASE64;

use crate::read::Published;
use crate::segment::{MAX_SEGMENT_BYTES, SEGMENT_COMMITS, SegmentBuilder};
use crate::{LogSegments, ReadSegmentError, STATEMENT, Statement, object};

/// The first check happens within so many milliseconds after the start; each instance draws its own delay.
const FIRST_CHECK_MS: u32 = 3_000;
/// Chunks without a segment are removed after this time: the instance that wrote them has crashed.
const ABANDONED_AFTER: Duration = Duration::from_secs(300);

/// Writes the segments of a log.
pub struct Publisher {
    /// The servers, and the credentials of this client.
    pub connection: Connection,
    /// The key that signs statements.
    pub signing: SigningKey,
    /// The public keys of accepted signatures; that of `signing` is one of them.
    pub signers: Vec<[u8; 32]>,
    /// The log.
    pub log: Arc<dyn EventStore>,
    /// The clock for pauses between log lines and the objects' time of modification.
    pub clock: Arc<dyn Clock>,
    /// Randomness for pauses.
    pub entropy: Arc<dyn Entropy>,
    /// The pause between two checks, varied by a quarter in both directions.
    pub every: Duration,
}

/// A running publisher.
struct Publishing {
    publisher: Publisher,
    segments: LogSegments,
    /// For each partition the first segment that was not checked yet.
    next: Vec<u64>,
}

/// Why a check failed; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("a segment was not written: {0}")]
    Store(#[from] ApiError),
    #[error(transparent)]
    Read(#[from] ReadSegmentError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    #[error(transparent)]
    Commit(#[from] CommitInvalid),
}

impl Publisher {
    /// Runs forever. A failed check is repeated.
    pub async fn run(self) {
        let layout = self.log.layout();
        let publishing = Publishing {
            segments: LogSegments::new(self.connection.clone(), (self.log.log_id(), layout), &self.signers),
            publisher: self,
            next: vec![0; usize::from(layout.partitions())],
        };
        publishing.run().await;
    }
}

impl Publishing {
    async fn run(mut self) {
        let every = self.publisher.every;
        let mut pause = Duration::from_millis(u64::from(self.publisher.entropy.below(FIRST_CHECK_MS))).min(every);
        let repeated = Repeated::default();
        loop {
            tokio::time::sleep(pause).await;
            match self.check().await {
                Ok(()) => repeated.over(),
                Err(error) => {
                    metrics::counter!("citycode_log_segment_failures_total").increment(1);
                    let now = self.publisher.clock.monotonic();
                    if let Some(unreported) = repeated.failed(&error.to_string(), now) {
                        tracing::warn!(%error, unreported, "log segments were not written; readers read the log");
                    }
                }
            }
            pause = every * (750 + self.publisher.entropy.below(500)) / 1_000;
        }
    }

    async fn check(&mut self) -> Result<(), CheckError> {
        // The operator decides by `citycode provision` whether a city has segments.
        if !self.segments.store().await?.exists().await? {
            tracing::debug!("this city has no bucket of log segments");
            return Ok(());
        }
        let heads = self.publisher.log.heads().await?;
        for (partition, head) in heads.iter() {
            let complete = head.0 / SEGMENT_COMMITS;
            let mut reading = None;
            while self.next[usize::from(partition.0)] < complete {
                let number = self.next[usize::from(partition.0)];
                if let Some(replaces) = replaced(&self.segments, partition, number).await? {
                    let mut reader = match reading.take() {
                        Some(reader) => reader,
                        None => RangeReader::start(&*self.publisher.log, &heads, partition, number).await?,
                    };
                    match reader.next_segment().await? {
                        Some(bytes) => self.write((partition, number), bytes, replaces).await?,
                        None => tracing::warn!(%partition, number, "a range of the log is too long for a segment"),
                    }
                    reading = Some(reader);
                } else {
                    reading = None;
                }
                self.next[usize::from(partition.0)] = number + 1;
            }
        }
        Ok(())
    }

    /// Writes a segment, unless another instance does.
    async fn write(
        &self,
        (partition, number): (Partition, u64),
        bytes: Bytes,
        replaces: u64,
    ) -> Result<(), CheckError> {
        let (log_id, length) = (self.publisher.log.log_id(), bytes.len() as u64);
        let digest = *blake3::hash(&bytes).as_bytes();
        let statement = Statement {
            log_id,
            partition,
            number,
            length,
            digest,
        };
        let id = format!("p{partition}n{number}r{replaces}");
        let store = self.segments.store().await?;
        let mut upload = store.upload(id.clone());
        let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
            if let Err(error) = upload.push(chunk).await {
                if error.has_code(code::WRONG_LAST_SEQUENCE) {
                    // Another instance is writing this segment, or crashed while it did.
                    store.remove_abandoned(&id, ABANDONED_AFTER).await?;
                }
                return Err(error.into());
            }
        }
        let signed = BASE64.encode(&statement.sign(&self.publisher.signing));
        let metadata = [(STATEMENT.to_owned(), signed)].into();
        let modified = jiff::Timestamp::from_second(self.publisher.clock.now().0).unwrap_or_default();
        let sha256 = sha256.as_ref().try_into().expect("SHA-256 gives 32 bytes");
        let name = object(partition, number);
        let committed = upload.commit(&name, &sha256, modified.to_string(), metadata, replaces);
        if committed.await? == Committed::Now {
            metrics::counter!("citycode_log_segments_written_total").increment(1);
            tracing::debug!(%partition, number, length, "a log segment was written");
        }
        Ok(())
    }
}

/// The sequence that a writer of this segment must expect; `None` if the bucket has the segment.
async fn replaced(segments: &LogSegments, partition: Partition, number: u64) -> Result<Option<u64>, ReadSegmentError> {
    match segments.published(partition, number).await? {
        Published::Nothing => Ok(Some(0)),
        Published::Refused { why, sequence } => {
            tracing::error!(%why, %partition, number, "A LOG SEGMENT IS NOT FROM THIS CITY: it is replaced");
            Ok(Some(sequence))
        }
        Published::Signed {
            statement,
            object,
            sequence,
        } => {
            let chunks = segments.store().await?.chunks_of(&object).await?;
            if chunks == statement.length.div_ceil(CHUNK_BYTES as u64) {
                return Ok(None);
            }
            tracing::warn!(%partition, number, "a log segment is incomplete: it is replaced");
            Ok(Some(sequence))
        }
    }
}

/// Reads consecutive segments of one partition from the log.
struct RangeReader {
    subscription: Subscription,
    partition: Partition,
    /// Messages that were delivered and are not in a segment yet.
    delivered: std::collections::VecDeque<Arc<RecordedCommit>>,
}

impl RangeReader {
    /// A reader from the first message of a segment; the other partitions are read from their heads only.
    async fn start(
        log: &dyn EventStore,
        heads: &LogPosition,
        partition: Partition,
        number: u64,
    ) -> Result<Self, SubscriptionError> {
        let mut from = heads.clone();
        from.set(partition, Sequence(number * SEGMENT_COMMITS));
        Ok(Self {
            subscription: log.subscribe_to_all(from).await?,
            partition,
            delivered: std::collections::VecDeque::new(),
        })
    }

    /// The bytes of the next segment, which the log must contain completely; `None` if they are more than a segment may
    /// have.
    async fn next_segment(&mut self) -> Result<Option<Bytes>, CheckError> {
        let (mut builder, mut is_too_long) = (SegmentBuilder::default(), false);
        loop {
            while let Some(message) = self.delivered.pop_front() {
                let is_complete = builder.push(&message)?;
                if builder.len() > MAX_SEGMENT_BYTES {
                    is_too_long = true;
                    builder.discard();
                }
                if is_complete {
                    return Ok((!is_too_long).then(|| builder.finish()));
                }
            }
            if let SubscriptionBatch::Commits(commits) = self.subscription.next_batch().await? {
                let of_partition = commits
                    .into_iter()
                    .filter(|one| one.position.partition == self.partition);
                self.delivered.extend(of_partition);
            }
        }
    }
}
