//! The whole system in one process: issuer, revocation, verifier, audit and portal over the embedded log.
//!
//! The order of starting matters and stands in [`System::start`]: folder, keys, log, folds from their snapshots,
//! followers, then faces; the port answers only when every fold has reached the log's head and a key is in use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use citycode_audit::Audit;
use citycode_domain::policy::Policy;
use citycode_event_store::EventStore;
use citycode_holder_log::{HolderLog, SystemFold};
use citycode_issuer::{IndexLeases, Issuer, KeyFolder, SigningKeys};
use citycode_projection::LogIdentity;
use citycode_revocation::{Followed, Revocation};
use citycode_service_kit::auth::{AUDIENCE, AccessTokens, LocalAuthority, TrustedKeys};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::files;
use citycode_service_kit::health::{HealthRegistry, Probe};
use citycode_service_kit::serve::Listener;
use citycode_service_kit::shutdown::{Signal, Trigger};
use citycode_token::{IdCheckKey, SigningKey};
use citycode_vault::Vault;
use citycode_vault::embedded::EmbeddedVault;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::data_folder::DataFolder;
use super::faces;
use super::settings::Settings;
use crate::compose::following::{FollowedRegister, erasures_again, follow_index, follow_register, spawn_erasures};
use crate::compose::measured::MeasuredLog;
use crate::compose::snapshots::{self, RegisterSnapshot, Snapshot};
use crate::compose::verifying::{Verifying, open_embedded_records};
use crate::compose::writing::{open_desk, publish_lists};
use crate::compose::{StartError, Surroundings, numbers, state_numbers};

/// How long the start waits for every part to have been ready once, the first proof of freshness among them.
const FIRST_PROOF: Duration = Duration::from_secs(10);

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
    pub(super) issuer: Arc<Issuer>,
    pub(super) revocation: Arc<Revocation>,
    pub(super) audit: Arc<Audit>,
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) health: HealthRegistry,
    pub(super) verifying: Verifying,
    snapshots: Vec<Arc<dyn Snapshot>>,
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
        numbers::register(numbers::OF_ONE_PROCESS);
        let mut parts = Parts::open(&settings, &surroundings, &health, &stopped).await?;
        let admin_token_file = parts.folder.join("admin.token");
        let router = faces::router(&parts, &surroundings, &stopped)?;
        let server = tokio::spawn(listener.serve(router, stopped.clone()));
        let every = Duration::from_secs(settings.snapshot_seconds);
        let saving = snapshots::keep_saving(parts.snapshots.clone(), every, stopped);
        parts.followers.push(tokio::spawn(saving));
        let measuring = state_numbers::keep_measuring(parts.folder.path().to_owned(), surroundings.clock);
        parts.followers.push(tokio::spawn(measuring));
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
        snapshots::save_all(&parts.snapshots).await;
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
        let (folder, policy, store, vault) = (&ground.folder, &ground.policy, &ground.store, &ground.vault);
        let mut followers = Vec::new();
        let register_file = RegisterSnapshot::open(folder.join("projections/register"), ground.identity);
        let (erasures, erased) = erasures_again(register_file.register());
        let refolded: Vec<Arc<dyn SystemFold>> = vec![ground.signing.clone(), ground.leases.clone()];
        let (issuing, clock) = (health.component("issuer"), &surroundings.clock);
        let register = follow_register(store, &register_file, refolded, Some(erasures.clone()), issuing, clock).await?;
        let FollowedRegister {
            register,
            progress: writing,
            follower,
        } = register;
        followers.push(follower);
        let (records, retention) = open_embedded_records(folder.path(), surroundings, settings.scan_retention_days)?;
        followers.push(retention);
        let key = &ground.id_check_key;
        let verifying = Verifying::open(folder.path(), policy, store, vault, records, surroundings, key).await?;
        followers.extend(verifying.follow(store, health, surroundings, policy));
        let (audit, follower) =
            follow_index(store, &folder.join("audit"), policy, health.component("audit"), clock).await?;
        followers.push(follower);
        let acknowledged_by = vec![verifying.progress().clone()];
        let log = HolderLog::new(Arc::clone(store), register, writing.clone(), acknowledged_by);
        let provider = settings.assertion_provider.as_ref();
        let desk = open_desk(policy, vault, log, provider, surroundings)?;
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
        let (lists, cutting) = publish_lists(followed, ground.status_key, policy, clock).await;
        followers.push(cutting);
        let issuer = Issuer {
            desk: Arc::clone(&desk),
            keys: ground.signing,
            leases: ground.leases,
            id_check_key: ground.id_check_key,
            erasures,
        };
        let issuer = Arc::new(issuer);
        issuer.ensure_signing_key().await.map_err(StartError::FirstKey)?;
        // What failed meanwhile says so in health; it does not keep the others from answering.
        let _ = tokio::time::timeout(FIRST_PROOF, health.wait_for(Probe::Started)).await;
        Ok(Self {
            folder: ground.folder,
            policy: ground.policy,
            issuer,
            revocation: Arc::new(Revocation { desk, lists }),
            audit: Arc::new(audit),
            tokens: ground.tokens,
            health: health.clone(),
            snapshots: vec![Arc::new(register_file), Arc::new(verifying.clone())],
            verifying,
            followers,
        })
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
        // Before the log is made: a crash in between leaves secrets that nothing was made with, and they are taken then.
        let first = (!folder.has_log()).then_some(&*entropy);
        let master = master_key(settings, &keys, first)?;
        let id_check_key = keys.id_check_key(first)?;
        let status_key = SigningKey::from_seed(*keys.secret("status-signing.key", first)?);
        let (admin, tokens) = access(settings, &folder, &*entropy, &*clock)?;
        files::write_atomic(&folder.join("admin.token"), admin.as_bytes(), files::PRIVATE_FILE_MODE)?;
        let store = MeasuredLog::around(Arc::new(folder.open_log(&*entropy)?), &clock);
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
}

fn master_key(
    settings: &Settings,
    keys: &KeyFolder,
    first: Option<&dyn Entropy>,
) -> Result<Zeroizing<[u8; 32]>, StartError> {
    let Some(path) = &settings.master_key_file else {
        return Ok(keys.secret("vault-master.key", first)?);
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
