//! Both faces on one port: gRPC services behind authentication, the portal over the same services without a socket.

use std::sync::Arc;

use axum::Router;
use citycode_audit::grpc::AuditFace;
use citycode_issuer::grpc::IssuerFace;
use citycode_portal::{Clients, Portal, PortalParts};
use citycode_revocation::grpc::RevocationFace;
use citycode_service_kit::auth::Authenticate;
use citycode_service_kit::metrics_face;
use citycode_service_kit::serve::{MAX_GRPC_MESSAGE_BYTES, app, with_reflection};
use citycode_service_kit::shutdown::Signal;
use citycode_verifier::grpc::VerifierFace;
use citycode_wire::proto::FILE_DESCRIPTOR_SET;
use citycode_wire::proto::audit::v1::audit_service_server::AuditServiceServer;
use citycode_wire::proto::issuer::v1::issuer_service_server::IssuerServiceServer;
use citycode_wire::proto::revocation::v1::revocation_service_server::RevocationServiceServer;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierServiceServer;
use tonic::service::Routes;
use tower::Layer as _;

use super::StartError;
use super::system::{Parts, Surroundings};

/// Names under which gRPC health answers.
const SERVICES: [&str; 4] = [
    "citycode.issuer.v1.IssuerService",
    "citycode.revocation.v1.RevocationService",
    "citycode.verifier.v1.VerifierService",
    "citycode.audit.v1.AuditService",
];

pub(super) fn router(parts: &Parts, surroundings: &Surroundings, stopped: &Signal) -> Result<Router, StartError> {
    let required = Authenticate::optional(Arc::clone(&parts.tokens), Arc::clone(&surroundings.clock));
    let clients = Clients::in_process(services(parts, &required.clone().in_process()));
    let (health, keep_health) = parts.health.grpc(&SERVICES, stopped.clone());
    tokio::spawn(keep_health);
    let grpc = services(parts, &required).add_service(health);
    let grpc = with_reflection(grpc, &[FILE_DESCRIPTOR_SET])?;
    let portal = Portal::new(PortalParts {
        clients,
        policy: Arc::clone(&parts.policy),
        tokens: Arc::clone(&parts.tokens),
        clock: Arc::clone(&surroundings.clock),
    });
    let mut http = portal.into_router().merge(parts.health.routes());
    match metrics_face::install() {
        Ok(metrics) => {
            http = http.merge(metrics.routes());
            tokio::spawn(metrics.keep_up(stopped.clone()));
        }
        Err(error) => tracing::warn!(%error, "there are no metrics"),
    }
    Ok(app(grpc, http))
}

/// The four services. A call without a token reaches only the methods that are public: each other asks for its caller.
fn services(parts: &Parts, authenticate: &Authenticate) -> Routes {
    let issuer = IssuerServiceServer::new(IssuerFace(Arc::clone(&parts.issuer)));
    let revocation = RevocationServiceServer::new(RevocationFace(Arc::clone(&parts.revocation)));
    let verifier = VerifierServiceServer::new(VerifierFace(Arc::clone(&parts.verifying.verifier)));
    let audit = AuditServiceServer::new(AuditFace(Arc::clone(&parts.audit)));
    Routes::new(authenticate.layer(issuer.max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)))
        .add_service(authenticate.layer(revocation.max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)))
        .add_service(authenticate.layer(verifier.max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)))
        .add_service(authenticate.layer(audit.max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)))
}
