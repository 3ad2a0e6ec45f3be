//! Proves that the servers flush before they acknowledge.
//!
//! A client's connection does not show this, only a server's monitoring endpoint (`/varz`) and the system account do.
//! So the monitoring endpoint of every server with a replica is queried, and each must report `sync_always`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use citycode_jetstream::api::StreamInfo;

/// The timeout of a monitoring request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why it is not proved that the servers flush before they acknowledge.
#[derive(Debug, thiserror::Error)]
pub enum DurabilityError {
    /// A server acknowledges commits that a power failure could lose.
    #[error(
        "server {server} does not report sync_always: a power failure could lose acknowledged commits; set \
             `sync_interval: always`, or allow this explicitly"
    )]
    NotSyncAlways {
        /// The server's name.
        server: String,
    },
    /// A server with a replica is not among those whose monitoring addresses were given.
    #[error("server {server} has a replica of the log, but none of the monitoring addresses belongs to it")]
    NotMonitored {
        /// The server's name.
        server: String,
    },
    /// A server's monitoring endpoint cannot be read.
    #[error("the monitoring endpoint {url} cannot be read: {reason}")]
    Monitor {
        /// Its address.
        url: String,
        /// The error.
        reason: String,
    },
}

impl DurabilityError {
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Monitor { .. })
    }
}

#[derive(Deserialize)]
struct Varz {
    server_name: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Deserialize, Default)]
struct JetStream {
    #[serde(default)]
    config: JetStreamConfig,
}

#[derive(Deserialize, Default)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Queries every monitoring endpoint, and fails unless every server with a replica reports `sync_always`. `connected`
/// is the name of the connected server, which stores the streams that have no cluster.
pub(crate) async fn prove(monitors: &[String], streams: &[StreamInfo], connected: &str) -> Result<(), DurabilityError> {
    // No proxy: its answer would not prove anything about the server.
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.map_err(|error| DurabilityError::Monitor {
        url: monitors.first().cloned().unwrap_or_default(),
        reason: error.to_string(),
    })?;
    let mut reports = BTreeMap::new();
    for url in monitors {
        let varz = query(&client, url).await?;
        reports.insert(varz.server_name, varz.jetstream.config.sync_always);
    }
    for stream in streams {
        let mut servers = stream.servers();
        if servers.is_empty() {
            servers.push(connected.to_owned());
        }
        for server in servers {
            match reports.get(&server) {
                Some(true) => {}
                Some(false) => return Err(DurabilityError::NotSyncAlways { server }),
                None => return Err(DurabilityError::NotMonitored { server }),
            }
        }
    }
    Ok(())
}

async fn query(client: &reqwest::Client, url: &str) -> Result<Varz, DurabilityError> {
    let failed = |error: reqwest::Error| DurabilityError::Monitor {
        url: url.to_owned(),
        reason: error.without_url().to_string(),
    };
    let address = format!("{}/varz", url.trim_end_matches('/'));
    let answer = client.get(address).timeout(TIMEOUT).send().await.map_err(failed)?;
    answer.error_for_status().map_err(failed)?.json().await.map_err(failed)
}
