//! The whole system in one process: issuer, revocation, verifier, audit and portal over the embedded log.
//!
//! The order of starting matters and stands in [`System::start`]: folder, keys, log, folds from their snapshots,
//! followers, then faces; the port answers only when every fold has reached the log's head and a key is in use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use citycode_acts::{Desk, DeskLimits};
use citycode_audit::{Audit, AuditIndex};
use citycode_domain::policy::Policy;
use citycode_event_store::follow::{Fold, Progress, follow};
use citycode_event_store::{EventStore, LogPosition, StreamName};
use citycode_holder_log::{HolderLog, KEYS_STREAM, RegisterFold, SystemFold, events_of};
use citycode_issuer::{ErasureQueue, IndexLeases, Issuer, KeyFolder, SigningKeys};
use citycode_projection::LogIdentity;
use citycode_projection::register::HolderRegister;
use citycode_revocation::{Followed, Revocation, StatusLists};
use citycode_service_kit::assertion::Assertions;
use citycode_service_kit::auth::{AUDIENCE, AccessTokens, LocalAuthority, TrustedKeys};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::files;
use citycode_service_kit::health::{Component, HealthRegistry, Probe};
use citycode_service_kit::serve::Listener;
use citycode_service_kit::shutdown::{Signal, Trigger};
use citycode_token::{IdCheckKey, SigningKey};
use citycode_vault::Vault;
use citycode_vault::embedded::EmbeddedVault;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::data_folder::DataFolder;
use super::settings::Settings;
use super::verifying::Verifying;
use super::{StartError, faces, snapshots};

/// How long the start waits for every part to have been ready once, the first proof of freshness among them.
const FIRST_PROOF: Duration = Duration::from_secs(10);

/// What the system is started with, beside its settings.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// A running system.
pub struct System {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the local admin's token stands.
    pub admin_token_file: PathBuf,
    stop: Trigger,
    server: JoinHandle<Result<(), citycode_service_kit::serve::ServeError>>,
    parts: Parts,
}

/// What lives as long as the system.
pub(super) struct Parts {
    pub(super) folder: DataFolder,
    pub(super) policy: Arc<Policy>,
    pub(super) identity: LogIdentity,
    pub(super) register: Arc<HolderRegister>,
    pub(super) issuer: Arc<Issuer>,
    pub(super) revocation: Arc<Revocation>,
    pub(super) audit: Arc<Audit>,
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) health: HealthRegistry,
    pub(super) verifying: Verifying,
    followers: Vec<JoinHandle<()>>,
}

impl System {
    /// Starts everything and returns once it serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(settings: Settings, surroundings: Surroundings) -> Result<Self, StartError> {
        let listener = Listener::bind(settings.listen)?;
        let address = listener.address();
        let health = HealthRegistry::new();
        let (stop, stopped) = Signal::channel();
        let mut parts = Parts::open(&settings, &surroundings, &health, &stopped).await?;
        let admin_token_file = parts.folder.join("admin.token");
        let router = faces::router(&parts, &surroundings, &stopped)?;
        let server = tokio::spawn(listener.serve(router, stopped.clone()));
        let every = Duration::from_secs(settings.snapshot_seconds);
        let snapshots = parts.snapshot_task();
        parts.followers.push(tokio::spawn(async move {
            let mut tick = tokio::time::interval(every);
            tick.tick().await;
            loop {
                tokio::select! {
                    _ = tick.tick() => snapshots.save().await,
                    () = stopped.clone().wait() => return,
                }
            }
        }));
        Ok(Self {
            address,
            admin_token_file,
            stop,
            server,
            parts,
        })
    }

    /// The health of its parts.
    #[must_use]
    pub fn health(&self) -> &HealthRegistry {
        &self.parts.health
    }

    /// Ends it: calls in flight finish, snapshots are written, the log is closed, and the folder is free again.
    pub async fn stop(self) {
        let Self {
            stop,
            server,
            mut parts,
            ..
        } = self;
        stop.pull();
        if let Ok(Err(error)) = server.await {
            tracing::error!(%error, "the server ended badly");
        }
        parts.snapshot_task().save().await;
        let followers = std::mem::take(&mut parts.followers);
        followers.iter().for_each(JoinHandle::abort);
        for follower in followers {
            // Each holds the store until it has really ended; that it was aborted is its error.
            let _ = follower.await;
        }
        // The log's writer finishes what is queued before the folder is given free; that blocks its thread.
        let closed = tokio::task::spawn_blocking(move || drop(parts)).await;
        if closed.is_err() {
            tracing::error!("closing the store panicked");
        }
    }
}

