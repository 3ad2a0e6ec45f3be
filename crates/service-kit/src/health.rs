//! Health as three probes: started (has the process been up once), live (should it be restarted otherwise) and ready
//! (should it receive calls), over named components, for HTTP and gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::shutdown::Signal;

/// The state of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not been up yet: neither started nor ready.
    Starting,
    /// It serves.
    Ready,
    /// It was up and cannot serve now; it may recover by itself.
    NotReady,
    /// It will not recover by itself, and a restart does not help: an operator must act. Not ready, but live.
    Stopped,
    /// It will not recover by itself, but a restart helps: not live.
    Failed,
}

/// The probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Has every component been up once?
    Started,
    /// Has no component failed in a way that a restart repairs?
    Live,
    /// Is every component ready?
    Ready,
}

/// One component as the listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentReport {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// The reason for the state, if it is not obvious. It contains nothing personal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `ok` or `unavailable`.
    pub status: &'static str,
    /// Every component, by name.
    pub components: Vec<ComponentReport>,
}

impl Report {
    /// Whether the probe passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.status == "ok"
    }
}

/// All components of a process. Cheap to clone; clones share their state.
#[derive(Debug, Clone)]
pub struct HealthRegistry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    components: Mutex<BTreeMap<String, Entry>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    started: bool,
    reason: Option<String>,
}

/// The handle by which a component sets its state. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Component {
    name: String,
    registry: HealthRegistry,
}

