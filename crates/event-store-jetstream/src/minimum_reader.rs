//! The reader version that the log demands: known, looked at again, and raised.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use citycode_event_store::{Partition, RaiseError, ReaderVersion};
use citycode_jetstream::api::{self, ApiError};

use crate::log_client::LogClient;
use crate::names;

/// Between two looks whether somebody raised it. It is raised once in the life of a release, and nothing waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What partition 0 demands, as far as this client was told.
pub(crate) struct MinimumReader(AtomicU32);

impl MinimumReader {
    pub(crate) fn new(version: ReaderVersion) -> Self {
        Self(AtomicU32::new(version.0))
    }

    pub(crate) fn get(&self) -> ReaderVersion {
        ReaderVersion(self.0.load(Ordering::Acquire))
    }

    /// A partition was found to demand this. Partition 0 is raised last and speaks for all; an answer that is older
    /// than another changes nothing.
    pub(crate) fn see(&self, partition: Partition, version: ReaderVersion) {
        if partition == Partition(0) {
            self.0.fetch_max(version.0, Ordering::AcqRel);
        }
    }
}

/// Looks at partition 0 until it demands all that this program can do, or the log is closed.
pub(crate) fn keep_looking(log: &Arc<LogClient>) {
    let log = Arc::downgrade(log);
    tokio::spawn(async move {
        loop {
            let Some(known) = log.upgrade() else { return };
            if known.minimum_reader.get() >= ReaderVersion::CURRENT {
                return;
            }
            let client = known.client.clone();
            drop(known);
            tokio::time::sleep(LOOK_EVERY).await;
            let looked = api::stream_info(&client, &names::stream(Partition(0))).await;
            // Whatever else is found is told by whoever needs the partition.
            if let (Some(known), Ok(info)) = (log.upgrade(), looked) {
                let _ = known.estrangement(&info, Partition(0));
            }
        }
    });
}

/// Raises every partition, partition 0 last. Cut short it leaves partitions that demand different versions, which
/// every program of this release reads, and asking again finishes it.
pub(crate) async fn raise(log: &LogClient, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
    RaiseError::check(to)?;
    if log.minimum_reader.get() < to {
        let partitions: Vec<Partition> = log.manifest.layout.all_partitions().collect();
        for partition in partitions.into_iter().rev() {
            raise_partition(log, partition, to).await?;
        }
    }
    Ok(log.minimum_reader.get())
}

async fn raise_partition(log: &LogClient, partition: Partition, to: ReaderVersion) -> Result<(), RaiseError> {
    let stream = names::stream(partition);
    let mut info = ask(&stream, api::stream_info(&log.client, &stream).await)?;
    if let Some(reason) = log.estrangement(&info, partition) {
        return Err(RaiseError::Refused(reason));
    }
    if demands(&info.config) < Some(to) {
        // Everything else as the server has it. Two who raise at once write the same.
        info.config["metadata"][KEY] = to.to_string().into();
        let config = serde_json::Value::Object(info.config);
        ask(&stream, api::update_stream(&log.client, &stream, &config).await)?;
    }
    log.minimum_reader.see(partition, to);
    Ok(())
}

/// Where the manifest has it.
const KEY: &str = "citycode.minimum_reader";

fn demands(config: &serde_json::Map<String, serde_json::Value>) -> Option<ReaderVersion> {
    let text = config.get("metadata")?.get(KEY)?.as_str()?;
    text.parse().ok().map(ReaderVersion)
}

fn ask<T>(stream: &str, answer: Result<T, ApiError>) -> Result<T, RaiseError> {
    answer.map_err(|error| {
        let reason = format!("{stream}: {error}");
        if error.may_pass() {
            RaiseError::Unavailable(reason)
        } else {
            RaiseError::Refused(reason)
        }
    })
}
