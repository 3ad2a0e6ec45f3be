//! `citycode-issuer`.

use std::sync::Arc;

use citycode_event_store::follow::Progress;
use citycode_issuer::vault_age::{ErasureMark, VaultAge, VaultAgeError};
use citycode_issuer::{ErasureQueue, IndexLeases, Issuer, KeyFolder, ListNames, SigningKeys};
use citycode_log_folds::SystemFold;
use citycode_service_kit::health::{Component, HealthRegistry};
use citycode_service_kit::shutdown::Signal;
use citycode_token::IdCheckKey;
use citycode_vault::{Vault, VaultError};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::dependencies::{self, Dependencies};
use super::settings::ServiceSettings;
use super::{Role, Service, grpc_router, writer};
use crate::wiring::erasing_vault::ErasingVault;
use crate::wiring::policy::keep_adopted;
use crate::wiring::query_digests::QueryDigests;
use crate::wiring::{Environment, StartError, endpoints};

pub(super) async fn open(
    settings: &ServiceSettings,
    environment: &Environment,
    health: &HealthRegistry,
    stopped: &Signal,
) -> Result<Service, StartError> {
    let dependencies = Dependencies::open(Role::Issuer, settings, environment, health).await?;
    let id_check_key = IdCheckKey::from_bytes(*dependencies.secret("id-check.key")?);
    let on_servers = dependencies.vault(Role::Issuer, settings, environment, health).await?;
    let queries = dependencies.queries(settings, environment)?;
    let vault: Arc<dyn Vault> = match &queries {
        Some(queries) => Arc::new(ErasingVault::new(on_servers.clone(), Arc::clone(queries))),
        None => on_servers.clone(),
    };
    let signing = Arc::new(SigningKeys::load(KeyFolder::open(&dependencies.state.join("keys"))?)?);
    let leases = Arc::new(IndexLeases::new(list_names(&dependencies)?));
    let (erasures, erased) = ErasureQueue::new();
    let register = writer::register(&dependencies, settings, environment, health).await?;
    let component = health.component("erasures");
    let reaches = register.snapshot.reaches();
    let age = retried(&component, || VaultAge::find(&on_servers, &dependencies.log, &reaches)).await?;
    let refolded: Vec<Arc<dyn SystemFold>> = vec![signing.clone(), leases.clone()];
    let folded_erasures = Some(erasures.clone() as Arc<dyn SystemFold>);
    let folds = writer::Folds {
        register,
        refolded,
        erasures: folded_erasures,
    };
    let writer = writer::open(&dependencies, folds, settings, environment, health, &vault).await?;
    let mut tasks = vec![
        writer.follower,
        ErasureQueue::spawn_finishing(Arc::clone(&vault), erased, component.clone()),
        dependencies.answer_probes(environment),
    ];
    wait_until_caught_up(&writer.progress, &erasures, stopped).await?;
    let folded = writer.progress.position();
    let (clock, entropy) = (&*environment.clock, &*environment.entropy);
    let settle = || age.settle(&*vault, &writer.authorizer.log, &folded, clock, entropy);
    let settled = retried(&component, settle).await?;
    let (end, ended) = oneshot::channel();
    let mark = ErasureMark {
        vault,
        on_servers,
        log: Arc::clone(&dependencies.log),
        queue: Arc::clone(&erasures),
        progress: writer.progress.clone(),
        mark: Mutex::new(settled),
        end: Mutex::new(Some(end)),
    };
    writer.starting.caught_up(&writer.progress.position());
    let issuer = Arc::new(Issuer {
        authorizer: writer.authorizer,
        keys: signing,
        leases,
        id_check_key,
        erasures,
        queries,
    });
    issuer.ensure_signing_key().await.map_err(StartError::FirstKey)?;
    tasks.extend(background_tasks(&issuer, &dependencies, environment).await);
    let authenticate = endpoints::authenticate(&dependencies.tokens, &environment.clock);
    Ok(Service {
        router: grpc_router(Routes::new(endpoints::issuer(&issuer, &authenticate)))?,
        snapshots: vec![Arc::new(mark), Arc::new(writer.snapshot)],
        tasks,
        state_lock: Some(Box::new(dependencies.state)),
        ended: Some(ended),
    })
}

/// The names of new status lists.
fn list_names(dependencies: &Dependencies) -> Result<ListNames, StartError> {
    let names = ListNames::new(dependencies.secret("list-names.key")?);
    Ok(match dependencies.replacement() {
        Some(log_id) => names.of_replacement(&log_id),
        None => names,
    })
}

/// The tasks that an issuer repeats: it records the policy and digests of queries, renews its signing key, and ends codes
/// of relationships that ended.
async fn background_tasks(
    issuer: &Arc<Issuer>,
    dependencies: &Dependencies,
    environment: &Environment,
) -> Vec<JoinHandle<()>> {
    let (policy, log) = (dependencies.policy.clone(), Arc::clone(&issuer.authorizer.log));
    let mut tasks = vec![keep_adopted(policy, log, Arc::clone(&environment.clock)).await];
    if let Some(queries) = &issuer.queries {
        let digests = QueryDigests {
            queries: Arc::clone(queries),
            log: Arc::clone(&issuer.authorizer.log),
            clock: Arc::clone(&environment.clock),
        };
        tasks.push(tokio::spawn(digests.keep_recording()));
    }
    let keeping = Arc::clone(issuer);
    tasks.push(tokio::spawn(async move { keeping.keep_signing_key().await }));
    let orphans = Arc::clone(issuer);
    tasks.push(tokio::spawn(async move { orphans.keep_ending_orphaned().await }));
    tasks
}

/// Waits until the log is folded and its erasures are applied; calls are served only afterwards.
async fn wait_until_caught_up(
    progress: &Progress,
    erasures: &ErasureQueue,
    stopped: &Signal,
) -> Result<(), StartError> {
    tokio::select! {
        reached = async {
            progress.wait_until_live().await.map_err(StartError::Follow)?;
            erasures.wait_until_done().await;
            Ok(())
        } => reached,
        () = stopped.clone().wait() => Err(StartError::Interrupted),
    }
}

/// Retries while the vault does not answer.
async fn retried<T>(
    component: &Component,
    mut attempt: impl AsyncFnMut() -> Result<T, VaultAgeError>,
) -> Result<T, StartError> {
    loop {
        match attempt().await {
            Err(VaultAgeError::Vault(error @ VaultError::Unavailable(_))) => {
                dependencies::wait_for(component, &error).await
            }
            ended => return Ok(ended?),
        }
    }
}
