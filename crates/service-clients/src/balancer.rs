//! Load balancing and failover over the instances of a service.
//!
//! Each instance's health is watched over its own connection (gRPC health checking protocol, `Watch`), so that an
//! instance that is stopping, starting, frozen or disconnected from the log receives no calls while another can take
//! them. A unary call that an instance did not complete is retried at the next one: every change has a command id and
//! every scan an id, so a repeat is answered as the first attempt and nothing is done twice. Streams are not retried.
//!
//! Once an instance may have executed a change without an answer, only a success proves its outcome: another instance
//! may refuse for its own reasons (its limits, its clock, a register that is not up to date), and that refusal would
//! hide that the change was made.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use citycode_service_kit::deadline;
use futures::future::BoxFuture;
use http::Uri;
use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Service, ServiceExt as _};

use crate::transport::TransportError;
use outcome::{Outcome, is_read_only, no_instance_reached, unknown_outcome};

mod outcome;

/// Methods with a stream of requests, which are not retried.
pub(crate) const STREAMING: [&str; 2] = [
    "/citycode.issuer.v1.IssuerService/Import",
    "/citycode.verifier.v1.VerifierService/VerifyStream",
];
/// Maximum number of instances at which one call is tried.
const MAX_ATTEMPTS: usize = 3;
/// Interval of keep-alive pings; a frozen machine is detected after three of them.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Timeout of connecting; all instances are in one network.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Pause before a failed resolution is retried, and before an instance that did not answer is watched again.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Interval at which names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// The instance that served a call: an extension of an answer, and of a request that must go to another instance.
#[derive(Clone, Debug)]
pub struct ServedBy(Arc<str>);

/// One instance and its health.
struct Instance {
    address: Arc<str>,
    channel: Channel,
    serving: AtomicBool,
}

/// An instance that is watched until this is dropped.
struct Watched {
    instance: Arc<Instance>,
    watch: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// All instances of one service. It is cheap to clone.
#[derive(Clone)]
pub(crate) struct Balancer {
    instances: Arc<ArcSwap<Vec<Arc<Instance>>>>,
    next: Arc<AtomicUsize>,
    /// The task ends with the last clone.
    _resolving: Arc<Resolving>,
}

struct Resolving(JoinHandle<()>);

impl Drop for Resolving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Balancer {
    /// Balances over the instances at these addresses, whose names are resolved continuously.
    pub(crate) fn over(addresses: &[String], tls: Option<ClientTlsConfig>) -> Result<Self, tonic::transport::Error> {
        // Invalid addresses are refused here rather than at the first call.
        for address in addresses {
            endpoint(address, tls.as_ref())?;
        }
        let instances = Arc::new(ArcSwap::from_pointee(Vec::new()));
        let resolving = tokio::spawn(keep_resolving(addresses.to_vec(), tls, Arc::clone(&instances)));
        Ok(Self {
            instances,
            next: Arc::default(),
            _resolving: Arc::new(Resolving(resolving)),
        })
    }

    /// Whether an instance reports that it serves.
    pub(crate) fn is_serving(&self) -> bool {
        let all = self.instances.load();
        all.iter().any(|instance| instance.serving.load(Ordering::Acquire))
    }

    /// The instances in the order in which to try them: first those that serve, in round-robin order, then the others,
    /// because the known health may be outdated.
    fn order(&self) -> Vec<Arc<Instance>> {
        let all = self.instances.load();
        let (mut serving, rest): (Vec<_>, Vec<_>) = all
            .iter()
            .cloned()
            .partition(|instance| instance.serving.load(Ordering::Acquire));
        if !serving.is_empty() {
            let first = self.next.fetch_add(1, Ordering::Relaxed) % serving.len();
            serving.rotate_left(first);
        }
        serving.extend(rest);
        serving.truncate(MAX_ATTEMPTS);
        serving
    }

    async fn forward(&self, request: Request) -> Result<Response, TransportError> {
        let mut order = self.order();
        if let Some(ServedBy(served_by)) = request.extensions().get() {
            // The instance that was tried before comes last.
            order.sort_by_key(|instance| instance.address == *served_by);
        }
        if order.is_empty() {
            // At startup the names may not be resolved yet.
            tokio::time::sleep(RETRY_EVERY).await;
            order = self.order();
        }
        let streaming = STREAMING.contains(&request.uri().path());
        if streaming {
            let first = order.into_iter().next().ok_or_else(no_address)?;
            return first.forward(request).await;
        }
        let (mut parts, body) = request.into_parts();
        let bytes = body
            .collect()
            .await
            .map_err(|error| TransportError(error.into()))?
            .to_bytes();
        // The answer of an instance is more informative than that another one was not reached.
        let (mut last_answer, mut failed) = (None, no_address());
        let mut unknown = false;
        for instance in order {
            // Each attempt gets the time that the earlier ones have left.
            if let Some(left) = deadline::grpc_timeout().and_then(|left| left.parse().ok()) {
                parts.headers.insert(deadline::GRPC_TIMEOUT, left);
            }
            let body = Body::new(Full::new(bytes.clone()));
            let attempt = instance
                .forward_whole(http::Request::from_parts(parts.clone(), body))
                .await;
            let outcome = match &attempt {
                Ok((_, outcome)) => *outcome,
                Err(error) => Outcome::of_error(error),
            };
            match attempt {
                Ok((response, Outcome::Done)) => return Ok(response),
                Ok((response, _)) => last_answer = Some(response),
                Err(error) => failed = error,
            }
            match outcome {
                Outcome::Done | Outcome::Refused => break,
                Outcome::NotDone => {}
                Outcome::Unknown => unknown = true,
            }
            metrics::counter!("citycode_portal_calls_tried_again_total").increment(1);
        }
        let method = parts.uri.path();
        if unknown && !is_read_only(method) {
            return Ok(unknown_outcome(method));
        }
        match last_answer {
            Some(response) => Ok(response),
            None if unknown => Err(failed),
            None => Ok(no_instance_reached()),
        }
    }
}

impl Service<Request> for Balancer {
    type Response = Response;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<Response, TransportError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.forward(request).await })
    }
}

