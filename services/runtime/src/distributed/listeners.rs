//! The ports of a service: health and metrics from the start, calls once the service has started, and an announced
//! shutdown.
//!
//! Callers use one port, with mutual TLS if configured. Health probes and Prometheus use the management port, or the
//! callers' port if no management port is configured. gRPC health answers on both, because portals watch it over the
//! connection on which they call.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::health::{Component, HealthRegistry, Probe};
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_service_kit::serve::{Listener, app, with_fallbacks};
use citycode_service_kit::shutdown::{Signal, Trigger};
use http::header::CONTENT_TYPE;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::Role;
use super::settings::ServiceSettings;
use crate::wiring::{StartError, endpoints, metric_list};

/// The service names for which gRPC health answers: those of all services, because a caller asks for the one it needs.
const SERVICES: [&str; 4] = [
    endpoints::ISSUER,
    endpoints::REVOCATION,
    endpoints::VERIFIER,
    endpoints::AUDIT,
];

/// The open ports.
pub(super) struct Listeners {
    url: String,
    health: HealthRegistry,
    serving: Component,
    inner: Arc<OnceLock<Router>>,
    stop: Trigger,
    servers: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Listens, and answers health checks. gRPC health reports "not serving" as soon as `stopped` is signalled.
    pub(super) fn open(role: Role, settings: &ServiceSettings, stopped: &Signal) -> Result<Self, StartError> {
        let listener = Listener::bind(settings.listen)?;
        // A portal's callers arrive through the city's ingress; its certificate is only for the services that it calls.
        let tls = settings.tls.as_ref().filter(|_| role != Role::Portal);
        let url = format!(
            "{}://{}",
            if tls.is_some() { "https" } else { "http" },
            listener.address()
        );
        let listener = match tls {
            Some(tls) => listener.secured(tls)?,
            None => listener,
        };
        let listener = listener.limited(settings.limits.clone());
        let health = HealthRegistry::new();
        let serving = health.component("serving");
        serving.starting("the service is starting");
        let inner = Arc::new(OnceLock::new());
        let (grpc_health, keep_health) = health.grpc(&SERVICES, stopped.clone());
        tokio::spawn(keep_health);
        // This installs the recorder, before which metrics would be lost.
        let metrics = endpoints::metrics_routes(stopped);
        metric_list::register(metric_list::of(role));
        let management_routes = health.routes().merge(metrics);
        let calls = {
            let inner = Arc::clone(&inner);
            move |request: Request| forward(Arc::clone(&inner), request)
        };
        let (stop, ending) = Signal::channel();
        let mut servers = Vec::new();
        let http = match settings.management {
            None => management_routes,
            Some(address) => {
                let management = Listener::bind(address)?.limited(settings.limits.of_management());
                tracing::info!(address = %management.address(), "serving health and metrics");
                let router = app(Routes::new(grpc_health.clone()), with_fallbacks(management_routes));
                servers.push(tokio::spawn(management.serve(router, ending.clone())));
                Router::new()
            }
        };
        let router = app(Routes::new(grpc_health), http.fallback(calls));
        servers.push(tokio::spawn(listener.serve(router, ending)));
        tracing::info!(program = role.program(), url, "answering health checks");
        Ok(Self {
            url,
            health,
            serving,
            inner,
            stop,
            servers,
        })
    }

    /// The callers' URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn health(&self) -> &HealthRegistry {
        &self.health
    }

    /// Forwards calls to the service from now on.
    pub(super) fn serve(&self, router: Router) {
        // This is called once, so the cell is empty.
        let _ = self.inner.set(router);
        self.serving.ready();
    }

    /// Waits until every component is ready, or until the signal.
    pub(super) async fn wait_until_ready(&self, stopped: &Signal) {
        tokio::select! {
            () = self.health.wait_for(Probe::Ready) => {}
            () = stopped.clone().wait() => {}
        }
    }

    /// Reports "not ready", gives callers `drain` to react, and lets calls in flight finish.
    pub(super) async fn close(self, drain: Duration) {
        self.serving.not_ready("shutting down");
        tokio::time::sleep(drain).await;
        self.stop.pull();
        for server in self.servers {
            if let Err(error) = server.await {
                tracing::error!(%error, "a server panicked");
            }
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
    let problem = Problem::new(Code::Unavailable, why).with_retry_after(1);
    let kind = request.headers().get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        // The call was not started, so a portal may try another instance, and the outcome stays known.
        tonic::Status::from(problem.with_outcome(Outcome::NotDone)).into_http::<axum::body::Body>()
    } else {
        problem.into_response()
    }
}
