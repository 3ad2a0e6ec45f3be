//! The port of a service: health and numbers from the first moment, the service once it is there, and an end that
//! callers see coming.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::health::{Component, HealthRegistry, Probe};
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::serve::{Listener, ServeError, app};
use citycode_service_kit::shutdown::{Signal, Trigger};
use http::header::CONTENT_TYPE;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::Role;
use crate::compose::{StartError, faces};

/// Names under which gRPC health answers: every service's, so that a caller may ask for the one it wants.
const SERVICES: [&str; 4] = [faces::ISSUER, faces::REVOCATION, faces::VERIFIER, faces::AUDIT];

/// The port, open.
pub(super) struct Front {
    address: SocketAddr,
    health: HealthRegistry,
    serving: Component,
    inner: Arc<OnceLock<Router>>,
    stop: Trigger,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Front {
    /// Listens, and answers who asks how it goes. gRPC health says "not serving" from the instant of `stopped`.
    pub(super) fn open(role: Role, listen: SocketAddr, stopped: &Signal) -> Result<Self, StartError> {
        let listener = Listener::bind(listen)?;
        let address = listener.address();
        let health = HealthRegistry::new();
        let serving = health.component("serving");
        serving.starting("the service is coming up");
        let inner = Arc::new(OnceLock::new());
        let (grpc_health, keep_health) = health.grpc(&SERVICES, stopped.clone());
        tokio::spawn(keep_health);
        let http = health.routes().merge(faces::metrics_routes(stopped)).fallback({
            let inner = Arc::clone(&inner);
            move |request: Request| forward(Arc::clone(&inner), request)
        });
        let router = app(Routes::new(grpc_health), http);
        let (stop, ending) = Signal::channel();
        let server = tokio::spawn(listener.serve(router, ending));
        tracing::info!(program = role.program(), %address, "answering health checks");
        Ok(Self {
            address,
            health,
            serving,
            inner,
            stop,
            server,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn health(&self) -> &HealthRegistry {
        &self.health
    }

    /// Calls go to the service from now on.
    pub(super) fn serve(&self, router: Router) {
        // Only the first counts, and there is but one.
        let _ = self.inner.set(router);
        self.serving.ready();
    }

    /// Waits until every part has been ready once, or until the signal.
    pub(super) async fn wait_until_ready(&self, stopped: &Signal) {
        tokio::select! {
            () = self.health.wait_for(Probe::Ready) => {}
            () = stopped.clone().wait() => {}
        }
    }

    /// Says that it is going, leaves callers `drain` to notice, and lets calls in flight finish.
    pub(super) async fn close(self, drain: Duration) {
        self.serving.not_ready("shutting down");
        tokio::time::sleep(drain).await;
        self.stop.pull();
        if let Ok(Err(error)) = self.server.await {
            tracing::error!(%error, "the server ended badly");
        }
    }
}

async fn forward(inner: Arc<OnceLock<Router>>, request: Request) -> Response {
    let Some(router) = inner.get() else {
        return starting(&request);
    };
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn starting(request: &Request) -> Response {
    let why = "this service is starting; try another one, or again in a moment";
    let kind = request.headers().get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        tonic::Status::unavailable(why).into_http::<axum::body::Body>()
    } else {
        Problem::new(Code::Unavailable, why).with_retry_after(1).into_response()
    }
}
