//! What every service apart stands on: its state, the policy, callers' keys, the log and the vault, waited for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use citycode_auth::{AUDIENCE, AccessTokens, TrustedKeys};
use citycode_domain::policy::Policy;
use citycode_event_store::{EventStore, LogId};
use citycode_event_store_jetstream::{JetStreamEventStore, OpenError, ProbeAnswers};
use citycode_projection::LogIdentity;
use citycode_scan_records::ScanRecords;
use citycode_scan_records::jetstream::{JetStreamScanRecords, KeeperSecrets, ScansConfig};
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::files;
use citycode_service_kit::health::{Component, HealthRegistry};
use citycode_vault::jetstream::{JetStreamVault, VaultKey, VaultKeys};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::retention::Retention;
use super::settings::{LOG_READERS_API, Servers, ServiceSettings, VAULT_READERS_API};
use super::state_folder::StateFolder;
use super::{Role, policy};
use crate::wiring::measured::MeasuredLog;
use crate::wiring::{StartError, Surroundings};

/// Between two looks for servers that are not there yet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Heartbeats come no oftener than so often in the limit of the tightest place.
const HEARTBEATS_PER_LIMIT: u32 = 3;
/// How long a writer leaves a reader's question to the others and to ordinary commits; each draws its own.
const PATIENCE_MS: std::ops::Range<u32> = 50..300;

/// Opened, and nothing running yet.
pub(super) struct Dependencies {
    pub(super) state: StateFolder,
    pub(super) policy: Arc<Policy>,
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) log: Arc<dyn EventStore>,
    pub(super) identity: LogIdentity,
    role: Role,
    store: Arc<JetStreamEventStore>,
    keys: Option<PathBuf>,
}

impl Role {
    /// The log's servers, as this role knows them: readers live in accounts of their own.
    pub(super) fn servers_of_log(self, settings: &ServiceSettings) -> Servers {
        match self {
            Self::Issuer | Self::Revocation => settings.log.clone(),
            _ => settings.log.clone().of_reader(LOG_READERS_API),
        }
    }
}

