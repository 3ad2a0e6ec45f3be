//! What appends, reads and subscriptions of one store share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use citycode_event_store::{Partition, Position, ReadError, ReaderVersion, Sequence, SubscriptionError};
use citycode_jetstream::{Client, Connection};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::freshness::{ProbeIdentity, Probes};
use crate::group::Groups;
use crate::locks::BucketLocks;
use crate::manifest::{Manifest, ManifestInvalid};
use crate::minimum_reader::MinimumReader;
use crate::names;
use crate::tails::SeenTails;
use citycode_jetstream::api::{self, ApiError, StreamInfo};

/// Appends under way at once: beyond it the servers grow no faster, and far beyond (25,000) consumers starve.
pub(crate) const MAX_IN_FLIGHT: usize = 1_000;
/// Looks at a head that seems to have gone back before it is believed, over 24 s: a leader that was just elected may not
/// have applied all that it has, and one that was cut off answers with what it had for some 20 s more.
const WENT_BACK_LOOKS: usize = 48;
const WENT_BACK_PAUSE: Duration = Duration::from_millis(500);

/// First and last sequence of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
}

/// Why a partition cannot be gone by.
#[derive(Debug, Clone)]
pub(crate) enum PartitionError {
    /// It ends before what was seen, for good.
    WentBack { head: Sequence, seen: Sequence },
    /// It cannot be read, now or ever.
    Read(ReadError),
}

/// One client of one log.
pub(crate) struct LogClient {
    pub(crate) client: Client,
    pub(crate) manifest: Manifest,
    pub(crate) minimum_reader: MinimumReader,
    pub(crate) locks: BucketLocks,
    pub(crate) in_flight: Semaphore,
    pub(crate) tails: SeenTails,
    pub(crate) probes: Arc<Probes>,
    /// How it was connected, for a second connection.
    pub(crate) connection: Connection,
    /// Who listens to lists of nonces; ends with this client.
    pub(crate) listening: tokio::sync::Mutex<JoinSet<()>>,
    pub(crate) groups: Groups,
    /// Looks at a head before what was seen, a pause apart, until it is believed.
    went_back_looks: usize,
    /// The highest sequence of each partition that this client was told of.
    seen: Vec<AtomicU64>,
    /// How often the connection was lost or made: what it leads to since may be another log.
    connections: AtomicU64,
    /// On which of them each partition was verified for appends, and the turn at verifying it.
    verified_on: Vec<(AtomicU64, tokio::sync::Mutex<()>)>,
    /// Why this client stopped: the log is not the one it knew. Never taken back.
    stopped: Mutex<Option<String>>,
}

impl LogClient {
    /// `alone` where each partition stands on one server, which then always knows where it ends.
    pub(crate) fn new(client: Client, config: &Config, manifest: Manifest, seen: &[Sequence], alone: bool) -> Self {
        let partitions = usize::from(manifest.layout.partitions());
        let unique = client.new_inbox();
        let name = ProbeIdentity::of(config, &unique);
        let probes = Arc::new(Probes::new(manifest.layout.partitions(), name, &unique));
        let groups = Groups::new(client.clone(), Arc::clone(&probes), manifest.layout.partitions());
        Self {
            client,
            manifest,
            minimum_reader: MinimumReader::new(manifest.minimum_reader),
            locks: BucketLocks::default(),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            tails: SeenTails::new(manifest.layout),
            probes,
            connection: config.connection.clone(),
            listening: tokio::sync::Mutex::new(JoinSet::new()),
            groups,
            went_back_looks: if alone { 1 } else { WENT_BACK_LOOKS },
            seen: seen.iter().map(|sequence| AtomicU64::new(sequence.0)).collect(),
            connections: AtomicU64::new(0),
            verified_on: std::iter::repeat_with(Default::default).take(partitions).collect(),
            stopped: Mutex::new(None),
        }
    }

    pub(crate) fn seen(&self, partition: Partition) -> Sequence {
        Sequence(self.seen[usize::from(partition.0)].load(Ordering::Acquire))
    }

    pub(crate) fn see(&self, position: Position) {
        self.seen[usize::from(position.partition.0)].fetch_max(position.sequence.0, Ordering::AcqRel);
    }

    /// The connection was lost or made anew.
    pub(crate) fn suspect_all(&self) {
        self.connections.fetch_add(1, Ordering::AcqRel);
    }

    /// Another number after each loss of the connection: what was verified before is to be verified again.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// Makes sure, once after each loss of the connection, that the partition is still the one that was known. Nobody
    /// goes on before it was made sure of.
    pub(crate) async fn reverify(&self, partition: Partition) -> Result<(), ReadError> {
        let (verified_on, turn) = &self.verified_on[usize::from(partition.0)];
        if verified_on.load(Ordering::Acquire) == self.connections() {
            return Ok(());
        }
        let _turn = turn.lock().await;
        // Before the question: what is lost meanwhile is to be verified again.
        let connections = self.connections();
        if verified_on.load(Ordering::Acquire) != connections {
            let verified = self.extent(partition).await;
            verified.map_err(|error| error.into_read_error(partition))?;
            verified_on.store(connections, Ordering::Release);
        }
        Ok(())
    }

    /// This client takes no more appends and starts no more subscriptions.
    pub(crate) fn stop(&self, reason: String) {
        let mut stopped = self.stopped.lock();
        // Everybody who asks finds it again; the first report says it all.
        if stopped.is_none() {
            tracing::error!(reason, "the event log is not the one that was known; this client stops");
            *stopped = Some(reason);
        }
    }

    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.lock().clone()
    }

    /// Where a partition stands, from its leader, after making sure that it is the one that was known. A head below
    /// what was seen, or another identity, stops the client.
    pub(crate) async fn extent(&self, partition: Partition) -> Result<Extent, PartitionError> {
        self.extent_past(partition, Sequence::START).await
    }

    /// As [`LogClient::extent`], where a caller knows that the partition reached `from`. A head before that alone does not
    /// stop this client, which may never have been told of it.
    pub(crate) async fn extent_past(&self, partition: Partition, from: Sequence) -> Result<Extent, PartitionError> {
        let mut looks = 0;
        loop {
            // Before the question: what others are told of meanwhile is no ground for doubt.
            let seen = self.seen(partition);
            let info = api::stream_info(&self.client, &names::stream(partition))
                .await
                .map_err(|error| self.unreadable(partition, &error))?;
            if let Some(reason) = self.estrangement(&info, partition) {
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
            looks += 1;
            if looks >= self.went_back_looks {
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
            tokio::time::sleep(WENT_BACK_PAUSE).await;
        }
    }

    /// Why a partition as its leader describes it is none of the known log's that this program reads, if so.
    pub(crate) fn estrangement(&self, info: &StreamInfo, partition: Partition) -> Option<String> {
        match Manifest::from_metadata(&info.metadata(), partition) {
            Ok(found) if found.is_of_same_log(self.manifest) => {
                self.minimum_reader.see(partition, found.minimum_reader);
                None
            }
            Err(ManifestInvalid::OtherVersion { minimum_reader, .. }) => Some(format!(
                "partition {partition} wants a reader of version {minimum_reader}; this one is {}",
                ReaderVersion::CURRENT
            )),
            _ => Some(format!(
                "partition {partition} is of another log than {}",
                self.manifest.log_id
            )),
        }
    }

    /// What a failed question means. A stream that is gone is not a stream that cannot be reached.
    fn unreadable(&self, partition: Partition, error: &ApiError) -> PartitionError {
        if error.has_code(api::code::STREAM_NOT_FOUND) {
            let reason = format!("partition {partition} is gone");
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
