//! Servers: gRPC and HTTP on one port or on two, with health, reflection, limits, and a graceful shutdown.
//!
//! One hyper server serves HTTP/1.1 and HTTP/2 on each port; gRPC calls are routed by their path. Message sizes are set
//! by each generated service (`max_decoding_message_size`), with [`MAX_GRPC_MESSAGE_BYTES`]. [`Limits`] bounds what
//! clients may hold, and for how long.

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
mod protocol;
mod socket;
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
pub use outcome::{READ_ONLY_METHODS, READ_ONLY_POSTS};

use crate::problem::{Code, Problem};
use crate::shutdown::{Signal, Trigger};
use crate::tls::{MutualTls, TlsError};

/// Largest accepted gRPC message. A request has some hundred bytes, with an assertion some kilobytes; the longest line
/// that a portal accepts becomes a message of 64 KiB. Each call in flight may hold one incomplete message.
pub const MAX_GRPC_MESSAGE_BYTES: usize = 128 << 10;
/// Largest accepted HTTP body, unless a route sets another limit. Requests are small; images have their own route.
pub const MAX_HTTP_BODY_BYTES: usize = 1 << 20;
/// Interval of HTTP/2 and TCP keep-alive, so that a gate behind a dead NAT notices it within half a minute.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Time within which a keep-alive ping must be answered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls in flight may take after the shutdown signal; then they are aborted. Kubernetes allows 30 s.
pub const DRAIN: Duration = Duration::from_secs(20);
/// How long after the signal the body of a request may still arrive whose header arrived before it. The rest of an
/// ordinary request is already in flight by then.
const REQUEST_BODY_GRACE: Duration = Duration::from_millis(500);

/// Why a server did not start or ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Binding the address failed.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file descriptor set for reflection is damaged.
    #[error("the file descriptor set cannot be read")]
    Descriptors(#[source] tonic_reflection::server::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A port that is bound but not yet served: its address is known, and clients that connect wait.
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
    /// Binds the address; with port 0 the operating system chooses one. It must be called inside a tokio runtime.
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

    /// Enables mutual TLS. HTTP/1.1 is not supported then: a client that offers only HTTP/1.1 (ALPN, RFC 7301) is
    /// rejected.
    ///
    /// # Errors
    /// [`ServeError::Tls`].
    pub fn secured(self, tls: &MutualTls) -> Result<Self, ServeError> {
        let tls = Some(TlsAcceptor::from(tls.server()?));
        Ok(Self { tls, ..self })
    }

    /// Sets the limits for its clients.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The bound address, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then closes every connection without a call and lets calls in flight finish for [`DRAIN`].
    /// A request that is still incomplete half a second later is refused as `unavailable`; a stream is answered up to
    /// what has arrived. `router` is the result of [`app`].
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
            () = connections.clone().enforce_time_limits() => {}
        }
        connections.stop();
        tokio::select! {
            () = connections.wait_until_closed() => {}
            () = connections.clone().enforce_time_limits() => {}
            () = close_gracefully(&connections, cut, drain) => {
                if connections.cut() {
                    tracing::warn!(%address, "calls still in flight were aborted");
                }
            }
        }
    }
}

/// Closes connections without a call in progress; returns when the others have used up their time.
async fn close_gracefully(connections: &Connections, cut: Trigger, drain: Duration) {
    let cutting = async {
        tokio::time::sleep(REQUEST_BODY_GRACE).await;
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

/// Combines gRPC services and HTTP routes in one router. `http` already has the fallbacks of [`with_fallbacks`], so
/// that layers around it also cover the answers to unknown paths. The HTTP routes get the body limit
/// [`MAX_HTTP_BODY_BYTES`]; a route may set another with its own [`DefaultBodyLimit`].
pub fn app(grpc: Routes, http: Router) -> Router {
    grpc.into_axum_router()
        .reset_fallback()
        .merge(http.layer(DefaultBodyLimit::max(MAX_HTTP_BODY_BYTES)))
        // For routes that were merged after the fallbacks; routes that have a fallback keep it.
        .method_not_allowed_fallback(wrong_method)
}

/// Unknown gRPC methods are answered with `UNIMPLEMENTED`, other unknown paths with a `not_found` problem, and a method
/// that a path does not support with a problem with status 405.
pub fn with_fallbacks(routes: Router) -> Router {
    routes.method_not_allowed_fallback(wrong_method).fallback(unknown)
}

/// Adds gRPC server reflection (v1, and v1alpha for older tools) for these encoded file descriptor sets.
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
    Problem::new(Code::InvalidRequest, "this path does not support that method").with_status(405)
}

#[cfg(test)]
mod tests;
