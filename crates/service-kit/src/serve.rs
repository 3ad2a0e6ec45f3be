//! Servers: gRPC and HTTP on one port or on two, health and reflection beside the services, limits, and an
//! end that lets the calls in flight finish.
//!
//! One hyper server speaks HTTP/1.1 and HTTP/2 on each port; gRPC is told apart by its path. Message sizes are
//! set by each generated service (`max_decoding_message_size`), with [`MAX_GRPC_MESSAGE_BYTES`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use http::header::CONTENT_TYPE;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};

mod calls;
mod connections;

use calls::CountCalls;
use connections::Connections;

use crate::problem::{Code, Problem};
use crate::shutdown::{Signal, Trigger};
use crate::tls::{MutualTls, TlsError};

/// Largest gRPC message taken: a batch of an import, with room.
pub const MAX_GRPC_MESSAGE_BYTES: usize = 4 << 20;
/// Largest HTTP body taken, unless a route sets another: requests are small; images have a route of their own.
pub const MAX_HTTP_BODY_BYTES: usize = 1 << 20;
/// Streams on one HTTP/2 connection: a portal multiplexes its callers over a few connections.
const MAX_STREAMS: u32 = 4_096;
/// Calls worked on at once per connection; more wait.
const MAX_CALLS: usize = 4_096;
/// Header bytes: a token and the trace context have room; more is an attack.
const MAX_HEADER_BYTES: u32 = 16 << 10;
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
    /// The server ended.
    #[error("the server ended")]
    Ended(#[source] tonic::transport::Error),
}

/// A port that is bound but not yet served: the address is known, and calls wait.
#[derive(Debug)]
pub struct Listener {
    incoming: TcpIncoming,
    address: SocketAddr,
    tls: Option<ServerTlsConfig>,
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
        })
    }

    /// Takes only callers with a certificate, and shows its own. HTTP/1.1 is not spoken then: who offers it alone
    /// (ALPN, RFC 7301) is turned away.
    ///
    /// # Errors
    /// [`ServeError::Tls`].
    pub fn secured(self, tls: &MutualTls) -> Result<Self, ServeError> {
        let tls = tls.server()?;
        // Refused now rather than in the task that serves.
        Server::builder()
            .tls_config(tls.clone())
            .map_err(|error| ServeError::Tls(TlsError::Refused(error)))?;
        Ok(Self { tls: Some(tls), ..self })
    }

    /// The address, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets calls in flight finish for [`DRAIN`] and closes every connection that has none.
    /// A request that has not come to its end half a second later is refused as `unavailable`; a stream is answered as
    /// far as it came. `router` is what [`app`] makes.
    ///
    /// # Errors
    /// [`ServeError::Ended`].
    pub async fn serve(self, router: Router, stop: Signal) -> Result<(), ServeError> {
        self.serve_draining(router, stop, DRAIN).await
    }

    async fn serve_draining(self, router: Router, stop: Signal, drain: Duration) -> Result<(), ServeError> {
        let address = self.address;
        let connections = Connections::default();
        let (cut, requests_cut) = Signal::channel();
        let mut server = Server::builder();
        if let Some(tls) = self.tls {
            server = server.tls_config(tls).map_err(ServeError::Ended)?;
        }
        let calls = CountCalls {
            cut: Arc::new(requests_cut),
        };
        let incoming = self
            .incoming
            .map(|accepted| accepted.map(|stream| connections.watch(stream)));
        let server = server
            .accept_http1(true)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .concurrency_limit_per_connection(MAX_CALLS)
            .add_routes(Routes::from(router.layer(calls)))
            .serve_with_incoming_shutdown(incoming, stop.clone().wait());
        tracing::info!(%address, "serving");
        tokio::select! {
            ended = server => ended.map_err(ServeError::Ended),
            () = wind_down(&connections, stop, cut, drain) => {
                if connections.close_all() {
                    tracing::warn!(%address, "calls still in flight were cut");
                }
                Ok(())
            }
        }
    }
}

/// From the signal on closes connections without a call in progress; ends when those with one have had their time.
async fn wind_down(connections: &Connections, stop: Signal, cut: Trigger, drain: Duration) {
    stop.wait().await;
    let cutting = async {
        tokio::time::sleep(REST_OF_REQUESTS).await;
        cut.pull();
    };
    tokio::select! {
        ((), ()) = futures::future::join(cutting, connections.close_idle()) => {}
        () = tokio::time::sleep(drain) => cut.pull(),
    }
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
    if is_grpc(&request) {
        tonic::Status::unimplemented("there is no such method").into_http::<Body>()
    } else {
        Problem::new(Code::NotFound, "there is no such path").into_response()
    }
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn wrong_method() -> Problem {
    Problem::new(Code::InvalidRequest, "this path does not take that method").with_status(405)
}

#[cfg(test)]
mod tests;
