//! The dependencies of every distributed service: its state, the policy, callers' keys, the log and the vault. Opening
//! waits until they are available.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use citycode_auth::{AUDIENCE, AccessTokens, TrustedKeys};
use citycode_event_store::history::LogWithHistory;
use citycode_event_store::{EventStore, LogId};
use citycode_event_store_jetstream::{JetStreamEventStore, OpenError, ProbeAnswers};
use citycode_holder_log::HolderLog;
use citycode_log_segments::LogSegments;
use citycode_policy_file::PolicyFile;
use citycode_projection::LogIdentity;
use citycode_query_stream::Queries;
use citycode_query_stream::jetstream::{QueriesConfig, QueryStoreOnDemand};
use citycode_scan_records::jetstream::archive::ArchiveOnDemand;
use citycode_scan_records::jetstream::retention::Retention;
use citycode_scan_records::jetstream::{JetStreamScanRecords, KeeperSecrets, ScansConfig};
use citycode_scan_records::{RecordArchive, ScanRecords};
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::files;
use citycode_service_kit::health::{Component, HealthRegistry};
use citycode_shared_snapshot::key_files;
use citycode_vault::jetstream::{JetStreamVault, VaultKey, VaultKeys};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::scan_batches::DigestRecorder;
use super::settings::{LOG_READERS_API, SCANS_READERS_API, Servers, ServiceSettings, VAULT_READERS_API};
use super::state_folder::StateFolder;
use super::{Role, policy};
use crate::wiring::{Environment, StartError, measured};

/// The file name of the secret under which the stream of queries is sealed.
pub const QUERIES_KEY: &str = "queries.key";
/// Pause between two attempts to reach unavailable servers.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// At most so many heartbeats are written within the age limit of the strictest place.
const HEARTBEATS_PER_LIMIT: u32 = 3;
/// How long a writer waits for other writers or ordinary commits to answer a freshness probe; each instance draws its
/// own duration, so that one heartbeat usually answers for all.
const PATIENCE_MS: std::ops::Range<u32> = 50..300;

/// Opened dependencies; no task is running yet.
pub(super) struct Dependencies {
    pub(super) state: StateFolder,
    pub(super) policy: PolicyFile,
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) log: Arc<dyn EventStore>,
    pub(super) identity: LogIdentity,
    role: Role,
    store: Arc<JetStreamEventStore>,
    keys: Option<PathBuf>,
}

impl Role {
    /// Whether this role starts from segments of the log's history. Audit services read the log itself, because they
    /// check it.
    fn reads_segments(self) -> bool {
        matches!(self, Self::Issuer | Self::Revocation | Self::Verifier)
    }

    /// The log's servers for this role: readers have separate accounts.
    pub(super) fn servers_of_log(self, settings: &ServiceSettings) -> Servers {
        match self {
            Self::Issuer | Self::Revocation => settings.log.clone(),
            _ => settings.log.clone().of_reader(LOG_READERS_API),
        }
    }
}

