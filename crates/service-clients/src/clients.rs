//! gRPC clients of the services, independent of the transport.

use citycode_service_kit::tls::{MutualTls, TlsError};
use citycode_wire::proto::audit::v1::audit_service_client::AuditServiceClient;
use citycode_wire::proto::issuer::v1::issuer_service_client::IssuerServiceClient;
use citycode_wire::proto::revocation::v1::revocation_service_client::RevocationServiceClient;
use citycode_wire::proto::verifier::v1::verifier_service_client::VerifierServiceClient;
use tonic::service::Routes;

use crate::balancer::Balancer;
use crate::transport::{Transport, TransportError};

/// Largest accepted answer: more than a status list of a million entries or a long history needs.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Clients of the four services. They are cheap to clone, and clones may be used concurrently.
#[derive(Clone)]
pub struct Clients {
    /// The issuer.
    pub issuer: IssuerServiceClient<Transport>,
    /// The revocation service.
    pub revocation: RevocationServiceClient<Transport>,
    /// The verifier.
    pub verifier: VerifierServiceClient<Transport>,
    /// The audit service.
    pub audit: AuditServiceClient<Transport>,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

/// The addresses of each service's instances, e.g. `http://issuer.citycode:8081`; a name that resolves to several
/// addresses stands for all of them.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Issuers.
    pub issuer: Vec<String>,
    /// Revocation services.
    pub revocation: Vec<String>,
    /// Verifiers.
    pub verifier: Vec<String>,
    /// Audit services.
    pub audit: Vec<String>,
    /// Certificates for mutual TLS; addresses are `https://` then. Independent of its address, an instance must have a
    /// certificate with the name of its service (`issuer`, `revocation`, `verifier`, `audit`).
    pub tls: Option<MutualTls>,
}

/// Why the clients could not be created.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// An address is invalid.
    #[error("the address of the {service} service is invalid")]
    Address {
        /// The service.
        service: &'static str,
        /// The error.
        source: tonic::transport::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Clients {
    /// Clients of services in this process, without a socket: `routes` contains all of them, each wrapped in
    /// `citycode_auth::Authenticate::required` with `.in_process()`.
    /// Calls of a missing service are answered with `not_found`.
    #[must_use]
    pub fn in_process(routes: Routes) -> Self {
        let transport = Transport::new(tower::ServiceExt::<http::Request<tonic::body::Body>>::map_err(
            routes.prepare(),
            |never: std::convert::Infallible| -> TransportError { match never {} },
        ));
        Self::over(transport.clone(), transport.clone(), transport.clone(), transport)
    }

    /// Clients of remote services, with one or more instances of each: see `balancer`. Instances may start in any
    /// order, and come and go. It must be called inside a tokio runtime.
    ///
    /// # Errors
    /// An invalid address, or certificates that cannot be used.
    pub fn connect(endpoints: Endpoints) -> Result<(Self, Reached), ConnectError> {
        let Endpoints {
            issuer,
            revocation,
            verifier,
            audit,
            tls,
        } = endpoints;
        let tls = tls.as_ref();
        let services = [
            ("issuer", balancer("issuer", &issuer, tls)?),
            ("revocation", balancer("revocation", &revocation, tls)?),
            ("verifier", balancer("verifier", &verifier, tls)?),
            ("audit", balancer("audit", &audit, tls)?),
        ];
        let [issuer, revocation, verifier, audit] = services.clone().map(|(_, service)| Transport::new(service));
        Ok((Self::over(issuer, revocation, verifier, audit), Reached(services)))
    }

    fn over(issuer: Transport, revocation: Transport, verifier: Transport, audit: Transport) -> Self {
        Self {
            issuer: IssuerServiceClient::new(issuer).max_decoding_message_size(MAX_ANSWER_BYTES),
            revocation: RevocationServiceClient::new(revocation).max_decoding_message_size(MAX_ANSWER_BYTES),
            verifier: VerifierServiceClient::new(verifier).max_decoding_message_size(MAX_ANSWER_BYTES),
            audit: AuditServiceClient::new(audit).max_decoding_message_size(MAX_ANSWER_BYTES),
        }
    }
}

/// Reports which services are reached.
pub struct Reached([(&'static str, Balancer); 4]);

impl Reached {
    /// Services without an instance that reports that it serves.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let away = self.0.iter().filter(|(_, service)| !service.is_serving());
        away.map(|(name, _)| *name).collect()
    }

    /// Whether an instance of any service reports that it serves.
    #[must_use]
    pub fn reaches_any(&self) -> bool {
        self.0.iter().any(|(_, service)| service.is_serving())
    }
}

fn balancer(service: &'static str, addresses: &[String], tls: Option<&MutualTls>) -> Result<Balancer, ConnectError> {
    let tls = tls.map(|tls| tls.client_of(service)).transpose()?;
    Balancer::over(addresses, tls).map_err(|source| ConnectError::Address { service, source })
}