impl Parts {
    async fn open(
        settings: &Settings,
        surroundings: &Surroundings,
        health: &HealthRegistry,
        stopped: &Signal,
    ) -> Result<Self, StartError> {
        let ground = Ground::open(settings, surroundings)?;
        let Surroundings { clock, entropy } = surroundings.clone();
        let (folder, policy, store, vault) = (&ground.folder, &ground.policy, &ground.store, &ground.vault);
        let mut followers = Vec::new();
        let (erasures, erased) = ErasureQueue::new();
        let (register, writing) = ground.follow_register(&erasures, health, &mut followers).await?;
        let verifying = Verifying::open(folder, policy, store, vault, surroundings, &ground.id_check_key).await?;
        let retention = settings.scan_retention_days;
        followers.extend(verifying.follow(store, health, surroundings, policy, retention));
        let audit = ground.follow_index(health, &mut followers).await?;
        let acknowledged_by = vec![verifying.progress().clone()];
        let log = HolderLog::new(
            Arc::clone(store),
            Arc::clone(&register),
            writing.clone(),
            acknowledged_by,
        );
        let desk = Arc::new(Desk {
            policy: Arc::clone(policy),
            vault: Arc::clone(vault),
            log: Arc::new(log),
            clock: Arc::clone(&clock),
            limits: DeskLimits::new(&*entropy),
            entropy,
            assertions: assertions(settings, &*clock)?,
        });
        followers.push(spawn_erasures(Arc::clone(vault), erased, health.component("vault")));
        let live = async {
            writing.wait_until_live().await?;
            verifying.progress().wait_until_live().await
        };
        tokio::select! {
            reached = live => reached.map_err(StartError::Follow)?,
            () = stopped.clone().wait() => return Err(StartError::Interrupted),
        }
        let followed = Followed {
            status: verifying.verifier.status().clone(),
            progress: verifying.progress().clone(),
            store: Arc::clone(store),
        };
        let (key, base_uri) = (ground.status_key, policy.status_base_uri.clone());
        let lists = Arc::new(StatusLists::new(followed, key, base_uri, clock));
        if let Err(error) = lists.cut().await {
            tracing::error!(%error, "no status lists were cut at the start; the next tick tries again");
        }
        followers.push(tokio::spawn(Arc::clone(&lists).keep_cutting()));
        let issuer = Issuer {
            desk: Arc::clone(&desk),
            keys: ground.signing,
            leases: ground.leases,
            id_check_key: ground.id_check_key,
            erasures,
        };
        issuer.ensure_signing_key().await.map_err(StartError::FirstKey)?;
        // What failed meanwhile says so in health; it does not keep the others from answering.
        let _ = tokio::time::timeout(FIRST_PROOF, health.wait_for(Probe::Started)).await;
        Ok(Self {
            folder: ground.folder,
            policy: ground.policy,
            identity: ground.identity,
            register,
            issuer: Arc::new(issuer),
            revocation: Arc::new(Revocation { desk, lists }),
            audit: Arc::new(audit),
            tokens: ground.tokens,
            health: health.clone(),
            verifying,
            followers,
        })
    }

    fn snapshot_task(&self) -> SnapshotTask {
        SnapshotTask {
            register_file: self.folder.join("projections/register"),
            identity: self.identity,
            register: Arc::clone(&self.register),
            verifying: self.verifying.clone(),
        }
    }
}

/// What everything stands on: folder, policy, keys, log and vault, opened and not yet running.
struct Ground {
    folder: DataFolder,
    policy: Arc<Policy>,
    tokens: Arc<AccessTokens>,
    store: Arc<dyn EventStore>,
    identity: LogIdentity,
    vault: Arc<dyn Vault>,
    signing: Arc<SigningKeys>,
    leases: Arc<IndexLeases>,
    id_check_key: IdCheckKey,
    status_key: SigningKey,
}

