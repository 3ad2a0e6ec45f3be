//! `citycode-portal`.

use std::sync::Arc;
use std::time::Duration;

use citycode_portal::{Portal, PortalParts};
use citycode_service_clients::{Clients, Endpoints, Reached};
use citycode_service_kit::health::{Component, HealthRegistry};

use super::settings::ServiceSettings;
use super::{Role, Service, dependencies, pages, policy};
use crate::wiring::{Environment, StartError};

/// Period of the check which services are reachable.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// For so many checks a portal waits for all services before it is ready with the reachable ones, so that names are
/// resolved and connections are established.
const CHECKS_FOR_ALL: u32 = 15;

pub(super) async fn open(
    settings: &ServiceSettings,
    environment: &Environment,
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
    services.starting("waiting for an instance of any service");
    let reporting = tokio::spawn(report_reached(reached, services));
    let policy = policy::open(settings)?.policy;
    let pages = pages::open(settings, environment, health, (&clients, &policy)).await?;
    let portal = Portal::new(PortalParts {
        clients,
        policy,
        tokens: dependencies::access(Role::Portal, settings)?,
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        local_tokens: None,
        pages,
    });
    Ok(Service {
        router: portal.into_router(),
        snapshots: Vec::new(),
        tasks: vec![reporting],
        state_lock: None,
        ended: None,
    })
}

/// Reports the portal as ready once any service is reachable, and from then on: a portal without audit services still
/// accepts scans, and another portal would not reach more services. Missing services are reported in the health and in
/// the log.
async fn report_reached(reached: Reached, component: Component) {
    let mut tick = tokio::time::interval(CHECK_EVERY);
    let (mut checks, mut is_ready, mut before) = (0, false, Vec::new());
    loop {
        tick.tick().await;
        checks = CHECKS_FOR_ALL.min(checks + 1);
        let missing = reached.missing();
        is_ready |= missing.is_empty() || (checks == CHECKS_FOR_ALL && reached.reaches_any());
        if !is_ready {
            continue;
        }
        if missing.is_empty() {
            component.ready();
        } else {
            component.ready_saying(format!("no instance answers of: {}", missing.join(", ")));
        }
        if missing != before {
            if missing.is_empty() {
                tracing::info!("every service is reachable");
            } else {
                tracing::warn!(missing = missing.join(", "), "services are not reachable");
            }
            before = missing;
        }
    }
}
