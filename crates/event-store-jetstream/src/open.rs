//! Connecting, and what is refused before anything is read or written.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_nats::Event;
use citycode_event_store::{Layout, LogId, LogPosition, Partition, ReadError, ReaderVersion, Sequence};
use citycode_jetstream::api::{self, ApiError, StreamInfo};
use citycode_jetstream::{Client, ConnectError, SettingMismatch};

use crate::config::{Config, Durability};
use crate::durability::{self, DurabilityError};
use crate::log_client::{LogClient, PartitionError};
use crate::manifest::{Manifest, ManifestInvalid};
use crate::names;
use crate::settings::{self, Settings};

/// Looks at a question that an election, or a server coming up, may leave without an answer; each takes up to 15 s
/// where nothing answers, and a pause where something refuses.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Why a log could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No server took the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No log stands there.
    #[error("the servers have no event log; `provision` makes one")]
    NoLog,
    /// Some partitions stand, others do not.
    #[error("partition {0} of the event log is missing; restore it, do not start afresh")]
    PartitionMissing(Partition),
    /// The metadata of a stream is no manifest.
    #[error("the manifest in partition {partition} cannot be read: {reason}")]
    ManifestUnreadable {
        /// Of which partition.
        partition: Partition,
        /// What is wrong with it.
        reason: String,
    },
    /// The log needs a newer program.
    #[error(
        "the log has format {format} and wants a reader of version {minimum_reader}; this one is {}: a newer release \
         used it; go on with that release",
        ReaderVersion::CURRENT
    )]
    OtherVersion {
        /// The log's format.
        format: u32,
        /// What it wants at least.
        minimum_reader: ReaderVersion,
    },
    /// It is another log than the caller knows, or its partitions are of two logs.
    #[error("partition {partition} is of log {found}, not {expected}")]
    OtherLog {
        /// Which partition.
        partition: Partition,
        /// The identity that was expected.
        expected: LogId,
        /// The one that was found.
        found: LogId,
    },
    /// The log stands in another layout.
    #[error("the log has {} partitions of {} buckets, not {} of {}", found.partitions(), found.buckets_per_partition(),
        expected.partitions(), expected.buckets_per_partition())]
    OtherLayout {
        /// The layout that was expected.
        expected: Layout,
        /// The one that was found.
        found: Layout,
    },
    /// A stream is set up so that commits could be lost or changed.
    #[error(
        "partition {partition} is not set up as the log needs it: {}",
        citycode_jetstream::settings::list(mismatches)
    )]
    WrongSettings {
        /// Which partition.
        partition: Partition,
        /// Each wrong setting with both values.
        mismatches: Vec<SettingMismatch>,
    },
    /// The log ends before what the caller has seen.
    #[error("the log WENT BACK in partition {partition}: it ends at {head}, but {seen} was seen before")]
    WentBack {
        /// Which partition.
        partition: Partition,
        /// Where it ends.
        head: Sequence,
        /// What was seen.
        seen: Sequence,
    },
    /// The servers do not prove that they flush before they acknowledge.
    #[error(transparent)]
    Durability(#[from] DurabilityError),
    /// A question was not answered.
    #[error("the servers cannot be asked about {what}: {reason}")]
    Unanswered {
        /// What was asked.
        what: String,
        /// What came instead.
        reason: String,
        /// Whether trying again may help.
        may_pass: bool,
    },
}

impl OpenError {
    /// Whether trying again may help: servers that are not up yet, or have no leader.
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

/// The store that a connection's events are told to, once there is one.
type Told = Arc<OnceLock<Weak<LogClient>>>;

pub(crate) async fn open(config: &Config) -> Result<Arc<LogClient>, OpenError> {
    let told = Told::default();
    let client = connect(config, &told).await?;
    let first = partition_info(&client, Partition(0)).await?.ok_or(OpenError::NoLog)?;
    let manifest = read_manifest(&first, Partition(0))?;
    if let Some(expected) = config.expected_log_id.filter(|expected| *expected != manifest.log_id) {
        return Err(OpenError::OtherLog {
            partition: Partition(0),
            expected,
            found: manifest.log_id,
        });
    }
    let infos = look_at_all(&client, &manifest, config.replicas).await?;
    let heads: Vec<Sequence> = infos.iter().map(|info| Sequence(info.state.last_seq)).collect();
    let alone = infos.iter().all(StreamInfo::stands_alone);
    let log = Arc::new(LogClient::new(client, config, manifest, &heads, alone));
    if let Some(seen) = &config.seen {
        check_heads(&log, &heads, seen).await?;
    }
    if let Durability::SyncAlways { monitors } = &config.durability {
        let server = log.client.server_info().server_name;
        durability::prove(monitors, &infos, &server).await?;
    }
    // Nobody else sets it.
    let _ = told.set(Arc::downgrade(&log));
    Ok(log)
}

/// What the leaders say of all partitions, none of which is refused.
async fn look_at_all(client: &Client, manifest: &Manifest, replicas: u8) -> Result<Vec<StreamInfo>, OpenError> {
    let mut infos = Vec::new();
    for partition in manifest.layout.all_partitions() {
        let info = partition_info(client, partition).await?;
        let info = info.ok_or(OpenError::PartitionMissing(partition))?;
        check_partition(manifest, partition, &info, replicas)?;
        infos.push(info);
    }
    Ok(infos)
}

pub(crate) async fn connect(config: &Config, told: &Told) -> Result<Client, OpenError> {
    let told = Arc::clone(told);
    let hear = move |event: &Event| hear(event, told.get().and_then(Weak::upgrade).as_deref());
    Ok(citycode_jetstream::connect(&config.connection, hear).await?)
}

/// After a loss of the connection it may lead to another log.
fn hear(event: &Event, log: Option<&LogClient>) {
    if let (Event::Connected | Event::Disconnected, Some(log)) = (event, log) {
        log.suspect_all();
    }
}

/// What the leader says of a partition's stream; `None` if there is none.
pub(crate) async fn partition_info(client: &Client, partition: Partition) -> Result<Option<StreamInfo>, OpenError> {
    let stream = names::stream(partition);
    let mut looks = 1;
    loop {
        match api::stream_info(client, &stream).await {
            Ok(info) => return Ok(Some(info)),
            Err(error) if error.has_code(api::code::STREAM_NOT_FOUND) => return Ok(None),
            Err(error) if error.may_pass() && error != ApiError::TimedOut && looks < LOOKS => {
                looks += 1;
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

/// Refuses a stream of another log, in another layout, or with other settings.
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
    // No commit is lost by it: readers ask instead, and are up to a second late.
    mismatches.retain(|mismatch| {
        let untold = mismatch.setting == settings::TAIL && !info.config.contains_key(settings::TAIL);
        if untold {
            tracing::warn!(%partition, "the stream was made before tails were republished: see docs/operations.md");
        }
        !untold
    });
    if mismatches.is_empty() {
        Ok(())
    } else {
        Err(OpenError::WrongSettings { partition, mismatches })
    }
}

/// Refuses a log that ends before what the caller knows of it.
async fn check_heads(log: &LogClient, heads: &[Sequence], seen: &LogPosition) -> Result<(), OpenError> {
    for (partition, head) in log.manifest.layout.all_partitions().zip(heads) {
        let seen = seen.sequence(partition);
        if *head < seen {
            let extent = log.extent_past(partition, seen).await;
            extent.map_err(|error| error.into_open_error(partition))?;
        }
    }
    Ok(())
}