impl Default for HealthRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthRegistry {
    /// A registry without components: everything passes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                components: Mutex::new(BTreeMap::new()),
                changed: watch::Sender::new(()),
            }),
        }
    }

    /// Adds a component in the state `Starting`. Register all components before the servers start, so that the
    /// process is not reported as ready too early. The same name again returns another handle to the same component.
    #[must_use]
    pub fn component(&self, name: &str) -> Component {
        self.inner.components.lock().entry(name.to_owned()).or_insert(Entry {
            state: State::Starting,
            started: false,
            reason: None,
        });
        self.inner.changed.send_replace(());
        Component {
            name: name.to_owned(),
            registry: self.clone(),
        }
    }

    /// Answers a probe.
    #[must_use]
    pub fn report(&self, probe: Probe) -> Report {
        let components = self.inner.components.lock();
        let passes = components.values().all(|entry| match probe {
            Probe::Started => entry.started,
            Probe::Live => entry.state != State::Failed,
            Probe::Ready => entry.state == State::Ready,
        });
        Report {
            status: if passes { "ok" } else { "unavailable" },
            components: components
                .iter()
                .map(|(name, entry)| ComponentReport {
                    name: name.clone(),
                    state: entry.state,
                    reason: entry.reason.clone(),
                })
                .collect(),
        }
    }

    /// Waits until the probe passes.
    pub async fn wait_for(&self, probe: Probe) {
        let mut changed = self.inner.changed.subscribe();
        while !self.report(probe).passes() {
            // `self` owns the sender, so this cannot fail while we wait.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// `GET /health/started`, `/health/live`, `/health/ready`: 200 or 503, with the listing as JSON.
    pub fn routes(&self) -> Router {
        let answer = |probe: Probe| {
            let this = self.clone();
            move || async move {
                let report = this.report(probe);
                let status = if report.passes() {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                (status, Json(report))
            }
        };
        Router::new()
            .route("/health/started", get(answer(Probe::Started)))
            .route("/health/live", get(answer(Probe::Live)))
            .route("/health/ready", get(answer(Probe::Ready)))
    }

    /// The standard gRPC health service: `SERVING`, for the whole server ("") and each named service, while `ready`
    /// passes and `stop` was not triggered. The returned future updates it; spawn it.
    pub fn grpc(
        &self,
        services: &[&'static str],
        stop: Signal,
    ) -> (
        HealthServer<impl Health + use<>>,
        impl Future<Output = ()> + Send + use<>,
    ) {
        let (reporter, server) = tonic_health::server::health_reporter();
        let this = self.clone();
        let names: Vec<&'static str> = services.iter().copied().chain([""]).collect();
        let follow = async move {
            let mut changed = this.inner.changed.subscribe();
            let mut stopped = std::pin::pin!(stop.clone().wait());
            let mut stopping = stop.is_pulled();
            loop {
                let serving = this.report(Probe::Ready).passes() && !stopping;
                let status = if serving {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                };
                for name in &names {
                    reporter.set_service_status(name, status).await;
                }
                if stopping {
                    return;
                }
                tokio::select! {
                    change = changed.changed() => if change.is_err() { return },
                    // The signal was triggered, or all its triggers were dropped.
                    () = &mut stopped => stopping = true,
                }
            }
        };
        (server, follow)
    }
}

impl Component {
    /// Sets `Ready`.
    pub fn ready(&self) {
        self.set(State::Ready, None);
    }

    /// Sets `Ready` with a note for the listing, which contains nothing personal.
    pub fn ready_saying(&self, what: impl Into<String>) {
        self.set(State::Ready, Some(what.into()));
    }

    /// Sets `NotReady`; `reason` contains nothing personal.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(State::NotReady, Some(reason.into()));
    }

    /// Sets `Starting`; `reason` describes the progress. Returns whether this changed the state or the reason.
    pub fn starting(&self, reason: impl Into<String>) -> bool {
        self.set(State::Starting, Some(reason.into()))
    }

    /// Sets `Stopped`: a restart would lose the state that it still serves and would not help. `reason` contains
    /// nothing personal.
    pub fn stopped(&self, reason: impl Into<String>) {
        self.set(State::Stopped, Some(reason.into()));
    }

    /// Sets `Failed`.
    pub fn failed(&self, reason: impl Into<String>) {
        self.set(State::Failed, Some(reason.into()));
    }

    fn set(&self, state: State, reason: Option<String>) -> bool {
        let mut components = self.registry.inner.components.lock();
        let Some(entry) = components.get_mut(&self.name) else {
            return false;
        };
        // `Failed` and `Stopped` are final: a late `Ready` must not hide them.
        let is_final = match entry.state {
            State::Failed => true,
            State::Stopped => state != State::Failed,
            State::Starting | State::Ready | State::NotReady => false,
        };
        if is_final || (entry.state == state && entry.reason == reason) {
            return false;
        }
        entry.started |= state == State::Ready;
        entry.state = state;
        entry.reason = reason;
        drop(components);
        self.registry.inner.changed.send_replace(());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tonic_health::pb::HealthCheckRequest;
    use tower::ServiceExt as _;

    async fn probe(health: &HealthRegistry, name: &str) -> (u16, serde_json::Value) {
        let request = Request::get(format!("/health/{name}")).body(Body::empty()).unwrap();
        let response = health.routes().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn statuses(health: &HealthRegistry) -> [u16; 3] {
        [
            probe(health, "started").await.0,
            probe(health, "live").await.0,
            probe(health, "ready").await.0,
        ]
    }

    #[tokio::test]
    async fn each_state_answers_the_three_probes_with_its_reason() {
        let health = HealthRegistry::new();
        let (log, keys) = (health.component("log"), health.component("keys"));
        keys.ready();
        assert_eq!(statuses(&health).await, [503, 200, 503]);
        log.ready();
        assert_eq!(statuses(&health).await, [200, 200, 200]);
        log.not_ready("the log is 12 s behind");
        assert_eq!(statuses(&health).await, [200, 200, 503], "started stays");
        let (_, json) = probe(&health, "ready").await;
        assert_eq!(json["status"], "unavailable");
        assert_eq!(json["components"][1]["name"], "log");
        assert_eq!(json["components"][1]["state"], "not_ready");
        assert_eq!(json["components"][1]["reason"], "the log is 12 s behind");
        log.stopped("the log is damaged at 0/7");
        log.ready();
        assert_eq!(
            statuses(&health).await,
            [200, 200, 503],
            "it is live: a restart does not repair the log"
        );
        let (_, json) = probe(&health, "ready").await;
        assert_eq!(json["components"][1]["state"], "stopped");
        assert_eq!(json["components"][1]["reason"], "the log is damaged at 0/7");
        log.failed("another log identity");
        log.ready();
        assert_eq!(statuses(&health).await, [200, 503, 503], "failed is final");
    }

    #[tokio::test]
    async fn grpc_health_follows_ready_and_stops_serving_at_shutdown() {
        let health = HealthRegistry::new();
        let log = health.component("log");
        let (trigger, stop) = crate::shutdown::Signal::channel();
        let (server, follow) = health.grpc(&["city.Issuer"], stop);
        let task = tokio::spawn(follow);
        let mut client = tonic_health::pb::health_client::HealthClient::new(server);
        let request = HealthCheckRequest { service: String::new() };
        let mut watch = client.watch(request).await.unwrap().into_inner();
        let mut next = async || watch.message().await.unwrap().unwrap().status;
        let (serving, not_serving) = (1, 2);
        let mut first = next().await;
        while first != not_serving {
            first = next().await;
        }
        log.ready();
        assert_eq!(next().await, serving);
        trigger.pull();
        assert_eq!(next().await, not_serving);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn waiting_for_ready_ends_when_the_last_component_is() {
        let health = HealthRegistry::new();
        let component = health.component("x");
        let waiting = tokio::spawn({
            let health = health.clone();
            async move { health.wait_for(Probe::Ready).await }
        });
        component.ready();
        waiting.await.unwrap();
    }
}
