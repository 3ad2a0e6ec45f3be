//! The connection to one log: its identity, how far it was seen, and whether this client may still use it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use citycode_event_store::{Layout, LogId, Partition, Position, ReadError, ReaderVersion, Sequence, SubscriptionError};
use citycode_jetstream::Client;
use citycode_jetstream::api::{self, ApiError, StreamInfo};
use parking_lot::Mutex;

use crate::manifest::{Manifest, ManifestInvalid};
use crate::names;

/// Attempts, over 24 s, before a head below a seen sequence is accepted as a rollback: a newly elected leader may not
/// have applied its whole log yet, and a leader that is cut off answers with its old state for about 20 s.
const ROLLBACK_CHECKS: usize = 48;
const ROLLBACK_CHECK_PAUSE: Duration = Duration::from_millis(500);

/// First and last sequence of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
}

/// Why a partition's state cannot be trusted.
#[derive(Debug, Clone)]
pub(crate) enum PartitionError {
    /// It permanently ends before a sequence that was seen.
    WentBack { head: Sequence, seen: Sequence },
    /// It cannot be read.
    Read(ReadError),
}

/// The minimum of partition 0, as this client last saw it.
struct MinimumReader(AtomicU32);

impl MinimumReader {
    fn new(version: ReaderVersion) -> Self {
        Self(AtomicU32::new(version.0))
    }

    fn get(&self) -> ReaderVersion {
        ReaderVersion(self.0.load(Ordering::Acquire))
    }

    /// Records a partition's minimum. Only partition 0 counts, because it is raised last; an outdated answer has no
    /// effect.
    fn see(&self, partition: Partition, version: ReaderVersion) {
        if partition == Partition(0) {
            self.0.fetch_max(version.0, Ordering::AcqRel);
        }
    }
}

/// One client's connection to one log.
pub(crate) struct LogConnection {
    client: Client,
    manifest: Manifest,
    minimum_reader: MinimumReader,
    rollback_checks: usize,
    /// The highest sequence of each partition that this client has seen.
    seen: Vec<AtomicU64>,
    /// Increases whenever the connection is lost or made: afterwards it may lead to another log.
    generation: AtomicU64,
    /// For each partition the generation in which it was last verified, and the lock for verifying it.
    verified: Vec<(AtomicU64, tokio::sync::Mutex<()>)>,
    /// Why this client stopped. Never cleared.
    stopped: Mutex<Option<String>>,
}

impl LogConnection {
    /// `heads` are the last sequences of the partitions. `single_server` means that each partition is stored on one
    /// server, which then always has its whole log.
    pub(crate) fn new(client: Client, manifest: Manifest, heads: &[Sequence], single_server: bool) -> Self {
        let partitions = usize::from(manifest.layout.partitions());
        Self {
            client,
            manifest,
            minimum_reader: MinimumReader::new(manifest.minimum_reader),
            rollback_checks: if single_server { 1 } else { ROLLBACK_CHECKS },
            seen: heads.iter().map(|sequence| AtomicU64::new(sequence.0)).collect(),
            generation: AtomicU64::new(0),
            verified: std::iter::repeat_with(Default::default).take(partitions).collect(),
            stopped: Mutex::new(None),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.manifest.log_id
    }

    /// The log that the parts beside this one name as theirs.
    pub(crate) fn parts_log_id(&self) -> LogId {
        self.manifest.replaces.unwrap_or(self.manifest.log_id)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.manifest.layout
    }

    pub(crate) fn minimum_reader(&self) -> ReaderVersion {
        self.minimum_reader.get()
    }

    /// Records the minimum reader version of a partition.
    pub(crate) fn see_minimum_reader(&self, partition: Partition, version: ReaderVersion) {
        self.minimum_reader.see(partition, version);
    }

    pub(crate) fn seen(&self, partition: Partition) -> Sequence {
        Sequence(self.seen[usize::from(partition.0)].load(Ordering::Acquire))
    }

    pub(crate) fn see(&self, position: Position) {
        self.seen[usize::from(position.partition.0)].fetch_max(position.sequence.0, Ordering::AcqRel);
    }

    /// Called when the connection was lost or made: every partition must be verified again.
    pub(crate) fn start_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes when the connection is lost or made.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Verifies the partition once in each generation; all callers wait for that.
    pub(crate) async fn verify_once(&self, partition: Partition) -> Result<(), ReadError> {
        let (verified, lock) = &self.verified[usize::from(partition.0)];
        if verified.load(Ordering::Acquire) == self.generation() {
            return Ok(());
        }
        let _guard = lock.lock().await;
        // Read before the request: a connection lost during the request starts another generation.
        let generation = self.generation();
        if verified.load(Ordering::Acquire) != generation {
            let extent = self.extent(partition).await;
            extent.map_err(|error| error.into_read_error(partition))?;
            verified.store(generation, Ordering::Release);
        }
        Ok(())
    }

    /// From now on this client refuses appends and subscriptions.
    pub(crate) fn stop(&self, reason: String) {
        let mut stopped = self.stopped.lock();
        // Only the first report: every later request finds the same.
        if stopped.is_none() {
            tracing::error!(reason, "the event log is not the one that was known; this client stops");
            *stopped = Some(reason);
        }
    }

    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.lock().clone()
    }

