//! Watches and raises the log's minimum reader version, which [`LogConnection`] caches.

use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::{Partition, RaiseError, ReaderVersion};
use citycode_jetstream::api::{self, ApiError};

use crate::connection::LogConnection;
use crate::names;

/// Between two checks whether another process raised it. That happens once for each release, and nothing waits for it.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Checks partition 0 regularly until its minimum is this program's version or the log is closed.
pub(crate) fn watch(connection: &Arc<LogConnection>) {
    let connection = Arc::downgrade(connection);
    tokio::spawn(async move {
        loop {
            let Some(open) = connection.upgrade() else { return };
            if open.minimum_reader() >= ReaderVersion::CURRENT {
                return;
            }
            let client = open.client().clone();
            drop(open);
            tokio::time::sleep(CHECK_EVERY).await;
            let info = api::stream_info(&client, &names::stream(Partition(0))).await;
            // Only the version matters here: a mismatch is reported by the next operation on the partition.
            if let (Some(open), Ok(info)) = (connection.upgrade(), info) {
                let _ = open.identity_mismatch(&info, Partition(0));
            }
        }
    });
}

/// Raises every partition, partition 0 last. If it is interrupted, the partitions have different minimums, all of which
/// programs of this release can read; a repeated call completes the change.
pub(crate) async fn raise(connection: &LogConnection, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
    RaiseError::check(to)?;
    if connection.minimum_reader() < to {
        let partitions: Vec<Partition> = connection.layout().all_partitions().collect();
        for partition in partitions.into_iter().rev() {
            raise_partition(connection, partition, to).await?;
        }
    }
    Ok(connection.minimum_reader())
}

async fn raise_partition(
    connection: &LogConnection,
    partition: Partition,
    to: ReaderVersion,
) -> Result<(), RaiseError> {
    let (client, stream) = (connection.client(), names::stream(partition));
    let mut info = raise_result(&stream, api::stream_info(client, &stream).await)?;
    if let Some(reason) = connection.identity_mismatch(&info, partition) {
        return Err(RaiseError::Refused(reason));
    }
    if minimum_of(&info.config) < Some(to) {
        // The rest of the configuration stays as reported. Concurrent calls write the same value.
        info.config["metadata"][KEY] = to.to_string().into();
        let config = serde_json::Value::Object(info.config);
        raise_result(&stream, api::update_stream(client, &stream, &config).await)?;
    }
    connection.see_minimum_reader(partition, to);
    Ok(())
}

/// The manifest's key of the minimum reader version.
const KEY: &str = "citycode.minimum_reader";

fn minimum_of(config: &serde_json::Map<String, serde_json::Value>) -> Option<ReaderVersion> {
    let text = config.get("metadata")?.get(KEY)?.as_str()?;
    text.parse().ok().map(ReaderVersion)
}

fn raise_result<T>(stream: &str, answer: Result<T, ApiError>) -> Result<T, RaiseError> {
    answer.map_err(|error| {
        let reason = format!("{stream}: {error}");
        if error.may_pass() {
            RaiseError::Unavailable(reason)
        } else {
            RaiseError::Refused(reason)
        }
    })
}
