//! What `citycode up` can be told: a TOML file, the environment over it (`CITYCODE__A__B`), flags over both.

use std::net::SocketAddr;
use std::path::PathBuf;

use citycode_service_kit::config::Sensible;
use serde::Deserialize;

use crate::compose::IdentityProvider;

/// Port and address unless told otherwise: this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Everything that can be set. Every key has a default; an unknown key is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to listen, for HTTP and gRPC alike.
    pub listen: SocketAddr,
    /// The data folder; a folder under the user's data directory without it.
    pub data: Option<PathBuf>,
    /// The policy file; Shanghai's without it.
    pub policy: Option<PathBuf>,
    /// The vault's master key, 32 bytes, mode 0600; in the data folder's `keys/` without it.
    pub master_key_file: Option<PathBuf>,
    /// Seconds between snapshots of the projections.
    pub snapshot_seconds: u64,
    /// Days that scan records are kept.
    pub scan_retention_days: u16,
    /// Whose access tokens are taken besides this machine's own.
    pub identity_provider: Option<IdentityProvider>,
    /// Whose assertions that a person was authenticated are taken.
    pub assertion_provider: Option<IdentityProvider>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN.parse().expect("an address and a port"),
            data: None,
            policy: None,
            master_key_file: None,
            snapshot_seconds: 300,
            scan_retention_days: 30,
            identity_provider: None,
            assertion_provider: None,
        }
    }
}

impl Sensible for Settings {
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.snapshot_seconds == 0 {
            complaints.push("snapshot_seconds must be at least 1".to_owned());
        }
        if self.scan_retention_days == 0 {
            complaints.push("scan_retention_days must be at least 1".to_owned());
        }
        complaints
    }
}
