//! Making a log: one stream a partition, with the settings that never change again.

use std::sync::Arc;

use citycode_event_store::{LogId, Partition};
use citycode_jetstream::Client;

use crate::config::{Config, NewLog};
use crate::manifest::Manifest;
use crate::names;
use crate::open::{self, OpenError};
use crate::settings::Settings;
use citycode_jetstream::api::{self, StreamInfo};

/// Why a log was not made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// What stands there is not what was asked for, or cannot be asked about.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A partition is missing from a log that has commits: it was lost, not yet to be made.
    #[error("partition {0} is missing from a log that has commits; restore it, do not start afresh")]
    PartitionLost(Partition),
    /// The server refused to make a stream.
    #[error("partition {partition} cannot be made: {reason}")]
    Refused {
        /// Which partition.
        partition: Partition,
        /// What the server said.
        reason: String,
    },
}

impl ProvisionError {
    /// Whether trying again may help: servers that are not up yet, or have no leader.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Open(error) if error.may_pass())
    }
}

/// Makes the log if there is none, and finishes one whose making was cut short; gives its identity, which is that
/// of `new` only if nothing stood there before. Safe to run at every start and by many at once: of two that make a
/// log at the same time one finds the other's. A log that stands is checked as by opening and never changed.
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
            // Nobody can have opened a log that was not finished, so one with commits was whole once.
            None if has_commits => return Err(ProvisionError::PartitionLost(*partition)),
            None => create(&client, &manifest, *partition, config.replicas).await?,
        }
    }
    Ok(manifest.log_id)
}

/// The manifest of what stands there, or of the new log.
fn agreed_manifest(
    found: &[(Partition, Option<StreamInfo>)],
    new: &NewLog,
    expected_log_id: Option<LogId>,
) -> Result<Manifest, ProvisionError> {
    let standing = found
        .iter()
        .find_map(|(partition, info)| info.as_ref().map(|info| (*partition, info)));
    let Some((partition, info)) = standing else {
        if let Some(expected) = expected_log_id.filter(|expected| *expected != new.log_id) {
            // Somebody knows a log here, and it is gone.
            tracing::error!(log = %expected, "the log that was expected is not there");
            return Err(OpenError::NoLog.into());
        }
        return Ok(Manifest {
            log_id: new.log_id,
            layout: new.layout,
            minimum_reader: new.minimum_reader,
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
    let info = match api::make_stream(client, &stream, &request).await {
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
