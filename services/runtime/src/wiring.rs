//! Common parts of `up` and the distributed services: projections that follow the log, their snapshots, and the
//! services with authentication.

pub mod endpoints;
pub(crate) mod erasing_vault;
pub mod following;
pub(crate) mod lag;
pub mod log_trees;
pub mod metric_list;
pub mod page_settings;
pub(crate) mod past_lists;
pub(crate) mod policy;
pub(crate) mod query_digests;
pub(crate) mod scan_batches;
pub mod snapshots;
pub(crate) mod state_metrics;
pub(crate) mod status_fold;
pub(crate) mod verifying;
pub mod witnessed_log;
mod witnesses;
pub(crate) mod writing;

use std::sync::Arc;

use citycode_assertion_uses::AssertionUses;
use citycode_auth::assertion::Assertions;
use citycode_auth::{AUDIENCE, TrustedKeys};
use citycode_command_auth::AssertionVerifier;
use citycode_event_store::EventStore;
use citycode_event_store::follow::FollowError;
use citycode_event_store::measured::MeasuredLog;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::config;
use citycode_service_kit::entropy::Entropy;
use serde::Deserialize;

use citycode_terminal::failure::Failure;

/// The sources of time and randomness with which services are started.
#[derive(Clone)]
pub struct Environment {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Environment {
    /// The randomness as a function, as engines need it.
    pub fn fill_random(&self) -> citycode_vault::FillRandom {
        let entropy = Arc::clone(&self.entropy);
        Arc::new(move |bytes| entropy.fill(bytes))
    }
}

/// An identity provider: its name in `iss`, and the file of its public keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityProvider {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// A JWKS file (RFC 7517) with its public keys.
    pub jwks_file: std::path::PathBuf,
}

/// Why a system or a service does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's error text explains it")]
pub enum StartError {
    #[error("the configuration is refused: {0}")]
    Config(#[from] config::ConfigError),
    #[error("the configuration is valid, but files that it names are not: {}", .0.join("; "))]
    NamedFiles(Vec<String>),
    #[error("the policy is refused: {0}")]
    Policy(#[from] citycode_policy_file::PolicyFileError),
    #[error("the data folder cannot be used: {0}")]
    Folder(#[from] crate::up::DataFolderError),
    #[error("the data folder cannot be used: {0}")]
    Part(#[from] crate::up::PartError),
    #[error("the state folder of this service cannot be used: {0}")]
    State(#[from] crate::distributed::StateFolderError),
    #[error("there is no home folder for the data: name a folder with --data")]
    NoHome,
    #[error("the event log cannot be used: {0}")]
    Open(#[from] citycode_event_store_embedded::OpenError),
    #[error("the event log cannot be used: {0}")]
    OpenServers(#[from] citycode_event_store_jetstream::OpenError),
    #[error("the event log cannot be read: {0}")]
    Read(#[from] citycode_event_store::ReadError),
    #[error("the event log cannot be folded: {0}")]
    Log(String),
    #[error("the event log cannot be followed: {0}")]
    Follow(FollowError),
    #[error(transparent)]
    Keys(#[from] citycode_issuer::KeyFolderError),
    #[error(transparent)]
    File(#[from] citycode_service_kit::files::FileError),
    #[error("the master key file must contain exactly 32 bytes")]
    MasterKeyLength,
    #[error(transparent)]
    SnapshotKeys(#[from] citycode_shared_snapshot::key_files::KeyFileError),
    #[error(transparent)]
    Authority(#[from] citycode_auth::LocalAuthorityError),
    #[error("the issued access tokens cannot be used: {0}")]
    IssuedTokens(#[from] citycode_auth::IssuedError),
    #[error("the identity provider's keys are refused: {0}")]
    Trust(#[from] citycode_auth::KeyError),
    #[error(transparent)]
    Vault(#[from] citycode_vault::VaultError),
    #[error("the vault cannot be used: {0}")]
    OpenVault(citycode_vault::jetstream::OpenError),
    #[error(transparent)]
    VaultAge(#[from] citycode_issuer::vault_age::VaultAgeError),
    #[error("the scan records cannot be used: {0}")]
    OpenScans(citycode_scan_records::jetstream::OpenError),
    #[error("the register of used assertions cannot be used: {0}")]
    AssertionUses(#[from] citycode_assertion_uses::Unavailable),
    #[error(transparent)]
    AccessRecords(#[from] citycode_access_records::Unavailable),
    #[error("the pages' records cannot be used: {0}")]
    OpenPageRecords(citycode_access_records::jetstream::OpenError),
    #[error("the fonts for print sheets cannot be used: {0}")]
    Fonts(#[from] citycode_qr::FontError),
    #[error("the sign-in of the pages cannot be used: {0}")]
    SignIn(String),
    #[error("--demo: {0}")]
    Demo(String),
    #[error(transparent)]
    Serve(#[from] citycode_service_kit::serve::ServeError),
    #[error("the address of a service cannot be used: {0}")]
    Connect(#[from] citycode_service_clients::ConnectError),
    #[error("no signing key could be created: {}", .0.detail())]
    FirstKey(citycode_service_kit::problem::Problem),
    #[error("{0}")]
    Verifier(String),
    #[error("signals of the operating system cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("stopped while starting")]
    Interrupted,
}

impl StartError {
    /// The failure to print at the terminal.
    pub fn into_failure(self) -> Failure {
        let interrupted = matches!(self, Self::Interrupted);
        // The sources explain the cause, e.g. that the address is in use.
        let sources = std::iter::successors(std::error::Error::source(&self), |error| error.source());
        let why = sources.fold(self.to_string(), |text, error| {
            let more = error.to_string();
            if text.contains(&more) {
                text
            } else {
                format!("{text}: {more}")
            }
        });
        Failure::local(
            "the system does not start",
            why,
            if interrupted {
                "start it again"
            } else {
                "fix the cause and start again"
            },
        )
    }
}

/// Measures the appends to this log. The metrics recorder must be installed before.
pub(crate) fn measured(log: Arc<dyn EventStore>, clock: &Arc<dyn Clock>) -> Arc<dyn EventStore> {
    let clock = Arc::clone(clock);
    Arc::new(MeasuredLog::new(log, move || clock.monotonic()))
}

/// Verifies assertions of this provider and registers each use in this register.
pub(crate) fn assertion_verifier(
    provider: &IdentityProvider,
    uses: Arc<dyn AssertionUses>,
) -> Result<AssertionVerifier, StartError> {
    let trusted = TrustedKeys::new().with_jwks_file(&provider.issuer, &provider.jwks_file)?;
    let assertions = Assertions::new(AUDIENCE, trusted);
    Ok(AssertionVerifier { assertions, uses })
}

/// Says whether the digests of `records` (scans or queries) enter the log.
pub(crate) fn report_digests(records: &'static str, enter: bool) {
    metrics::gauge!("citycode_audit_digests_healthy", "records" => records).set(if enter { 1.0 } else { 0.0 });
}
