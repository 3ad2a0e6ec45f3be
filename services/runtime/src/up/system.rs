//! The whole system in one process: issuer, revocation, verifier, audit and portal over the embedded log.
//!
//! The order of the start matters: folder, keys, log, projections from their snapshots, followers, then endpoints. The
//! port answers only when every projection has reached the log's head and a signing key is in use.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use citycode_audit::Audit;
use citycode_auth::{AccessTokens, IssuedTokens};
use citycode_command_auth::Authorizer;
use citycode_domain::policy::Policy;
use citycode_holder_log::HolderLog;
use citycode_issuer::vault_age::VaultMark;
use citycode_issuer::{ErasureQueue, ErasureReceiver, Issuer};
use citycode_log_folds::SystemFold;
use citycode_pages::{DemoAssertions, LocalPageTokens, StartFor, StartLinks};
use citycode_revocation::past_lists::PastLists;
use citycode_revocation::{Followed, Revocation};
use citycode_service_kit::health::{HealthRegistry, Probe};
use citycode_service_kit::problem::Problem;
use citycode_service_kit::serve::Listener;
use citycode_service_kit::shutdown::{Signal, Trigger};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::assertions;
use super::data_folder::DataFolder;
use super::demo;
use super::dependencies::Dependencies;
use super::endpoints;
use super::local_admin::LocalAdmin;
use super::loss_journal::Recorder;
use super::recovery::{self, Live};
use super::settings::Settings;
use super::web_pages;
use crate::wiring::following::{FollowedRegister, follow_index, follow_register};
use crate::wiring::log_trees::publish_trees;
use crate::wiring::past_lists::IndexedLists;
use crate::wiring::policy::keep_adopted;
use crate::wiring::query_digests::QueryDigests;
use crate::wiring::scan_batches::BatchRecorder;
use crate::wiring::snapshots::{self, RegisterSnapshot, Snapshot};
use crate::wiring::verifying::Verifying;
use crate::wiring::writing::{open_authorizer, publish_lists};
use crate::wiring::{Environment, StartError, metric_list, state_metrics};

/// How long the start waits until every component is ready, including the first proof of freshness.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A running system.
pub struct System {
    /// The address on which it listens.
    pub address: SocketAddr,
    /// The file of the local admin's token.
    pub admin_token_file: PathBuf,
    local_admin: LocalAdmin,
    start_links: StartLinks,
    is_demo: bool,
    stop: Trigger,
    server: JoinHandle<()>,
    parts: Parts,
}

/// The parts of a running system.
pub(super) struct Parts {
    pub(super) policy: Arc<Policy>,
    pub(super) issuer: Arc<Issuer>,
    pub(super) revocation: Arc<Revocation>,
    pub(super) audit: Arc<Audit>,
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) issued: Arc<IssuedTokens>,
    admin_token: Zeroizing<String>,
    pub(super) page_tokens: Arc<LocalPageTokens>,
    pub(super) session_key: Zeroizing<[u8; 32]>,
    pub(super) demo_assertions: Option<Arc<DemoAssertions>>,
    pub(super) health: HealthRegistry,
    pub(super) verifying: Verifying,
    snapshots: Vec<Arc<dyn Snapshot>>,
    followers: Vec<JoinHandle<()>>,
    /// Its lock is released last (fields are dropped in this order), when every store is closed.
    pub(super) folder: DataFolder,
}