impl Instance {
    fn new(address: &str, tls: Option<&ClientTlsConfig>) -> Option<Self> {
        let channel = endpoint(address, tls)
            .ok()?
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(2 * KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Some(Self {
            address: address.into(),
            channel,
            serving: AtomicBool::new(false),
        })
    }

    async fn forward(&self, request: Request) -> Result<Response, TransportError> {
        let mut channel = self.channel.clone();
        let sent = async { channel.ready().await?.call(request).await };
        let sent: Result<Response, tonic::transport::Error> = sent.await;
        let mut response = sent.map_err(|error| {
            self.set_serving(false);
            TransportError(error.into())
        })?;
        response.extensions_mut().insert(ServedBy(Arc::clone(&self.address)));
        Ok(response)
    }

    /// Sends the call and reads the whole answer: an instance that fails during its answer has not answered.
    async fn forward_whole(&self, request: Request) -> Result<(Response, Outcome), TransportError> {
        let (parts, body) = self.forward(request).await?.into_parts();
        let whole = body.collect().await.map_err(|error| {
            self.set_serving(false);
            TransportError(error.into())
        })?;
        let outcome = Outcome::of_answer(&parts, whole.trailers());
        Ok((Response::from_parts(parts, Body::new(whole)), outcome))
    }

    /// Watches its health; never returns.
    async fn keep_watching(self: Arc<Self>) {
        loop {
            let mut client = HealthClient::new(self.channel.clone());
            let whole = HealthCheckRequest { service: String::new() };
            if let Ok(answers) = client.watch(whole).await {
                let mut answers = answers.into_inner();
                while let Ok(Some(answer)) = answers.message().await {
                    let serving = answer.status == ServingStatus::Serving as i32;
                    self.set_serving(serving);
                    // An open watch would delay the shutdown of the server.
                    if !serving {
                        break;
                    }
                }
            }
            self.set_serving(false);
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    fn set_serving(&self, serving: bool) {
        if self.serving.swap(serving, Ordering::AcqRel) != serving {
            tracing::info!(address = %self.address, serving, "the health of an instance changed");
        }
    }
}

fn endpoint(address: &str, tls: Option<&ClientTlsConfig>) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())?;
    match tls {
        Some(tls) => endpoint.tls_config(tls.clone()),
        None => Ok(endpoint),
    }
}

fn no_address() -> TransportError {
    TransportError("the service name resolved to no addresses".into())
}

async fn keep_resolving(
    addresses: Vec<String>,
    tls: Option<ClientTlsConfig>,
    instances: Arc<ArcSwap<Vec<Arc<Instance>>>>,
) {
    let mut known = BTreeMap::<String, Watched>::new();
    let mut tick = tokio::time::interval(RESOLVE_EVERY);
    loop {
        tick.tick().await;
        let mut found = Vec::new();
        for address in &addresses {
            found.extend(resolve(address).await);
        }
        // If the name server does not answer, the known instances are kept.
        if found.is_empty() {
            continue;
        }
        known.retain(|address, _| {
            let stays = found.contains(address);
            if !stays {
                tracing::warn!(
                    address,
                    "an instance was removed: the service name no longer resolves to its address"
                );
            }
            stays
        });
        for address in found {
            if !known.contains_key(&address)
                && let Some(instance) = Instance::new(&address, tls.as_ref()).map(Arc::new)
            {
                let watch = tokio::spawn(Arc::clone(&instance).keep_watching());
                known.insert(address, Watched { instance, watch });
            }
        }
        instances.store(Arc::new(
            known.values().map(|watched| Arc::clone(&watched.instance)).collect(),
        ));
    }
}

/// The address with each IP address to which its name resolves.
async fn resolve(address: &str) -> Vec<String> {
    let Ok(uri) = address.parse::<Uri>() else {
        return Vec::new();
    };
    let (Some(host), scheme) = (uri.host(), uri.scheme_str().unwrap_or("http")) else {
        return Vec::new();
    };
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => found.map(|found: SocketAddr| format!("{scheme}://{found}")).collect(),
        Err(error) => {
            tracing::debug!(%error, host, "a service name cannot be resolved");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
