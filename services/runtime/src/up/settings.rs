//! What `citycode up` can be told: a TOML file, the environment over it (`CITYCODE__A__B`), flags over both.

use std::net::SocketAddr;
use std::path::PathBuf;

use citycode_auth::TrustedKeys;
use citycode_event_store::LogId;
use citycode_service_kit::config::Validate;
use citycode_service_kit::files;
use citycode_service_kit::serve::Limits;
use serde::Deserialize;

use super::begin_anew::BeginAnew;
use crate::wiring::{IdentityProvider, StartError};

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
    /// The folder of marks, which say how far each log was known to reach; outside of what a backup restores.
    /// `$XDG_STATE_HOME/citycode/marks` without it.
    pub marks: Option<PathBuf>,
    /// Whose access tokens are taken besides this machine's own.
    pub identity_provider: Option<IdentityProvider>,
    /// Whose assertions that a person was authenticated are taken, each once.
    pub assertion_provider: Option<IdentityProvider>,
    /// What clients may hold, and for how long.
    pub limits: Limits,
    /// What this one start is told to do about lost data; never a setting.
    #[serde(skip)]
    pub once: Once,
}

/// What a start is told to do about lost data. Flags alone say so: in a file they would do it again.
#[derive(Clone, Debug, Default)]
pub struct Once {
    /// Parts of the data folder to begin anew.
    pub begin_anew: Vec<BeginAnew>,
    /// The log whose lost changes are given up.
    pub accept_loss: Option<LogId>,
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
            marks: None,
            identity_provider: None,
            assertion_provider: None,
            once: Once::default(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Looks into the files that are named: what is missing there would else be said at the start.
    ///
    /// # Errors
    /// [`StartError::NamedFiles`], with all of them.
    pub(crate) fn check_named_files(&self) -> Result<(), StartError> {
        let policy = self
            .policy
            .as_ref()
            .map(|path| citycode_policy_file::read(path).map(drop));
        let master = self
            .master_key_file
            .as_ref()
            .map(|path| files::read_private(path).map(drop));
        let provider = self.identity_provider.iter().chain(&self.assertion_provider);
        let keys = provider.map(|provider| {
            let trusted = TrustedKeys::new().with_jwks_file(&provider.issuer, &provider.jwks_file);
            trusted
                .err()
                .map(|error| format!("{}: {error}", provider.jwks_file.display()))
        });
        let wrong: Vec<String> = [
            policy.and_then(Result::err).map(|error| error.to_string()),
            master.and_then(Result::err).map(|error| error.to_string()),
        ]
        .into_iter()
        .chain(keys)
        .flatten()
        .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(StartError::NamedFiles(wrong))
        }
    }
}

impl Validate for Settings {
    fn validate(&self) -> Vec<String> {
        let mut errors = self.limits.validate();
        if self.snapshot_seconds == 0 {
            errors.push("snapshot_seconds must be at least 1".to_owned());
        }
        if self.scan_retention_days == 0 {
            errors.push("scan_retention_days must be at least 1".to_owned());
        }
        errors
    }
}
