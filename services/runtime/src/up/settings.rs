//! The settings of `citycode up`: a TOML file, overridden by the environment (`CITYCODE__A__B`), overridden by flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use citycode_auth::TrustedKeys;
use citycode_event_store::LogId;
use citycode_pages::SignInSettings;
use citycode_service_kit::config::Validate;
use citycode_service_kit::files;
use citycode_service_kit::serve::Limits;
use serde::Deserialize;

use super::begin_anew::BeginAnew;
use crate::wiring::page_settings::PageSettings;
use crate::wiring::witnessed_log::WitnessedLogSettings;
use crate::wiring::{IdentityProvider, StartError};

/// The default address, reachable from this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// All settings. Every key has a default; an unknown key is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address to listen on, for both HTTP and gRPC.
    pub listen: SocketAddr,
    /// The data folder; default: a folder in the user's data directory.
    pub data: Option<PathBuf>,
    /// The policy file; default: Shanghai's policy.
    pub policy: Option<PathBuf>,
    /// The vault's master key, 32 bytes, mode 0600; default: in the data folder's `keys/`.
    pub master_key_file: Option<PathBuf>,
    /// Seconds between snapshots of the projections.
    pub snapshot_seconds: u64,
    /// Retention of scan records in days, unless the policy has one.
    pub scan_retention_days: u16,
    /// Retention of the purposes of queries in days, unless the policy has one.
    pub query_retention_days: u16,
    /// Addresses of the witnesses that cosign the log's checkpoints.
    pub witnesses: Vec<String>,
    /// From which age on codes are checked only if witnesses vouch for the log; default: never.
    pub witnessed_log: Option<WitnessedLogSettings>,
    /// The folder of high-water marks, which must not be part of a backup; default: `$XDG_STATE_HOME/citycode/marks`.
    pub marks: Option<PathBuf>,
    /// The issuer of accepted access tokens, in addition to this machine's own.
    pub identity_provider: Option<IdentityProvider>,
    /// The issuer of accepted assertions that a person was authenticated; each assertion is accepted once.
    pub assertion_provider: Option<IdentityProvider>,
    /// How people sign in to the web pages, through an OpenID Connect provider.
    pub sign_in: Option<SignInSettings>,
    /// Limits of clients' connections and requests.
    pub limits: Limits,
    /// The web pages.
    pub pages: PageSettings,
    /// Whether this is a demo with sample residents; never from a file.
    #[serde(skip)]
    pub demo: bool,
    /// Instructions about lost data for this start only; never from a file.
    #[serde(skip)]
    pub once: Once,
}

/// Instructions about lost data for one start. They come only from flags, because a file would repeat them.
#[derive(Clone, Debug, Default)]
pub struct Once {
    /// Parts of the data folder to recreate.
    pub begin_anew: Vec<BeginAnew>,
    /// The log whose loss of changes is accepted.
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
            query_retention_days: 365,
            witnesses: Vec::new(),
            witnessed_log: None,
            marks: None,
            identity_provider: None,
            assertion_provider: None,
            sign_in: None,
            pages: PageSettings::default(),
            demo: false,
            once: Once::default(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Checks the named files, so that their problems are reported before a start.
    ///
    /// # Errors
    /// [`StartError::NamedFiles`] with all problems.
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
        let demand = self
            .witnessed_log
            .as_ref()
            .and_then(|demand| demand.named_files().err());
        let problems: Vec<String> = [
            demand,
            policy.and_then(Result::err).map(|error| error.to_string()),
            master.and_then(Result::err).map(|error| error.to_string()),
        ]
        .into_iter()
        .chain(keys)
        .flatten()
        .chain(self.pages.kiosk.open().err().into_iter().flatten())
        .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(StartError::NamedFiles(problems))
        }
    }
}

impl Validate for Settings {
    fn validate(&self) -> Vec<String> {
        let mut errors = self.limits.validate();
        errors.extend(self.pages.kiosk.validate());
        if self.snapshot_seconds == 0 {
            errors.push("snapshot_seconds must be at least 1".to_owned());
        }
        if self.scan_retention_days == 0 {
            errors.push("scan_retention_days must be at least 1".to_owned());
        }
        if self.query_retention_days == 0 {
            errors.push("query_retention_days must be at least 1".to_owned());
        }
        if let Some(demand) = &self.witnessed_log {
            errors.extend(demand.problems());
            if demand.log.is_some() != demand.log_keys.is_some() {
                errors.push("witnessed_log.log and witnessed_log.log_keys go together".to_owned());
            }
        }
        errors
    }
}