impl Dependencies {
    /// Waits for the servers and the log; fails if waiting cannot help.
    pub(super) async fn open(
        role: Role,
        settings: &ServiceSettings,
        environment: &Environment,
        health: &HealthRegistry,
    ) -> Result<Self, StartError> {
        let state = settings.state.as_ref().expect("validated before");
        let state = StateFolder::open(state).await?;
        let policy = policy::open(settings)?;
        let tokens = access(role, settings)?;
        let mut config = role.servers_of_log(settings).log(role.program())?;
        let known = state.log_id()?;
        config.expected_log_id = known;
        config.role = role.name();
        config.nonce_key = Some(environment.entropy.array());
        let component = health.component("log");
        let store = loop {
            match JetStreamEventStore::open(&config).await {
                Ok(store) => break Arc::new(store),
                Err(OpenError::NoLog) if known.is_some() => wait_for(&component, &LogMissing(known)).await,
                // `citycode provision` may be about to create it.
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
        state.record_log(store.log_id())?;
        let mut log = measured(store.clone(), &environment.clock);
        if role.reads_segments()
            && let Some(history) = log_segments(role, settings, &*log)?
        {
            log = Arc::new(LogWithHistory::new(log, Arc::new(history)));
        }
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

    /// A secret of the city, by its file name. A missing one is not created, because all instances need the same.
    pub(super) fn secret(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, StartError> {
        Ok(files::read_secret(&self.keys_folder().join(name))?)
    }

    /// The log without segments of its history, for the task that writes them.
    pub(super) fn log_itself(&self) -> Arc<dyn EventStore> {
        self.store.clone()
    }

    /// The identity of the log, if it was created in place of the lost log to which the parts belong.
    pub(super) fn replacement(&self) -> Option<[u8; 16]> {
        let log_id = self.log.log_id();
        (log_id != self.log.parts_log_id()).then_some(log_id.0)
    }

    /// Answers the freshness probes of readers, a duty of every writer.
    pub(super) fn answer_probes(&self, environment: &Environment) -> JoinHandle<()> {
        let limit = Duration::from_millis(self.policy.policy.tightest_knowledge_age_ms());
        let spread = PATIENCE_MS.end - PATIENCE_MS.start;
        let patience = PATIENCE_MS.start + environment.entropy.below(spread);
        let clock = Arc::clone(&environment.clock);
        let store = Arc::clone(&self.store);
        let answers = ProbeAnswers {
            heartbeat_every: limit / HEARTBEATS_PER_LIMIT,
            patience: Duration::from_millis(u64::from(patience)),
            now: Box::new(move || clock.now().0),
        };
        tokio::spawn(async move {
            let reason = store.answer_probes(answers).await;
            tracing::error!(reason, "FRESHNESS PROBES ARE NOT ANSWERED by this service");
        })
    }

    /// The vault's key with the least access that this service needs and, during a rotation of the master key, the next
    /// one.
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

    /// Opens the vault; waits until it is available.
    pub(super) async fn vault(
        &self,
        role: Role,
        settings: &ServiceSettings,
        environment: &Environment,
        health: &HealthRegistry,
    ) -> Result<Arc<JetStreamVault>, StartError> {
        let keys = self.vault_keys(role)?;
        let random = environment.fill_random();
        let servers = match role {
            Role::Issuer => settings.vault(),
            _ => settings.vault().of_reader(VAULT_READERS_API),
        };
        let config = citycode_vault::jetstream::VaultConfig {
            connection: servers.connection(role.program())?,
            replicas: servers.replicas(),
            expected_log_id: Some(self.log.parts_log_id().0),
            replaced_by: self.replacement(),
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
                    tracing::error!(%error, "superseded pages of the vault remain until the next start");
                }
            });
        }
        Ok(vault)
    }
}

impl Dependencies {
    /// The connection to the scan records, for this service.
    pub(super) fn scans_config(&self, role: Role, settings: &ServiceSettings) -> Result<ScansConfig, StartError> {
        let servers = settings.scans();
        Ok(ScansConfig {
            connection: servers.connection(role.program())?,
            replicas: servers.replicas(),
            expected_log_id: Some(self.log.parts_log_id().0),
        })
    }

    /// Opens the scan records; waits until they are available, because sampling desks are answered only after a record
    /// is stored.
    pub(super) async fn scan_records(
        &self,
        settings: &ServiceSettings,
        environment: &Environment,
        health: &HealthRegistry,
    ) -> Result<Arc<dyn ScanRecords>, StartError> {
        let secret = self.secret("scan-records.key")?;
        let config = self.scans_config(Role::Verifier, settings)?;
        let component = health.component("scan-records");
        loop {
            let clock = Arc::clone(&environment.clock);
            let random = environment.fill_random();
            match JetStreamScanRecords::open(&config, &secret, random, clock, component.clone()).await {
                Ok(records) => return Ok(Arc::new(records)),
                Err(error) if error.may_pass() => wait_for(&component, &error).await,
                Err(error) => return Err(StartError::OpenScans(error)),
            }
        }
    }

    /// The scan records for audits. They are opened at the first use, so that histories are available without them.
    pub(super) fn scan_archive(&self, settings: &ServiceSettings) -> Result<Arc<dyn RecordArchive>, StartError> {
        let config = self.scans_config(Role::Audit, settings)?;
        Ok(Arc::new(ArchiveOnDemand::new(config, self.keeper_secrets()?)))
    }

    /// Spawns the task that puts the digests of scan records into the log. Without access to the records the service
    /// starts nevertheless, and its health says why there are no digests: losses must be accepted before an operator of an
    /// earlier release has distributed the seed.
    pub(super) fn record_digests(
        &self,
        log: Arc<HolderLog>,
        settings: &ServiceSettings,
        environment: &Environment,
        health: &HealthRegistry,
    ) -> JoinHandle<()> {
        let recorder = DigestRecorder {
            config: self.sealed_records_config(settings).map_err(|error| error.to_string()),
            log,
            retention_days: self.scan_retention_days(settings),
            clock: Arc::clone(&environment.clock),
            component: health.component("scan-digests"),
        };
        tokio::spawn(recorder.run())
    }

