//! `citycode-portal`.

use citycode_portal::{Clients, Endpoints, Portal, PortalParts};
use citycode_service_kit::health::HealthRegistry;
use std::sync::Arc;

use super::settings::ServiceSettings;
use super::{Service, ground};
use crate::compose::{StartError, Surroundings};

pub(super) fn open(
    settings: &ServiceSettings,
    surroundings: &Surroundings,
    health: &HealthRegistry,
) -> Result<Service, StartError> {
    let services = settings.services.clone();
    let (clients, reached) = Clients::connect(Endpoints {
        issuer: services.issuer,
        revocation: services.revocation,
        verifier: services.verifier,
        audit: services.audit,
        tls: settings.tls.clone(),
    })?;
    let services = health.component("services");
    services.starting("an instance of each service is waited for");
    let reaching = tokio::spawn(async move {
        reached.wait().await;
        services.ready();
    });
    let portal = Portal::new(PortalParts {
        clients,
        policy: ground::policy(settings)?,
        tokens: ground::access(settings)?,
        clock: Arc::clone(&surroundings.clock),
        entropy: Arc::clone(&surroundings.entropy),
    });
    Ok(Service {
        router: portal.into_router(),
        snapshots: Vec::new(),
        tasks: vec![reaching],
        kept: None,
    })
}