    /// A partition's extent according to its leader, after verifying the partition's identity. A head below a seen
    /// sequence, or another identity, stops the client.
    pub(crate) async fn extent(&self, partition: Partition) -> Result<Extent, PartitionError> {
        self.extent_past(partition, Sequence::START).await
    }

    /// As [`LogConnection::extent`], for a caller that has seen the partition up to `from`. A head below `from` is an
    /// error, but it stops this client only if it is also below what this client itself has seen.
    pub(crate) async fn extent_past(&self, partition: Partition, from: Sequence) -> Result<Extent, PartitionError> {
        let mut checks = 0;
        loop {
            // Read before the request: sequences seen during the request are no evidence of a rollback.
            let seen = self.seen(partition);
            let info = api::stream_info(&self.client, &names::stream(partition))
                .await
                .map_err(|error| self.unreadable(partition, &error))?;
            if let Some(reason) = self.identity_mismatch(&info, partition) {
                self.stop(reason.clone());
                return Err(PartitionError::Read(damaged(partition, seen, reason)));
            }
            let (first, last) = (Sequence(info.state.first_seq), Sequence(info.state.last_seq));
            let reached = seen.max(from);
            if last >= reached {
                self.see(Position {
                    partition,
                    sequence: last,
                });
                return Ok(Extent { first, last });
            }
            checks += 1;
            if checks >= self.rollback_checks {
                if last < seen {
                    self.stop(format!(
                        "partition {partition} ends at {last}, but {seen} was seen before"
                    ));
                }
                return Err(PartitionError::WentBack {
                    head: last,
                    seen: reached,
                });
            }
            tokio::time::sleep(ROLLBACK_CHECK_PAUSE).await;
        }
    }

    /// Why the partition that its leader describes is not one of this log, or not readable by this program, if so.
    pub(crate) fn identity_mismatch(&self, info: &StreamInfo, partition: Partition) -> Option<String> {
        match Manifest::from_metadata(&info.metadata(), partition) {
            Ok(found) if found.is_of_same_log(self.manifest) => {
                self.see_minimum_reader(partition, found.minimum_reader);
                None
            }
            Err(ManifestInvalid::OtherVersion { minimum_reader, .. }) => Some(format!(
                "partition {partition} requires reader version {minimum_reader}; this program supports {}",
                ReaderVersion::CURRENT
            )),
            _ => Some(format!(
                "partition {partition} is of another log than {}",
                self.manifest.log_id
            )),
        }
    }

    /// The meaning of a failed request: a missing stream stops the client, an unreachable one does not.
    fn unreadable(&self, partition: Partition, error: &ApiError) -> PartitionError {
        if error.has_code(api::code::STREAM_NOT_FOUND) {
            let reason = format!("the stream of partition {partition} no longer exists");
            self.stop(reason.clone());
            return PartitionError::Read(damaged(partition, self.seen(partition), reason));
        }
        PartitionError::Read(ReadError::Unavailable(error.to_string()))
    }
}

impl PartitionError {
    pub(crate) fn into_subscription_error(self, partition: Partition) -> SubscriptionError {
        match self {
            Self::WentBack { head, seen } => SubscriptionError::WentBack { partition, head, seen },
            Self::Read(error) => error.into(),
        }
    }

    pub(crate) fn into_read_error(self, partition: Partition) -> ReadError {
        match self {
            Self::WentBack { head, seen } => damaged(partition, seen, format!("the log went back to {head}")),
            Self::Read(error) => error,
        }
    }
}

pub(crate) fn damaged(partition: Partition, sequence: Sequence, reason: String) -> ReadError {
    ReadError::Damaged {
        position: Position { partition, sequence },
        reason,
    }
}
