//! Both APIs on one port: gRPC services with authentication, and the portal, which calls the same services in process.

use std::sync::Arc;

use axum::Router;
use citycode_auth::Authenticate;
use citycode_pages::Pages;
use citycode_portal::{LocalTokens, Portal, PortalParts};
use citycode_service_clients::Clients;
use citycode_service_kit::serve::{app, with_reflection};
use citycode_service_kit::shutdown::Signal;
use citycode_wire::proto::FILE_DESCRIPTOR_SET;
use tonic::service::Routes;

use super::system::Parts;
use crate::wiring::{Environment, StartError, endpoints};

const SERVICES: [&str; 4] = [
    endpoints::ISSUER,
    endpoints::REVOCATION,
    endpoints::VERIFIER,
    endpoints::AUDIT,
];

/// Clients of the services in this process.
pub(super) fn clients(parts: &Parts, environment: &Environment) -> Clients {
    let authenticate = endpoints::authenticate(&parts.tokens, &environment.clock);
    Clients::in_process(services(parts, &authenticate.in_process()))
}

/// All routes. The web pages are those of [`web_pages::open`](super::web_pages::open).
pub(super) fn router(
    parts: &Parts,
    environment: &Environment,
    (clients, pages): (Clients, Pages),
    stopped: &Signal,
) -> Result<Router, StartError> {
    let authenticate = endpoints::authenticate(&parts.tokens, &environment.clock);
    let (health, keep_health) = parts.health.grpc(&SERVICES, stopped.clone());
    tokio::spawn(keep_health);
    let grpc = services(parts, &authenticate).add_service(health);
    let grpc = with_reflection(grpc, &[FILE_DESCRIPTOR_SET])?;
    let portal = Portal::new(PortalParts {
        clients,
        policy: Arc::clone(&parts.policy),
        tokens: Arc::clone(&parts.tokens),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        local_tokens: Some(LocalTokens {
            issued: Arc::clone(&parts.issued),
            clock: Arc::clone(&environment.clock),
            entropy: Arc::clone(&environment.entropy),
        }),
        pages: Some(pages),
    });
    let http = portal.into_router().merge(parts.health.routes());
    Ok(app(grpc, http.merge(endpoints::metrics_routes(stopped))))
}

/// The four services.
fn services(parts: &Parts, authenticate: &Authenticate) -> Routes {
    Routes::new(endpoints::issuer(&parts.issuer, authenticate))
        .add_service(endpoints::revocation(&parts.revocation, authenticate))
        .add_service(endpoints::verifier(&parts.verifying.verifier, authenticate))
        .add_service(endpoints::audit(&parts.audit, authenticate))
}
