//! `citycode-audit`.

use std::sync::Arc;

use citycode_service_kit::health::HealthRegistry;
use tonic::service::Routes;

use super::ground::Ground;
use super::settings::ServiceSettings;
use super::{Role, Service, grpc_router};
use crate::wiring::following::follow_index;
use crate::wiring::{StartError, Surroundings, faces};

pub(super) async fn open(
    settings: &ServiceSettings,
    surroundings: &Surroundings,
    health: &HealthRegistry,
) -> Result<Service, StartError> {
    let ground = Ground::open(Role::Audit, settings, surroundings, health).await?;
    let folder = ground.state.join("audit");
    let (audit, follower) = follow_index(
        &ground.log,
        &folder,
        &ground.policy,
        health.component("audit"),
        &surroundings.clock,
    )
    .await?;
    let audit = Arc::new(audit);
    let authenticate = faces::authenticate(&ground.tokens, &surroundings.clock);
    Ok(Service {
        router: grpc_router(Routes::new(faces::audit(&audit, &authenticate)))?,
        snapshots: Vec::new(),
        tasks: vec![follower, ground.keep_scans(settings, surroundings, health)?],
        kept: Some(Box::new(ground.state)),
        ended: None,
    })
}
