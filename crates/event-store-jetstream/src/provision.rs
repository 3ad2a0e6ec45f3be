//! Creating a log: one stream for each partition, with settings that never change.

use std::collections::BTreeSet;
use std::sync::Arc;

use citycode_event_store::{Layout, LogId, Partition};
use citycode_jetstream::Client;

use crate::accounts::partitions_of_accounts;
use crate::config::{Config, NewLog};
use crate::manifest::Manifest;
use crate::names;
use crate::open::{self, OpenError};
use crate::settings::Settings;
use citycode_jetstream::api::{self, StreamInfo};

/// Why a log was not created.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The existing log is not the requested one, or its state cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A partition is missing from a log that has commits, so it was lost.
    #[error("partition {0} is missing from a log that has commits; restore it, do not start afresh")]
    PartitionLost(Partition),
    /// The server refused to create a stream.
    #[error("partition {partition} cannot be created: {reason}")]
    Refused {
        /// The partition.
        partition: Partition,
        /// The server's error.
        reason: String,
    },
}

impl ProvisionError {
    /// Whether a retry may succeed: the servers are not up yet, or have no leader.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Open(error) if error.may_pass())
    }
}

/// What the servers have of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// Its identity.
    pub log_id: LogId,
    /// The lost log in whose place it was created.
    pub replaces: Option<LogId>,
    /// Its layout.
    pub layout: Layout,
    /// The missing partitions.
    pub missing: Vec<Partition>,
    /// Whether an existing partition has commits.
    pub has_commits: bool,
}

/// What the servers have of a log, whatever its layout; `None` if they have no partition. Where the accounts name the
/// partitions, only those are asked for: the servers do not answer other questions.
///
/// # Errors
/// [`OpenError`]; [`OpenError::OtherLog`] if the partitions are of several logs.
pub async fn remains(config: &Config) -> Result<Option<Remains>, OpenError> {
    let most = partitions_of_accounts(&config.connection).await?;
    let client = open::connect(config, &Arc::default()).await?;
    let (mut first, mut found, mut has_commits) = (None, BTreeSet::new(), false);
    for partition in (0..most.unwrap_or(Layout::MAX_PARTITIONS)).map(Partition) {
        let Some(info) = open::partition_info(&client, partition).await? else {
            continue;
        };
        let manifest = open::read_manifest(&info, partition)?;
        let other = manifest.log_id;
        let expected = first.get_or_insert(manifest).log_id;
        if other != expected {
            return Err(OpenError::OtherLog {
                partition,
                expected,
                found: other,
            });
        }
        found.insert(partition);
        has_commits |= info.state.last_seq > 0;
    }
    Ok(first.map(|manifest| Remains {
        log_id: manifest.log_id,
        replaces: manifest.replaces,
        layout: manifest.layout,
        missing: manifest
            .layout
            .all_partitions()
            .filter(|partition| !found.contains(partition))
            .collect(),
        has_commits,
    }))
}

/// Creates the log if there is none, or completes an interrupted creation. Returns the log's identity, which is that of
/// `new` only if no log existed. Safe to run at every start and concurrently: if two calls create a log at the same
/// time, one finds the other's. An existing log is checked as in opening and never changed.
pub async fn provision(config: &Config, new: &NewLog) -> Result<LogId, ProvisionError> {
    let client = open::connect(config, &Arc::default()).await?;
    let mut found = Vec::new();
    for partition in new.layout.all_partitions() {
        found.push((partition, open::partition_info(&client, partition).await?));
    }
    let manifest = agreed_manifest(&found, new, config.expected_log_id)?;
    let has_commits = found
        .iter()
        .any(|(_, info)| info.as_ref().is_some_and(|info| info.state.last_seq > 0));
    for (partition, info) in &found {
        match info {
            Some(info) => open::check_partition(&manifest, *partition, info, config.replicas)?,
            // An incomplete log cannot be opened, so a log with commits was complete.
            None if has_commits => return Err(ProvisionError::PartitionLost(*partition)),
            None => create(&client, &manifest, *partition, config.replicas).await?,
        }
    }
    Ok(manifest.log_id)
}

/// The manifest of the existing log, or of the new one.
fn agreed_manifest(
    found: &[(Partition, Option<StreamInfo>)],
    new: &NewLog,
    expected_log_id: Option<LogId>,
) -> Result<Manifest, ProvisionError> {
    let existing = found
        .iter()
        .find_map(|(partition, info)| info.as_ref().map(|info| (*partition, info)));
    let Some((partition, info)) = existing else {
        if let Some(expected) = expected_log_id.filter(|expected| *expected != new.log_id) {
            // The caller has seen a log here, so it was lost.
            tracing::error!(log = %expected, "the expected log does not exist");
            return Err(OpenError::NoLog.into());
        }
        return Ok(Manifest {
            log_id: new.log_id,
            layout: new.layout,
            minimum_reader: new.minimum_reader,
            replaces: new.replaces,
        });
    };
    let manifest = open::read_manifest(info, partition)?;
    if let Some(expected) = expected_log_id.filter(|expected| *expected != manifest.log_id) {
        let found = manifest.log_id;
        return Err(OpenError::OtherLog {
            partition,
            expected,
            found,
        }
        .into());
    }
    if manifest.layout != new.layout {
        return Err(OpenError::OtherLayout {
            expected: new.layout,
            found: manifest.layout,
        }
        .into());
    }
    Ok(manifest)
}

async fn create(
    client: &Client,
    manifest: &Manifest,
    partition: Partition,
    replicas: u8,
) -> Result<(), ProvisionError> {
    let stream = names::stream(partition);
    let request = Settings::of(partition, replicas).request(manifest, partition);
    let info = match api::create_stream(client, &stream, &request).await {
        Ok(info) => info,
        Err(error) if error.may_pass() => return Err(open::unanswered(&stream, &error).into()),
        Err(error) => {
            return Err(ProvisionError::Refused {
                partition,
                reason: error.to_string(),
            });
        }
    };
    open::check_partition(manifest, partition, &info, replicas)?;
    Ok(())
}
