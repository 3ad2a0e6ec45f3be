//! `citycode-portal`.

use std::sync::Arc;
use std::time::Duration;

use citycode_portal::{Clients, Endpoints, Portal, PortalParts, Reached};
use citycode_service_kit::health::{Component, HealthRegistry};

use super::settings::ServiceSettings;
use super::{Service, dependencies, policy};
use crate::wiring::{StartError, Surroundings};

/// Between two looks at which services are reached.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many looks a portal waits for all services before it is ready with those that there are: names are looked up
/// and connections come up in that time.
const LOOKS_FOR_ALL: u32 = 15;

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
    services.starting("an instance of any service is waited for");
    let reaching = tokio::spawn(keep_telling(reached, services));
    let portal = Portal::new(PortalParts {
        clients,
        policy: policy::open(settings)?,
        tokens: dependencies::access(settings)?,
        clock: Arc::clone(&surroundings.clock),
        entropy: Arc::clone(&surroundings.entropy),
        local_tokens: None,
    });
    Ok(Service {
        router: portal.into_router(),
        snapshots: Vec::new(),
        tasks: vec![reaching],
        kept: None,
        ended: None,
    })
}

/// Ready once any service is reached, and from then on: a portal without audit still takes scans, and one without
/// anybody is no better replaced by another. Which are missing stands in health and in the log.
async fn keep_telling(reached: Reached, component: Component) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let (mut looks, mut is_ready, mut before) = (0, false, Vec::new());
    loop {
        tick.tick().await;
        looks = LOOKS_FOR_ALL.min(looks + 1);
        let missing = reached.missing();
        is_ready |= missing.is_empty() || (looks == LOOKS_FOR_ALL && reached.reaches_any());
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
                tracing::info!("every service is reached again");
            } else {
                tracing::warn!(
                    missing = missing.join(", "),
                    "calls to these services are not answered now"
                );
            }
            before = missing;
        }
    }
}