impl Ground {
    fn open(settings: &Settings, surroundings: &Surroundings) -> Result<Self, StartError> {
        let Surroundings { clock, entropy } = surroundings.clone();
        let policy = Arc::new(match &settings.policy {
            Some(path) => citycode_policy_file::read(path)?,
            None => citycode_policy_file::parse(citycode_policy_file::SHANGHAI)?,
        });
        let path = settings.data.clone().or_else(super::data_folder::default_path);
        let folder = DataFolder::open(&path.ok_or(StartError::NoHome)?, &policy.name)?;
        let keys = KeyFolder::open(&folder.join("keys"))?;
        let master = master_key(settings, &keys, &*entropy)?;
        let id_check_key = keys.id_check_key(&*entropy)?;
        let status_key = SigningKey::from_seed(*keys.secret("status-signing.key", &*entropy)?);
        let (admin, tokens) = access(settings, &folder, &*entropy, &*clock)?;
        files::write_atomic(&folder.join("admin.token"), admin.as_bytes(), files::PRIVATE_FILE_MODE)?;
        let store: Arc<dyn EventStore> = Arc::new(folder.open_log(&*entropy)?);
        let identity = snapshots::identity_of(&*store);
        let random: citycode_vault::FillRandom = Arc::new(move |bytes| entropy.fill(bytes));
        let vault: Arc<dyn Vault> = Arc::new(EmbeddedVault::open(&folder.join("vault"), &master, random)?);
        let signing = Arc::new(SigningKeys::load(keys)?);
        let leases = Arc::new(IndexLeases::default());
        Ok(Self {
            folder,
            policy,
            tokens,
            store,
            identity,
            vault,
            signing,
            leases,
            id_check_key,
            status_key,
        })
    }

    /// The register from its snapshot, followed from there on.
    async fn follow_register(
        &self,
        erasures: &Arc<ErasureQueue>,
        health: &HealthRegistry,
        followers: &mut Vec<JoinHandle<()>>,
    ) -> Result<(Arc<HolderRegister>, Progress), StartError> {
        let snapshot = self.folder.join("projections/register");
        let (register, from) = snapshots::load_register(&snapshot, &self.identity);
        let register = Arc::new(register);
        refold_system(&*self.store, &from, &[self.signing.clone(), self.leases.clone()]).await?;
        let keepers: Vec<Arc<dyn SystemFold>> = vec![self.signing.clone(), self.leases.clone(), erasures.clone()];
        let progress = Progress::new(&from);
        let fold = RegisterFold::new(Arc::clone(&register), keepers);
        followers.push(spawn_follower(&self.store, fold, &progress, health.component("issuer")));
        Ok((register, progress))
    }

    /// The auditors' index, followed from where it stands.
    async fn follow_index(
        &self,
        health: &HealthRegistry,
        followers: &mut Vec<JoinHandle<()>>,
    ) -> Result<Audit, StartError> {
        let opened = AuditIndex::open(&self.folder.join("audit"), &*self.store).await;
        let (index, from) = opened.map_err(|error| StartError::Log(error.to_string()))?;
        let progress = Progress::new(&from);
        let audit = Audit {
            store: Arc::clone(&self.store),
            index: index.reader(),
            progress: progress.clone(),
            policy: Arc::clone(&self.policy),
        };
        followers.push(spawn_follower(&self.store, index, &progress, health.component("audit")));
        Ok(audit)
    }
}

/// Writes snapshots of what the process has folded.
struct SnapshotTask {
    register_file: PathBuf,
    identity: LogIdentity,
    register: Arc<HolderRegister>,
    verifying: Verifying,
}

impl SnapshotTask {
    async fn save(&self) {
        let (file, identity, register) = (self.register_file.clone(), self.identity, Arc::clone(&self.register));
        let saved = tokio::task::spawn_blocking(move || snapshots::save_register(&file, &identity, &register)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "no snapshot of the register was written; the old one stands")
            }
            Err(_) => tracing::error!("writing the register's snapshot panicked"),
        }
        self.verifying.save_snapshot().await;
    }
}

