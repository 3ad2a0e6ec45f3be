//! `citycode-verifier`.

use std::sync::Arc;

use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::health::HealthRegistry;
use citycode_token::IdCheckKey;
use citycode_vault::Vault;
use tonic::service::Routes;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use super::{Role, Service, grpc_router, shared_snapshot};
use crate::wiring::verifying::Verifying;
use crate::wiring::{Environment, StartError, endpoints};

pub(super) async fn open(
    settings: &ServiceSettings,
    environment: &Environment,
    health: &HealthRegistry,
) -> Result<Service, StartError> {
    let dependencies = Dependencies::open(Role::Verifier, settings, environment, health).await?;
    let id_check_key = IdCheckKey::from_bytes(*dependencies.secret("id-check.key")?);
    let vault: Arc<dyn Vault> = dependencies
        .vault(Role::Verifier, settings, environment, health)
        .await?;
    let records = dependencies.scan_records(settings, environment, health).await?;
    let (folder, policy) = (dependencies.state.path(), &dependencies.policy);
    let (kind, file) = (ProjectionKind::Status, folder.join("projections/status"));
    let mut starting = shared_snapshot::fetch(&dependencies, settings, environment, health, kind, &file).await?;
    let verifying = Verifying::open(
        folder,
        policy,
        &dependencies.log,
        &vault,
        records,
        environment,
        (&id_check_key, settings.witnessed_log.as_ref()),
    )
    .await?;
    starting.loaded(&verifying.progress().position());
    let mut tasks = verifying.follow(&dependencies.log, health, environment, policy);
    let demand = settings.witnessed_log.as_ref();
    tasks.extend(verifying.compare_log(demand, None, health, environment, policy)?);
    match verifying.progress().wait_until_live().await {
        Ok(()) => starting.caught_up(&verifying.progress().position()),
        // The service is not ready, with the reason in its health. If it is called nevertheless, it refuses codes that
        // it has as dead, and cannot check others (R24).
        Err(error) => starting.stopped(&error),
    }
    let authenticate = endpoints::authenticate(&dependencies.tokens, &environment.clock);
    Ok(Service {
        router: grpc_router(Routes::new(endpoints::verifier(&verifying.verifier, &authenticate)))?,
        snapshots: vec![Arc::new(verifying)],
        tasks,
        state_lock: Some(Box::new(dependencies.state)),
        ended: None,
    })
}
