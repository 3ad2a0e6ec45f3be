//! `citycode-revocation`.

use std::sync::Arc;

use citycode_event_store::follow::Progress;
use citycode_projection::snapshot::ProjectionKind;
use citycode_projection::status::FingerprintKey;
use citycode_revocation::past_lists::PastLists;
use citycode_revocation::{Followed, Revocation};
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::health::HealthRegistry;
use citycode_shared_snapshot::SnapshotFile;
use citycode_token::SigningKey;
use citycode_vault::Vault;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use super::{Role, Service, grpc_router, shared_snapshot, writer};
use crate::wiring::following::spawn_follower;
use crate::wiring::lag::Lag;
use crate::wiring::past_lists::follow_past_lists;
use crate::wiring::policy::keep_adopted;
use crate::wiring::status_fold::StatusSnapshot;
use crate::wiring::writing::publish_lists;
use crate::wiring::{Environment, StartError, endpoints};

pub(super) async fn open(
    settings: &ServiceSettings,
    environment: &Environment,
    health: &HealthRegistry,
) -> Result<Service, StartError> {
    let dependencies = Dependencies::open(Role::Revocation, settings, environment, health).await?;
    let key = SigningKey::from_seed(*dependencies.secret("status-signing.key")?);
    let vault: Arc<dyn Vault> = dependencies
        .vault(Role::Revocation, settings, environment, health)
        .await?;
    let folds = writer::Folds {
        register: writer::register(&dependencies, settings, environment, health).await?,
        refolded: Vec::new(),
        erasures: None,
    };
    let writer = writer::open(&dependencies, folds, settings, environment, health, &vault).await?;
    let fingerprints = FingerprintKey(environment.entropy.array());
    let (kind, file) = (ProjectionKind::Status, dependencies.state.join("projections/status"));
    let mut starting = shared_snapshot::fetch(&dependencies, settings, environment, health, kind, &file).await?;
    let layout = (dependencies.log.layout(), settings.witnessed_log.is_some());
    let status = StatusSnapshot::open(file, dependencies.identity, fingerprints, layout, &environment.clock);
    starting.loaded(&status.reaches());
    let progress = Progress::new(&status.reaches());
    let lag = Lag::of("status", &environment.clock);
    let follower = spawn_follower(
        &dependencies.log,
        status.fold(),
        &progress,
        health.component("status"),
        lag,
    );
    let mut tasks = vec![writer.follower, follower, dependencies.answer_probes(environment)];
    for followed in [&writer.progress, &progress] {
        followed.wait_until_live().await.map_err(StartError::Follow)?;
    }
    writer.starting.caught_up(&writer.progress.position());
    starting.caught_up(&progress.position());
    let (status_file, register_file) = (Arc::new(status.clone()), Arc::new(writer.snapshot));
    let published: [(_, Arc<dyn SnapshotFile>); 2] = [
        (ProjectionKind::Status, status_file.clone()),
        (ProjectionKind::Register, register_file.clone()),
    ];
    tasks.extend(shared_snapshot::spawn_publishers(
        &dependencies,
        settings,
        environment,
        published,
    )?);
    tasks.extend(shared_snapshot::spawn_segments(&dependencies, settings, environment)?);
    let followed = Followed {
        status: status.reader().clone(),
        progress,
        store: Arc::clone(&dependencies.log),
    };
    let (policy, log) = (dependencies.policy.clone(), Arc::clone(&writer.authorizer.log));
    tasks.push(keep_adopted(policy, Arc::clone(&log), Arc::clone(&environment.clock)).await);
    tasks.push(dependencies.record_digests(log, settings, environment, health));
    let past = past_lists(&dependencies, settings, environment, &mut tasks).await;
    let (lists, building) = publish_lists(followed, key, &dependencies.policy.policy, &environment.clock, past).await;
    tasks.push(building);
    let revocation = Arc::new(Revocation {
        authorizer: writer.authorizer,
        lists,
    });
    let authenticate = endpoints::authenticate(&dependencies.tokens, &environment.clock);
    Ok(Service {
        router: grpc_router(Routes::new(endpoints::revocation(&revocation, &authenticate)))?,
        snapshots: vec![status_file, register_file],
        tasks,
        state_lock: Some(Box::new(dependencies.state)),
        ended: None,
    })
}

/// The status lists of earlier times, unless the settings do without. A service whose index cannot be used serves
/// everything else.
async fn past_lists(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
    environment: &Environment,
    tasks: &mut Vec<JoinHandle<()>>,
) -> Option<Arc<dyn PastLists>> {
    if !settings.past_status_lists {
        return None;
    }
    let folder = dependencies.state.join("past-lists");
    let (policy, clock) = (&dependencies.policy.policy, &environment.clock);
    match follow_past_lists(&dependencies.log, &folder, policy, clock).await {
        Ok((lists, follower)) => {
            tasks.push(follower);
            Some(lists)
        }
        Err(error) => {
            tracing::error!(%error, "status lists of earlier times are not available");
            None
        }
    }
}