fn master_key(settings: &Settings, keys: &KeyFolder, entropy: &dyn Entropy) -> Result<Zeroizing<[u8; 32]>, StartError> {
    let Some(path) = &settings.master_key_file else {
        return Ok(keys.secret("vault-master.key", entropy)?);
    };
    let bytes = files::read_private(path)?;
    bytes
        .as_slice()
        .try_into()
        .map(Zeroizing::new)
        .map_err(|_| StartError::MasterKeyLength)
}

/// The local authority, its admin token, and whose tokens are taken.
fn access(
    settings: &Settings,
    folder: &DataFolder,
    entropy: &dyn Entropy,
    clock: &dyn Clock,
) -> Result<(Zeroizing<String>, Arc<AccessTokens>), StartError> {
    let authority = LocalAuthority::create_or_open(&folder.join("keys"), entropy)?;
    let mut trusted = TrustedKeys::new().with_local(&authority)?;
    if let Some(provider) = &settings.identity_provider {
        trusted = trusted.with_jwks_file(&provider.issuer, &provider.jwks_file)?;
    }
    let admin = authority.mint_local_admin(AUDIENCE, clock.now())?;
    Ok((admin, Arc::new(AccessTokens::new(AUDIENCE, trusted))))
}

fn assertions(settings: &Settings, clock: &dyn Clock) -> Result<Option<Arc<Assertions>>, StartError> {
    let Some(provider) = &settings.assertion_provider else {
        return Ok(None);
    };
    let trusted = TrustedKeys::new().with_jwks_file(&provider.issuer, &provider.jwks_file)?;
    Ok(Some(Arc::new(Assertions::new(AUDIENCE, trusted, clock.now()))))
}

/// Folds what a snapshot of the register does not hold, up to where following goes on: keys and leases. They are
/// few, and each has a stream that is read in one go.
async fn refold_system(
    store: &dyn EventStore,
    from: &LogPosition,
    keepers: &[Arc<dyn SystemFold>],
) -> Result<(), StartError> {
    let layout = store.layout();
    let keys = StreamName::new(KEYS_STREAM).expect("a name of the alphabet");
    let buckets = layout.all_partitions().map(|partition| layout.lease_bucket(partition));
    for bucket in buckets.chain([layout.bucket_of(&keys)]) {
        for commit in store.read_bucket(bucket, citycode_event_store::Revision::EMPTY).await? {
            if !from.includes(commit.position) || citycode_holder_log::holder_of(&commit.commit.stream).is_some() {
                continue;
            }
            for event in events_of(&commit).map_err(|error| StartError::Log(error.to_string()))? {
                for keeper in keepers {
                    keeper.fold_system(&event, commit.position).map_err(StartError::Log)?;
                }
            }
        }
    }
    Ok(())
}

/// Follows the log in a task of its own and tells health how it goes.
pub(super) fn spawn_follower(
    store: &Arc<dyn EventStore>,
    mut fold: impl Fold + 'static,
    progress: &Progress,
    health: Component,
) -> JoinHandle<()> {
    let (store, progress) = (Arc::clone(store), progress.clone());
    health.starting("the log is being folded");
    let (live, component) = (progress.clone(), health.clone());
    tokio::spawn(async move {
        if live.wait_until_live().await.is_ok() {
            component.ready();
        }
    });
    tokio::spawn(async move {
        let error = follow(&*store, &mut fold, &progress).await;
        tracing::error!(%error, "FOLLOWING THE LOG STOPPED: what is known only gets older from here");
        health.failed(error.to_string());
    })
}

fn spawn_erasures(
    vault: Arc<dyn Vault>,
    erased: tokio::sync::mpsc::UnboundedReceiver<citycode_domain::ids::HolderId>,
    health: Component,
) -> JoinHandle<()> {
    health.ready();
    tokio::spawn(async move {
        if let Err(error) = ErasureQueue::finish(vault, erased).await {
            tracing::error!(%error, "erased persons could not be forgotten; the next start goes on with it");
            health.failed(error.to_string());
        }
    })
}
