//! Opening a log: the connection, and the checks before anything is read or written.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_nats::Event;
use citycode_event_store::{Layout, LogId, LogPosition, Partition, ReadError, ReaderVersion, Sequence};
use citycode_jetstream::api::{self, ApiError, StreamInfo};
use citycode_jetstream::{Client, ConnectError, SettingMismatch};

use crate::config::{Config, Durability};
use crate::connection::{LogConnection, PartitionError};
use crate::durability::{self, DurabilityError};
use crate::manifest::{Manifest, ManifestInvalid};
use crate::names;
use crate::settings::{self, Settings};

/// Attempts of a request that may be refused during an election or while a server starts, with a pause between them.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Why a log could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No server accepted the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The servers have no log.
    #[error("the servers have no event log; `provision` creates one")]
    NoLog,
    /// Some partitions exist, others do not.
    #[error("partition {0} of the event log is missing; restore it, do not start afresh")]
    PartitionMissing(Partition),
    /// The metadata of a stream is not a manifest.
    #[error("the manifest in partition {partition} cannot be read: {reason}")]
    ManifestUnreadable {
        /// The partition.
        partition: Partition,
        /// The error in the manifest.
        reason: String,
    },
    /// The log requires a newer program.
    #[error(
        "the log has format {format} and requires reader version {minimum_reader}; this program supports {}: a newer \
         release used the log; continue with that release",
        ReaderVersion::CURRENT
    )]
    OtherVersion {
        /// The log's format.
        format: u32,
        /// The log's minimum reader version.
        minimum_reader: ReaderVersion,
    },
    /// It is another log than the caller expects, or its partitions are of two logs.
    #[error("partition {partition} is of log {found}, not {expected}")]
    OtherLog {
        /// The partition.
        partition: Partition,
        /// The expected identity.
        expected: LogId,
        /// The partition's identity.
        found: LogId,
    },
    /// The log has another layout.
    #[error("the log has {} partitions of {} buckets, not {} of {}", found.partitions(), found.buckets_per_partition(),
        expected.partitions(), expected.buckets_per_partition())]
    OtherLayout {
        /// The expected layout.
        expected: Layout,
        /// The log's layout.
        found: Layout,
    },
    /// A stream has settings with which commits could be lost or changed.
    #[error(
        "partition {partition} does not have the settings that the log needs: {}",
        citycode_jetstream::settings::list(mismatches)
    )]
    WrongSettings {
        /// The partition.
        partition: Partition,
        /// Each wrong setting with both values.
        mismatches: Vec<SettingMismatch>,
    },
    /// The log ends before a commit that the caller has seen.
    #[error("the log WENT BACK in partition {partition}: it ends at {head}, but {seen} was seen before")]
    WentBack {
        /// The partition.
        partition: Partition,
        /// The partition's head.
        head: Sequence,
        /// The last sequence that the caller has seen.
        seen: Sequence,
    },
    /// It is not proved that the servers flush before they acknowledge.
    #[error(transparent)]
    Durability(#[from] DurabilityError),
    /// A request failed.
    #[error("the servers' state of {what} cannot be read: {reason}")]
    Unanswered {
        /// The subject of the request.
        what: String,
        /// The error.
        reason: String,
        /// Whether a retry may succeed.
        may_pass: bool,
    },
}

impl OpenError {
    /// Whether a retry may succeed: the servers are not up yet, or have no leader.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Seed),
            Self::Unanswered { may_pass, .. } => *may_pass,
            Self::Durability(error) => error.may_pass(),
            _ => false,
        }
    }
}

impl PartitionError {
    fn into_open_error(self, partition: Partition) -> OpenError {
        match self {
            Self::WentBack { head, seen } => OpenError::WentBack { partition, head, seen },
            Self::Read(error) => OpenError::Unanswered {
                what: names::stream(partition),
                reason: error.to_string(),
                may_pass: matches!(error, ReadError::Unavailable(_)),
            },
        }
    }
}

/// The log connection that receives the client's events, once it exists.
type EventReceiver = Arc<OnceLock<Weak<LogConnection>>>;

pub(crate) async fn open(config: &Config) -> Result<Arc<LogConnection>, OpenError> {
    let receiver = EventReceiver::default();
    let client = connect(config, &receiver).await?;
    let first = partition_info(&client, Partition(0)).await?.ok_or(OpenError::NoLog)?;
    let manifest = read_manifest(&first, Partition(0))?;
    if let Some(expected) = config.expected_log_id.filter(|expected| *expected != manifest.log_id) {
        return Err(OpenError::OtherLog {
            partition: Partition(0),
            expected,
            found: manifest.log_id,
        });
    }
    let infos = check_all(&client, &manifest, config.replicas).await?;
    let heads: Vec<Sequence> = infos.iter().map(|info| Sequence(info.state.last_seq)).collect();
    let single_server = infos.iter().all(StreamInfo::is_unreplicated);
    let connection = Arc::new(LogConnection::new(client, manifest, &heads, single_server));
    if let Some(seen) = &config.seen {
        check_heads(&connection, &heads, seen).await?;
    }
    if let Durability::SyncAlways { monitors } = &config.durability {
        let server = connection.client().server_info().server_name;
        durability::prove(monitors, &infos, &server).await?;
    }
    // It is set only here.
    let _ = receiver.set(Arc::downgrade(&connection));
    Ok(connection)
}