    /// The stream of queries, if this service has its seed and key. It is opened at the first use. A city of an earlier
    /// release has neither: its services start, and questions that must be recorded are not answered.
    pub(super) fn queries(
        &self,
        settings: &ServiceSettings,
        environment: &Environment,
    ) -> Result<Option<Arc<Queries>>, StartError> {
        let has_key = self.keys_folder().join(QUERIES_KEY).exists();
        let Some(servers) = settings.queries().filter(|_| has_key) else {
            tracing::warn!(
                "this service has no seed ([queries]) or no key (queries.key) of the stream of queries: questions that \
                 must be recorded are not answered, and erasures do not reach the stream"
            );
            return Ok(None);
        };
        let config = QueriesConfig {
            connection: servers.connection(self.role.program())?,
            replicas: servers.replicas(),
            log_id: self.log.parts_log_id().0,
        };
        let store = QueryStoreOnDemand::new(config, self.secret(QUERIES_KEY)?, environment.fill_random());
        let entropy = Arc::clone(&environment.entropy);
        Ok(Some(Arc::new(Queries::new(Arc::new(store), entropy))))
    }

    fn sealed_records_config(&self, settings: &ServiceSettings) -> Result<ScansConfig, StartError> {
        let servers = settings.scans().of_reader(SCANS_READERS_API);
        Ok(ScansConfig {
            connection: servers.connection(Role::Revocation.program())?,
            replicas: servers.replicas(),
            expected_log_id: Some(self.log.parts_log_id().0),
        })
    }

    /// The retention of scan records: the policy's, or else the configured one.
    fn scan_retention_days(&self, settings: &ServiceSettings) -> u16 {
        let days = self.policy.policy.retention.scan_days;
        days.unwrap_or(settings.scan_retention_days)
    }

    fn keeper_secrets(&self) -> Result<KeeperSecrets, StartError> {
        Ok(KeeperSecrets {
            records: self.secret("scan-records.key")?,
            archive: self.secret("scan-archive.key")?,
        })
    }

    /// Spawns the task that creates each day's streams and key in advance and destroys them after the retention period.
    pub(super) fn keep_scans(
        &self,
        settings: &ServiceSettings,
        environment: &Environment,
        health: &HealthRegistry,
    ) -> Result<JoinHandle<()>, StartError> {
        let retention = Retention {
            config: self.scans_config(Role::Audit, settings)?,
            secrets: self.keeper_secrets()?,
            retention_days: self.scan_retention_days(settings),
            clock: Arc::clone(&environment.clock),
            random: environment.fill_random(),
            component: health.component("scan-records"),
        };
        Ok(tokio::spawn(retention.run()))
    }
}

/// The segments of the log's history; none if this service does not have the keys of accepted signatures.
fn log_segments(
    role: Role,
    settings: &ServiceSettings,
    log: &dyn EventStore,
) -> Result<Option<LogSegments>, StartError> {
    let folder = settings.keys.as_ref().expect("validated before");
    let signers = key_files::read_signers(folder)?;
    if signers.is_empty() {
        return Ok(None);
    }
    let connection = role.servers_of_log(settings).connection(role.program())?;
    Ok(Some(LogSegments::new(
        connection,
        (log.log_id(), log.layout()),
        &signers,
    )))
}

/// Accepts the access tokens of the configured identity provider, and at every service but the portals also those of the
/// portals' pages: nobody sends these to a portal.
pub(super) fn access(role: Role, settings: &ServiceSettings) -> Result<Arc<AccessTokens>, StartError> {
    let provider = settings.identity_provider.as_ref();
    let provider = provider.expect("validated before");
    let mut trusted = TrustedKeys::new().with_jwks_file(&provider.issuer, &provider.jwks_file)?;
    if let Some(pages) = settings.page_tokens.as_ref().filter(|_| role != Role::Portal) {
        let roles = pages.roles().expect("validated before");
        trusted = trusted.with_page_tokens(&pages.jwks_file, roles)?;
    }
    Ok(Arc::new(AccessTokens::new(AUDIENCE, trusted)))
}

/// The log of this instance's state is not on the servers. Servers may report this for a moment while they start.
struct LogMissing(Option<LogId>);

impl std::fmt::Display for LogMissing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the part `log` is missing: the servers have no event log")?;
        if let Self(Some(log_id)) = self {
            write!(f, ", and the state of this instance is of the log {log_id}")?;
        }
        f.write_str("; restore it from its archive (docs/operations/city.md, \"Restoring from the archive\")")
    }
}

/// Reports an error in the health and once in the log, and pauses before the next attempt.
pub(super) async fn wait_for(component: &Component, error: &dyn std::fmt::Display) {
    if component.starting(format!("waiting: {error}")) {
        tracing::warn!(%error, "waiting for a dependency");
    }
    tokio::time::sleep(RETRY_EVERY).await;
}
