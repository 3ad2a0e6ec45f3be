//! `citycode-audit`.

use std::sync::Arc;

use citycode_service_kit::health::HealthRegistry;
use tonic::service::Routes;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use super::{Role, Service, grpc_router};
use crate::wiring::following::follow_index;
use crate::wiring::{StartError, Surroundings, endpoints};

pub(super) async fn open(
    settings: &ServiceSettings,
    surroundings: &Surroundings,
    health: &HealthRegistry,
) -> Result<Service, StartError> {
    let dependencies = Dependencies::open(Role::Audit, settings, surroundings, health).await?;
    let folder = dependencies.state.join("audit");
    let (audit, follower) = follow_index(
        &dependencies.log,
        &folder,
        &dependencies.policy.policy,
        (Some(dependencies.scan_archive(settings)?), None),
        health.component("audit"),
        &surroundings.clock,
    )
    .await?;
    let audit = Arc::new(audit);
    let authenticate = endpoints::authenticate(&dependencies.tokens, &surroundings.clock);
    Ok(Service {
        router: grpc_router(Routes::new(endpoints::audit(&audit, &authenticate)))?,
        snapshots: Vec::new(),
        tasks: vec![follower, dependencies.keep_scans(settings, surroundings, health)?],
        state_lock: Some(Box::new(dependencies.state)),
        ended: None,
    })
}
