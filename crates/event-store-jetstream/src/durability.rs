//! Whether the servers flush before they acknowledge.
//!
//! No answer over a client's connection says so: only a server's monitoring (`/varz`) does, and the system account.
//! So the monitoring of every server that holds a copy is asked, and each must say `sync_always` of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use citycode_jetstream::api::StreamInfo;

/// How long a server's monitoring may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why it is not proved that servers flush before they acknowledge.
#[derive(Debug, thiserror::Error)]
pub enum DurabilityError {
    /// A server acknowledges what the power can take back.
    #[error(
        "server {server} does not report sync_always: acknowledged commits could be lost with the power; set \
             `sync_interval: always`, or allow it by name"
    )]
    NotSyncAlways {
        /// The server's name.
        server: String,
    },
    /// A server that holds a copy is not among those whose monitoring was given.
    #[error("server {server} holds a copy of the log, but none of the monitoring addresses is its own")]
    NotMonitored {
        /// The server's name.
        server: String,
    },
    /// The monitoring of a server cannot be read.
    #[error("the monitoring at {url} cannot be read: {reason}")]
    Monitor {
        /// Its address.
        url: String,
        /// What came instead.
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

/// Asks the monitoring of all, and refuses unless every server that holds a copy says it. `alone` is the server
/// that a stream without a cluster stands on.
pub(crate) async fn prove(monitors: &[String], streams: &[StreamInfo], alone: &str) -> Result<(), DurabilityError> {
    // Directly: what a proxy of the environment answers in a server's name proves nothing.
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.map_err(|error| DurabilityError::Monitor {
        url: monitors.first().cloned().unwrap_or_default(),
        reason: error.to_string(),
    })?;
    let mut told = BTreeMap::new();
    for url in monitors {
        let varz = ask(&client, url).await?;
        told.insert(varz.server_name, varz.jetstream.config.sync_always);
    }
    for stream in streams {
        let mut servers = stream.servers();
        if servers.is_empty() {
            servers.push(alone.to_owned());
        }
        for server in servers {
            match told.get(&server) {
                Some(true) => {}
                Some(false) => return Err(DurabilityError::NotSyncAlways { server }),
                None => return Err(DurabilityError::NotMonitored { server }),
            }
        }
    }
    Ok(())
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<Varz, DurabilityError> {
    let failed = |error: reqwest::Error| DurabilityError::Monitor {
        url: url.to_owned(),
        reason: error.without_url().to_string(),
    };
    let address = format!("{}/varz", url.trim_end_matches('/'));
    let answer = client.get(address).timeout(TIMEOUT).send().await.map_err(failed)?;
    answer.error_for_status().map_err(failed)?.json().await.map_err(failed)
}