/// The leaders' descriptions of all partitions, after checking each.
async fn check_all(client: &Client, manifest: &Manifest, replicas: u8) -> Result<Vec<StreamInfo>, OpenError> {
    let mut infos = Vec::new();
    for partition in manifest.layout.all_partitions() {
        let info = partition_info(client, partition).await?;
        let info = info.ok_or(OpenError::PartitionMissing(partition))?;
        check_partition(manifest, partition, &info, replicas)?;
        infos.push(info);
    }
    Ok(infos)
}

pub(crate) async fn connect(config: &Config, receiver: &EventReceiver) -> Result<Client, OpenError> {
    let receiver = Arc::clone(receiver);
    let on_event = move |event: &Event| handle(event, receiver.get().and_then(Weak::upgrade).as_deref());
    Ok(citycode_jetstream::connect(&config.connection, on_event).await?)
}

/// After a reconnect the servers may have another log.
fn handle(event: &Event, connection: Option<&LogConnection>) {
    if let (Event::Connected | Event::Disconnected, Some(connection)) = (event, connection) {
        connection.start_generation();
    }
}

/// The leader's description of a partition's stream; `None` if the stream does not exist.
pub(crate) async fn partition_info(client: &Client, partition: Partition) -> Result<Option<StreamInfo>, OpenError> {
    let stream = names::stream(partition);
    let mut attempts = 1;
    loop {
        match api::stream_info(client, &stream).await {
            Ok(info) => return Ok(Some(info)),
            Err(error) if error.has_code(api::code::STREAM_NOT_FOUND) => return Ok(None),
            Err(error) if error.may_pass() && error != ApiError::TimedOut && attempts < ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(unanswered(&stream, &error)),
        }
    }
}

pub(crate) fn unanswered(what: &str, error: &ApiError) -> OpenError {
    OpenError::Unanswered {
        what: what.to_owned(),
        reason: error.to_string(),
        may_pass: error.may_pass(),
    }
}

pub(crate) fn read_manifest(info: &StreamInfo, partition: Partition) -> Result<Manifest, OpenError> {
    Manifest::from_metadata(&info.metadata(), partition).map_err(|error| match error {
        ManifestInvalid::Unreadable(reason) => OpenError::ManifestUnreadable { partition, reason },
        ManifestInvalid::OtherVersion { format, minimum_reader } => OpenError::OtherVersion { format, minimum_reader },
    })
}

/// Refuses a stream of another log, with another layout, or with other settings.
pub(crate) fn check_partition(
    manifest: &Manifest,
    partition: Partition,
    info: &StreamInfo,
    replicas: u8,
) -> Result<(), OpenError> {
    let found = read_manifest(info, partition)?;
    if found.log_id != manifest.log_id {
        return Err(OpenError::OtherLog {
            partition,
            expected: manifest.log_id,
            found: found.log_id,
        });
    }
    if found.layout != manifest.layout {
        return Err(OpenError::OtherLayout {
            expected: manifest.layout,
            found: found.layout,
        });
    }
    let mut mismatches = Settings::of(partition, replicas).compare(&info.config);
    // A stream without a republished tail is accepted: readers then send requests, and lag by up to a second.
    mismatches.retain(|mismatch| {
        let no_tail = mismatch.setting == settings::TAIL && !info.config.contains_key(settings::TAIL);
        if no_tail {
            tracing::warn!(%partition, "the stream does not republish its tail: see docs/operations.md");
        }
        !no_tail
    });
    if mismatches.is_empty() {
        Ok(())
    } else {
        Err(OpenError::WrongSettings { partition, mismatches })
    }
}

/// Refuses a log that ends before a position that the caller has seen.
async fn check_heads(connection: &LogConnection, heads: &[Sequence], seen: &LogPosition) -> Result<(), OpenError> {
    for (partition, head) in connection.layout().all_partitions().zip(heads) {
        let seen = seen.sequence(partition);
        if *head < seen {
            let extent = connection.extent_past(partition, seen).await;
            extent.map_err(|error| error.into_open_error(partition))?;
        }
    }
    Ok(())
}