impl System {
    /// Starts everything and returns once it serves.
    ///
    /// # Errors
    /// [`StartError`]; then nothing keeps running.
    pub async fn start(settings: Settings, environment: Environment) -> Result<Self, StartError> {
        let listener = Listener::bind(settings.listen)?;
        let address = listener.address();
        let health = HealthRegistry::new();
        let (stop, stopped) = Signal::channel();
        metric_list::register(metric_list::OF_ONE_PROCESS);
        let mut parts = Parts::open(&settings, &environment, &health, &stopped).await?;
        let clients = endpoints::clients(&parts, &environment);
        if settings.demo {
            demo::fill(parts.folder.path(), &clients, &parts.policy, &parts.admin_token).await?;
        }
        let pages = web_pages::open(&parts, &environment, clients.clone(), &settings)?;
        let start_links = pages.start_links();
        let router = endpoints::router(&parts, &environment, (clients, pages), &stopped)?;
        let local_admin = LocalAdmin::serve(&parts.folder, &parts.admin_token, router.clone(), stopped.clone())?;
        let server = tokio::spawn(listener.limited(settings.limits.clone()).serve(router, stopped.clone()));
        let every = Duration::from_secs(settings.snapshot_seconds);
        let saving = snapshots::keep_saving(parts.snapshots.clone(), every, stopped);
        parts.followers.push(tokio::spawn(saving));
        let measuring = state_metrics::keep_measuring(parts.folder.path().to_owned(), environment.clock);
        parts.followers.push(tokio::spawn(measuring));
        Ok(Self {
            address,
            admin_token_file: local_admin.token_file.clone(),
            local_admin,
            start_links,
            is_demo: settings.demo,
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

    /// The secret of a new start link: for the pages of operations, or in a demo for the choice of a sample resident.
    ///
    /// # Errors
    /// A [`Problem`]: it cannot be recorded.
    pub async fn start_link(&self) -> Result<Zeroizing<String>, Problem> {
        let wanted = if self.is_demo {
            StartFor::SignIn
        } else {
            StartFor::Identity("admin".to_owned())
        };
        self.start_links.make(&wanted).await
    }

    /// The socket of the local admin.
    pub(super) fn admin_socket(&self) -> &Path {
        &self.local_admin.socket
    }

    /// Stops it: calls in flight finish, snapshots are written, the log is closed, and the folder is unlocked.
    pub async fn stop(self) {
        let Self {
            stop,
            server,
            mut parts,
            local_admin,
            ..
        } = self;
        stop.pull();
        local_admin.end().await;
        if let Err(error) = server.await {
            tracing::error!(%error, "the server panicked");
        }
        snapshots::save_all(&parts.snapshots).await;
        let followers = std::mem::take(&mut parts.followers);
        followers.iter().for_each(JoinHandle::abort);
        for follower in followers {
            // A follower owns a reference to the store until it has ended; its only error is the abort.
            let _ = follower.await;
        }
        // Dropping the log waits for its queued appends before the folder is unlocked, and blocks its thread.
        let closed = tokio::task::spawn_blocking(move || drop(parts)).await;
        if closed.is_err() {
            tracing::error!("closing the store panicked");
        }
    }
}

impl Parts {
    async fn open(
        settings: &Settings,
        environment: &Environment,
        health: &HealthRegistry,
        stopped: &Signal,
    ) -> Result<Self, StartError> {
        let recovered = Recovered::open(settings, environment, health, stopped).await?;
        let Recovered {
            dependencies,
            authorizer,
            verifying,
            audit,
            erasures,
            mut followers,
            snapshots,
        } = recovered;
        let followed = Followed {
            status: verifying.verifier.status().clone(),
            progress: verifying.progress().clone(),
            store: Arc::clone(&dependencies.store),
        };
        let (policy, clock) = (&dependencies.policy, &environment.clock);
        let audit = Arc::new(audit);
        let past: Arc<dyn PastLists> = Arc::new(IndexedLists(Arc::clone(&audit)));
        let lists = publish_lists(followed, dependencies.status_key, &policy.policy, clock, Some(past));
        let (lists, building) = lists.await;
        followers.push(building);
        let log = &authorizer.log;
        followers.push(keep_adopted(policy.clone(), Arc::clone(log), Arc::clone(clock)).await);
        let batches = Arc::new(BatchRecorder {
            records: dependencies.records,
            log: Arc::clone(log),
            environment: environment.clone(),
        });
        followers.push(tokio::spawn(batches.keep_recording()));
        let digests = QueryDigests {
            queries: Arc::clone(&dependencies.queries),
            log: Arc::clone(log),
            clock: Arc::clone(clock),
        };
        followers.push(tokio::spawn(digests.keep_recording()));
        let issuer = Issuer {
            authorizer: Arc::clone(&authorizer),
            keys: dependencies.signing,
            leases: dependencies.leases,
            id_check_key: dependencies.id_check_key,
            erasures,
            queries: Some(dependencies.queries),
        };
        let issuer = Arc::new(issuer);
        issuer.ensure_signing_key().await.map_err(StartError::FirstKey)?;
        let orphans = Arc::clone(&issuer);
        followers.push(tokio::spawn(async move { orphans.keep_ending_orphaned().await }));
        // A component that is not ready by then is reported in the health, and does not prevent the others from
        // answering.
        let _ = tokio::time::timeout(READY_LIMIT, health.wait_for(Probe::Started)).await;
        Ok(Self {
            folder: dependencies.folder,
            policy: dependencies.policy.policy,
            issuer,
            revocation: Arc::new(Revocation { authorizer, lists }),
            audit,
            tokens: dependencies.access.tokens,
            issued: dependencies.access.issued,
            admin_token: dependencies.access.admin_token,
            page_tokens: dependencies.access.pages,
            session_key: dependencies.session_key,
            demo_assertions: dependencies.access.demo.map(|(assertions, _)| assertions),
            health: health.clone(),
            snapshots,
            verifying,
            followers,
        })
    }
}

/// The state in which everything is folded and losses are made safe, before calls are served.
struct Recovered {
    dependencies: Dependencies,
    authorizer: Arc<Authorizer>,
    verifying: Verifying,
    audit: Audit,
    erasures: Arc<ErasureQueue>,
    followers: Vec<JoinHandle<()>>,
    snapshots: Vec<Arc<dyn Snapshot>>,
}

impl Recovered {
    async fn open(
        settings: &Settings,
        environment: &Environment,
        health: &HealthRegistry,
        stopped: &Signal,
    ) -> Result<Self, StartError> {
        let mut dependencies = Dependencies::open(settings, environment).await?;
        let findings = recovery::inspect(&dependencies, settings).await?;
        let holders = Holders::follow(&dependencies, environment, health).await?;
        let assertions = assertions::open(&mut dependencies, settings, &*environment.clock)?;
        let (policy, store, vault) = (&dependencies.policy, &dependencies.store, &dependencies.vault);
        let writing = holders.register.progress;
        let mut followers = vec![holders.register.follower];
        let (verifying, audit) = follow_scans(&dependencies, settings, environment, health, &mut followers).await?;
        let acknowledged_by = vec![verifying.progress().clone()];
        let register = holders.register.register;
        let log = HolderLog::new(Arc::clone(store), register, writing.clone(), acknowledged_by);
        let authorizer = open_authorizer(&policy.policy, vault, log, assertions, environment);
        followers.push(ErasureQueue::spawn_finishing(
            Arc::clone(vault),
            holders.erased,
            health.component("vault"),
        ));
        let live = async {
            writing.wait_until_live().await?;
            verifying.progress().wait_until_live().await
        };
        tokio::select! {
            reached = live => reached.map_err(StartError::Follow)?,
            () = stopped.clone().wait() => return Err(StartError::Interrupted),
        }
        let marks = findings.finish(Live {
            dependencies: &mut dependencies,
            log: &authorizer.log,
            progress: &writing,
            recorder: holders.recorder,
            environment,
        });
        let marks = marks.await?;
        followers.extend(marks.iter().map(|marks| tokio::spawn(Arc::clone(marks).keep_saving())));
        let vault_mark = VaultMark {
            vault: Arc::clone(&dependencies.vault),
            queue: Arc::clone(&holders.erasures),
            progress: writing,
        };
        let mut snapshots: Vec<Arc<dyn Snapshot>> = vec![
            Arc::new(vault_mark),
            Arc::new(holders.snapshot),
            Arc::new(verifying.clone()),
        ];
        snapshots.extend(marks.map(|marks| marks as Arc<dyn Snapshot>));
        Ok(Self {
            dependencies,
            authorizer,
            verifying,
            audit,
            erasures: holders.erasures,
            followers,
            snapshots,
        })
    }
}

/// Starts what reads the log for scans: the verifier with its records and their retention, and the audit.
async fn follow_scans(
    dependencies: &Dependencies,
    settings: &Settings,
    environment: &Environment,
    health: &HealthRegistry,
    followers: &mut Vec<JoinHandle<()>>,
) -> Result<(Verifying, Audit), StartError> {
    let (folder, policy, store, vault) = (
        &dependencies.folder,
        &dependencies.policy,
        &dependencies.store,
        &dependencies.vault,
    );
    let (clock, records) = (&environment.clock, Arc::clone(&dependencies.records));
    let kept = policy.policy.retention;
    let days = kept.scan_days.unwrap_or(settings.scan_retention_days);
    let retention = Arc::clone(&records).keep_retention(Arc::clone(clock), days);
    followers.push(tokio::spawn(retention));
    let queries = Arc::clone(&dependencies.queries);
    let days = kept.query_days.unwrap_or(settings.query_retention_days);
    let retention = queries.keep_retention(Arc::clone(clock), days);
    followers.push(tokio::spawn(retention));
    let archive = Arc::new(records.archive());
    let demand = settings.witnessed_log.as_ref();
    let key = (&dependencies.id_check_key, demand);
    let verifying = Verifying::open(folder.path(), policy, store, vault, records, environment, key).await?;
    followers.extend(verifying.follow(store, health, environment, policy));
    let (trees, publishing) = publish_trees(
        store,
        &folder.join("log-trees"),
        &policy.policy.status_base_uri,
        &dependencies.log_signing_key,
        (health.component("log-trees"), &settings.witnesses),
    )
    .await?;
    followers.push(publishing);
    followers.extend(verifying.compare_log(demand, Some(&trees), health, environment, policy)?);
    let (audit, follower) = follow_index(
        store,
        &folder.join("audit"),
        &policy.policy,
        (Some(archive), Some(Arc::clone(&dependencies.queries)), Some(trees)),
        health.component("audit"),
        clock,
    )
    .await?;
    followers.push(follower);
    Ok((verifying, audit))
}

/// The register of holders and the other projections of its follower.
struct Holders {
    snapshot: RegisterSnapshot,
    register: FollowedRegister,
    recorder: Arc<Recorder>,
    erasures: Arc<ErasureQueue>,
    erased: ErasureReceiver,
}

impl Holders {
    async fn follow(
        dependencies: &Dependencies,
        environment: &Environment,
        health: &HealthRegistry,
    ) -> Result<Self, StartError> {
        let snapshot = RegisterSnapshot::open(dependencies.folder.join("projections/register"), dependencies.identity);
        let (erasures, erased) = ErasureQueue::of_erased(snapshot.register());
        let recorder = Arc::new(Recorder::default());
        let refolded: Vec<Arc<dyn SystemFold>> = vec![
            dependencies.signing.clone(),
            dependencies.leases.clone(),
            recorder.clone(),
        ];
        let (issuing, clock) = (health.component("issuer"), &environment.clock);
        let erasing: Arc<dyn SystemFold> = erasures.clone();
        let register = follow_register(&dependencies.store, &snapshot, refolded, Some(erasing), issuing, clock).await?;
        Ok(Self {
            snapshot,
            register,
            recorder,
            erasures,
            erased,
        })
    }
}
