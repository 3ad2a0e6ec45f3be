//! Servers: gRPC and HTTP on one port or on two, health and reflection beside the services, limits, and an
//! end that lets the calls in flight finish.
//!
//! One hyper server speaks HTTP/1.1 and HTTP/2 on each port; gRPC is told apart by its path. Message sizes are
//! set by each generated service (`max_decoding_message_size`), with [`MAX_GRPC_MESSAGE_BYTES`]. What clients may hold,
//! and for how long, is said by [`Limits`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod accept;
mod bodies;
mod call;
mod calls;
mod connection;
mod connections;
mod descriptors;
mod limits;
mod outcome;
mod socket;
mod speak;
mod throttle;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

pub use call::CallHandle;
use calls::CountCalls;
use connections::Connections;
pub use descriptors::raise_limit as raise_descriptor_limit;
pub use limits::{Limits, Network};
pub use outcome::{LOOK_UPS, QUESTIONS};

use crate::problem::{Code, Problem};
use crate::shutdown::{Signal, Trigger};
use crate::tls::{MutualTls, TlsError};

/// Largest gRPC message taken. A request holds some hundred bytes, with an assertion some kilobytes; the longest line
/// that a portal takes becomes a message of 64 KiB. Each call under way may hold one that has not come to its end.
pub const MAX_GRPC_MESSAGE_BYTES: usize = 128 << 10;
/// Largest HTTP body taken, unless a route sets another: requests are small; images have a route of their own.
pub const MAX_HTTP_BODY_BYTES: usize = 1 << 20;
/// Idle connections are asked whether they live, so that a gate behind a dead NAT notices within half a minute.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls in flight may take after the signal to stop; then they are cut. Kubernetes gives 30 s.
pub const DRAIN: Duration = Duration::from_secs(20);
/// How long after the signal requests may still come in whose header was there before it: the rest of an ordinary one
/// is on its way. Whoever sends no more by then is not waited for.
const REST_OF_REQUESTS: Duration = Duration::from_millis(500);

/// Why a server did not start or ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file descriptor set for reflection is damaged.
    #[error("the file descriptor set cannot be read")]
    Descriptors(#[source] tonic_reflection::server::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A port that is bound but not yet served: the address is known, and calls wait.
pub struct Listener {
    incoming: TcpIncoming,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: Limits,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Binds; port 0 lets the operating system choose. Inside a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind { address, source };
        let incoming = TcpIncoming::bind(address).map_err(failed)?;
        let address = incoming.local_addr().map_err(failed)?;
        Ok(Self {
            incoming: incoming
                .with_nodelay(Some(true))
                .with_keepalive(Some(KEEPALIVE_INTERVAL)),
            address,
            tls: None,
            limits: Limits::default(),
        })
    }

    /// Takes only callers with a certificate, and shows its own. HTTP/1.1 is not spoken then: who offers it alone
    /// (ALPN, RFC 7301) is turned away.
    ///
    /// # Errors
    /// [`ServeError::Tls`].
    pub fn secured(self, tls: &MutualTls) -> Result<Self, ServeError> {
        let tls = Some(TlsAcceptor::from(tls.server()?));
        Ok(Self { tls, ..self })
    }

    /// Sets what its clients may hold, and for how long.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The address, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets calls in flight finish for [`DRAIN`] and closes every connection that has none.
    /// A request that has not come to its end half a second later is refused as `unavailable`; a stream is answered as
    /// far as it came. `router` is what [`app`] makes.
    pub async fn serve(self, router: Router, stop: Signal) {
        self.serve_draining(router, stop, DRAIN).await;
    }

    async fn serve_draining(self, router: Router, stop: Signal, drain: Duration) {
        let address = self.address;
        let connections = Connections::new(self.limits.fitting(descriptors::limit()));
        let (cut, requests_cut) = Signal::channel();
        let calls = CountCalls {
            cut: Arc::new(requests_cut),
        };
        let router = router.layer(calls).with_state(());
        tracing::info!(%address, "serving");
        tokio::select! {
            () = accept::accept(self.incoming, connections.clone(), self.tls, router, stop) => {}
            () = connections.clone().keep_looking() => {}
        }
        connections.stop();
        tokio::select! {
            () = connections.wait_until_closed() => {}
            () = connections.clone().keep_looking() => {}
            () = wind_down(&connections, cut, drain) => {
                if connections.cut() {
                    tracing::warn!(%address, "calls still in flight were cut");
                }
            }
        }
    }
}

/// Closes connections without a call in progress; ends when those with one have had their time.
async fn wind_down(connections: &Connections, cut: Trigger, drain: Duration) {
    let cutting = async {
        tokio::time::sleep(REST_OF_REQUESTS).await;
        cut.pull();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = cutting => {}
        () = connections.close_idle() => {}
        () = tokio::time::sleep(drain) => {}
    }
    cut.pull();
}

/// Puts gRPC services and HTTP routes onto one router. `http` brings its own answer to unknown paths, from
/// [`with_fallbacks`], so that layers put around it afterwards stand around that answer too. The HTTP routes get
/// the body limit [`MAX_HTTP_BODY_BYTES`]; a route may set another with its own [`DefaultBodyLimit`].
pub fn app(grpc: Routes, http: Router) -> Router {
    grpc.into_axum_router()
        .reset_fallback()
        .merge(http.layer(DefaultBodyLimit::max(MAX_HTTP_BODY_BYTES)))
        // For routes merged in after the fallbacks; those that have one keep it.
        .method_not_allowed_fallback(wrong_method)
}

/// Unknown gRPC methods answer `UNIMPLEMENTED`, other unknown paths a `not_found` problem, and a method that a path
/// does not take a problem with status 405.
pub fn with_fallbacks(routes: Router) -> Router {
    routes.method_not_allowed_fallback(wrong_method).fallback(unknown)
}

/// Adds gRPC server reflection (v1 and the v1alpha that older tools speak) for these encoded file descriptor sets.
///
/// # Errors
/// [`ServeError::Descriptors`].
pub fn with_reflection(grpc: Routes, descriptor_sets: &[&'static [u8]]) -> Result<Routes, ServeError> {
    let builder = || {
        descriptor_sets
            .iter()
            .chain([&tonic_health::pb::FILE_DESCRIPTOR_SET])
            .fold(tonic_reflection::server::Builder::configure(), |builder, set| {
                builder.register_encoded_file_descriptor_set(set)
            })
    };
    let v1 = builder().build_v1().map_err(ServeError::Descriptors)?;
    let v1alpha = builder().build_v1alpha().map_err(ServeError::Descriptors)?;
    Ok(grpc.add_service(v1).add_service(v1alpha))
}

async fn unknown(request: Request) -> Response {
    if is_grpc(request.headers()) {
        tonic::Status::unimplemented("there is no such method").into_http::<Body>()
    } else {
        Problem::new(Code::NotFound, "there is no such path").into_response()
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn wrong_method() -> Problem {
    Problem::new(Code::InvalidRequest, "this path does not take that method").with_status(405)
}

#[cfg(test)]
mod tests;
