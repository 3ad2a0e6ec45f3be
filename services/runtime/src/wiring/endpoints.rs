//! The services' gRPC APIs with authentication, and the metrics endpoint.

use std::sync::Arc;

use axum::Router;
use citycode_audit::Audit;
use citycode_audit::grpc::AuditGrpc;
use citycode_auth::{AccessTokens, Authenticate, AuthenticateService};
use citycode_issuer::Issuer;
use citycode_issuer::grpc::IssuerGrpc;
use citycode_revocation::Revocation;
use citycode_revocation::grpc::RevocationGrpc;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::metrics_endpoint;
use citycode_service_kit::serve::MAX_GRPC_MESSAGE_BYTES;
use citycode_service_kit::shutdown::Signal;
use citycode_verifier::Verifier;
use citycode_verifier::grpc::VerifierGrpc;
use citycode_wire::proto::audit::v1::audit_service_server::AuditServiceServer;
use citycode_wire::proto::issuer::v1::issuer_service_server::IssuerServiceServer;
use citycode_wire::proto::revocation::v1::revocation_service_server::RevocationServiceServer;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierServiceServer;
use tower::Layer as _;

/// The issuer's name in gRPC health checks.
pub const ISSUER: &str = "citycode.issuer.v1.IssuerService";
/// The name of revocation in gRPC health checks.
pub const REVOCATION: &str = "citycode.revocation.v1.RevocationService";
/// The verifier's name in gRPC health checks.
pub const VERIFIER: &str = "citycode.verifier.v1.VerifierService";
/// The name of audit in gRPC health checks.
pub const AUDIT: &str = "citycode.audit.v1.AuditService";

/// Methods that need no token.
const PUBLIC: [&str; 5] = [
    "/citycode.audit.v1.AuditService/GetLogFile",
    "/citycode.issuer.v1.IssuerService/ListKeys",
    "/citycode.revocation.v1.RevocationService/GetStatusList",
    "/citycode.revocation.v1.RevocationService/ListStatusLists",
    "/citycode.revocation.v1.RevocationService/ListStatusKeys",
];

/// The authentication of all callers, from the headers of a call, so that a service reads and decodes no body of an
/// unauthenticated caller.
pub fn authenticate(tokens: &Arc<AccessTokens>, clock: &Arc<dyn Clock>) -> Authenticate {
    Authenticate::required(Arc::clone(tokens), Arc::clone(clock)).with_public_paths(&PUBLIC)
}

/// The issuer's gRPC service.
pub fn issuer(
    issuer: &Arc<Issuer>,
    authenticate: &Authenticate,
) -> AuthenticateService<IssuerServiceServer<IssuerGrpc>> {
    let server = IssuerServiceServer::new(IssuerGrpc(Arc::clone(issuer)));
    authenticate.layer(server.max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES))
}

/// The revocation service's gRPC service.
pub fn revocation(
    revocation: &Arc<Revocation>,
    authenticate: &Authenticate,
) -> AuthenticateService<RevocationServiceServer<RevocationGrpc>> {
    let server = RevocationServiceServer::new(RevocationGrpc(Arc::clone(revocation)));
    authenticate.layer(server.max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES))
}

/// The verifier's gRPC service.
pub fn verifier(
    verifier: &Arc<Verifier>,
    authenticate: &Authenticate,
) -> AuthenticateService<VerifierServiceServer<VerifierGrpc>> {
    let server = VerifierServiceServer::new(VerifierGrpc(Arc::clone(verifier)));
    authenticate.layer(server.max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES))
}

/// The audit service's gRPC service.
pub fn audit(audit: &Arc<Audit>, authenticate: &Authenticate) -> AuthenticateService<AuditServiceServer<AuditGrpc>> {
    let server = AuditServiceServer::new(AuditGrpc(Arc::clone(audit)));
    authenticate.layer(server.max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES))
}

/// Serves `/metrics` and maintains the recorder until the signal; no routes if there is no recorder.
pub fn metrics_routes(stopped: &Signal) -> Router {
    match metrics_endpoint::install() {
        Ok(metrics) => {
            tokio::spawn(metrics.clone().run_upkeep(stopped.clone()));
            metrics.routes()
        }
        Err(error) => {
            tracing::warn!(%error, "there are no metrics");
            Router::new()
        }
    }
}