impl Dependencies {
    /// Waits for servers and for a log on them; refuses what no waiting mends.
    pub(super) async fn open(
        role: Role,
        settings: &ServiceSettings,
        surroundings: &Surroundings,
        health: &HealthRegistry,
    ) -> Result<Self, StartError> {
        let state = settings.state.as_ref().expect("validated before");
        let state = StateFolder::open(state).await?;
        let policy = policy::open(settings)?;
        let tokens = access(settings)?;
        let mut config = role.servers_of_log(settings).log(role.program())?;
        let known = state.log_id()?;
        config.expected_log_id = known;
        config.role = role.name();
        config.nonce_key = Some(surroundings.entropy.array());
        let component = health.component("log");
        let store = loop {
            match JetStreamEventStore::open(&config).await {
                Ok(store) => break Arc::new(store),
                Err(OpenError::NoLog) if known.is_some() => wait_for(&component, &LogMissing(known)).await,
                // `citycode provision` may be about to make it.
                Err(error) if error.may_pass() || matches!(error, OpenError::NoLog) => {
                    wait_for(&component, &error).await;
                }
                Err(OpenError::OtherLog { expected, found, .. }) if known == Some(expected) => {
                    return Err(state.other_log(expected, found).into());
                }
                Err(error) => return Err(error.into()),
            }
        };
        component.ready();
        state.remember(store.log_id())?;
        let log = MeasuredLog::around(store.clone(), &surroundings.clock);
        let identity = citycode_log_folds::identity_of(&*log);
        Ok(Self {
            state,
            policy,
            tokens,
            log,
            identity,
            role,
            store,
            keys: settings.keys.clone(),
        })
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// The folder of the city's keys.
    pub(super) fn keys_folder(&self) -> &Path {
        self.keys.as_ref().expect("validated before")
    }

    /// A secret of the city's by its file's name. Nothing is made here: two instances that made their own would not
    /// understand each other.
    pub(super) fn secret(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, StartError> {
        Ok(files::read_secret(&self.keys_folder().join(name))?)
    }

    /// Answers verifiers who prove that they are fresh: a writer's duty.
    pub(super) fn answer_probes(&self, surroundings: &Surroundings) -> JoinHandle<()> {
        let limit = Duration::from_millis(self.policy.tightest_knowledge_age_ms());
        let spread = PATIENCE_MS.end - PATIENCE_MS.start;
        let patience = PATIENCE_MS.start + surroundings.entropy.below(spread);
        let clock = Arc::clone(&surroundings.clock);
        let store = Arc::clone(&self.store);
        let answers = ProbeAnswers {
            heartbeat_every: limit / HEARTBEATS_PER_LIMIT,
            patience: Duration::from_millis(u64::from(patience)),
            now: Box::new(move || clock.now().0),
        };
        tokio::spawn(async move {
            let reason = store.answer_probes(answers).await;
            tracing::error!(reason, "VERIFIERS' QUESTIONS ARE NOT ANSWERED by this service");
        })
    }

    /// The least of the vault's keys that this service can do its work with; and, while the master key is replaced,
    /// the one that comes.
    fn vault_keys(&self, role: Role) -> Result<VaultKeys, StartError> {
        let name = match role {
            Role::Issuer => "vault-master",
            Role::Revocation => "vault-revocation",
            _ => "vault-index",
        };
        let kind = |key| match role {
            Role::Issuer => VaultKey::Master(key),
            Role::Revocation => VaultKey::Revocation(key),
            _ => VaultKey::Index(key),
        };
        let folder = self.keys.as_ref().expect("validated before");
        let next = format!("{name}.next.key");
        let next = folder.join(&next).exists().then(|| self.secret(&next)).transpose()?;
        Ok(VaultKeys {
            current: kind(self.secret(&format!("{name}.key"))?),
            next: next.map(kind),
        })
    }

    /// The vault, waited for.
    pub(super) async fn vault(
        &self,
        role: Role,
        settings: &ServiceSettings,
        surroundings: &Surroundings,
        health: &HealthRegistry,
    ) -> Result<Arc<JetStreamVault>, StartError> {
        let keys = self.vault_keys(role)?;
        let random = surroundings.fill_random();
        let servers = match role {
            Role::Issuer => settings.vault(),
            _ => settings.vault().of_reader(VAULT_READERS_API),
        };
        let config = citycode_vault::jetstream::VaultConfig {
            connection: servers.connection(role.program())?,
            replicas: servers.replicas(),
            expected_log_id: Some(self.log.log_id().0),
        };
        let component = health.component("vault");
        let vault = loop {
            match JetStreamVault::open(&config, &keys, random.clone()).await {
                Ok(vault) => break vault,
                Err(error) if error.may_pass() => wait_for(&component, &error).await,
                Err(error) => return Err(StartError::OpenVault(error)),
            }
        };
        component.ready();
        let vault = Arc::new(vault);
        if role == Role::Issuer {
            let sweeping = Arc::clone(&vault);
            tokio::spawn(async move {
                if let Err(error) = sweeping.sweep().await {
                    tracing::error!(%error, "superseded pages of the vault stay until the next start");
                }
            });
        }
        Ok(vault)
    }
}

impl Dependencies {
    /// Where scan records are, for this service.
    pub(super) fn scans_config(&self, role: Role, settings: &ServiceSettings) -> Result<ScansConfig, StartError> {
        let servers = settings.scans();
        Ok(ScansConfig {
            connection: servers.connection(role.program())?,
            replicas: servers.replicas(),
            expected_log_id: Some(self.log.log_id().0),
        })
    }

    /// The records of this verifier, waited for: without them no desk could be answered.
    pub(super) async fn scan_records(
        &self,
        settings: &ServiceSettings,
        surroundings: &Surroundings,
        health: &HealthRegistry,
    ) -> Result<Arc<dyn ScanRecords>, StartError> {
        let secret = self.secret("scan-records.key")?;
        let config = self.scans_config(Role::Verifier, settings)?;
        let component = health.component("scan-records");
        loop {
            let clock = Arc::clone(&surroundings.clock);
            let random = surroundings.fill_random();
            match JetStreamScanRecords::open(&config, &secret, random, clock, component.clone()).await {
                Ok(records) => return Ok(Arc::new(records)),
                Err(error) if error.may_pass() => wait_for(&component, &error).await,
                Err(error) => return Err(StartError::OpenScans(error)),
            }
        }
    }

    /// Makes each day's streams and key before the day comes, and destroys them at retention, in a task of its own.
    pub(super) fn keep_scans(
        &self,
        settings: &ServiceSettings,
        surroundings: &Surroundings,
        health: &HealthRegistry,
    ) -> Result<JoinHandle<()>, StartError> {
        let keeping = Retention {
            config: self.scans_config(Role::Audit, settings)?,
            secrets: KeeperSecrets {
                records: self.secret("scan-records.key")?,
                archive: self.secret("scan-archive.key")?,
            },
            retention_days: settings.scan_retention_days,
            surroundings: surroundings.clone(),
            component: health.component("scan-records"),
        };
        Ok(tokio::spawn(keeping.run()))
    }
}

/// Whose tokens are taken.
pub(super) fn access(settings: &ServiceSettings) -> Result<Arc<AccessTokens>, StartError> {
    let provider = settings.identity_provider.as_ref();
    let provider = provider.expect("validated before");
    let trusted = TrustedKeys::new().with_jwks_file(&provider.issuer, &provider.jwks_file)?;
    Ok(Arc::new(AccessTokens::new(AUDIENCE, trusted)))
}

/// A log that this instance knows is not on the servers. Answers of servers that come up may say so for a moment.
struct LogMissing(Option<LogId>);

impl std::fmt::Display for LogMissing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the part `log` is missing: the servers have no event log")?;
        if let Self(Some(log_id)) = self {
            write!(f, ", and this instance knows {log_id}")?;
        }
        f.write_str("; restore it from its archive (docs/operations/city.md, \"Restoring from the archive\")")
    }
}

/// Says once what is waited for, in the log and in health.
pub(super) async fn wait_for(component: &Component, error: &dyn std::fmt::Display) {
    if component.starting(format!("waiting: {error}")) {
        tracing::warn!(%error, "waiting");
    }
    tokio::time::sleep(LOOK_EVERY).await;
}
