//! Real servers on loopback ports, stopped and started under calls.
use std::collections::BTreeSet;

use citycode_service_kit::health::HealthRegistry;
use citycode_service_kit::serve::{Listener, app};
use citycode_service_kit::shutdown::{Signal, Trigger};
use citycode_testkit::eventually;
use citycode_wire::proto::FILE_DESCRIPTOR_SET;
use http::header::CONTENT_TYPE;
use prost_types::FileDescriptorSet;
use tonic::service::Routes;

use super::*;

/// An instance that answers every call with its own name, or as unavailable.
struct Server {
    address: String,
    health: HealthRegistry,
    stop: Trigger,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(name: &'static str, refuses: bool) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("http://{}", listener.address());
        let (stop, stopped) = Signal::channel();
        let health = HealthRegistry::new();
        let (server, follow) = health.grpc(&[], stopped.clone());
        tokio::spawn(follow);
        let answer = move || async move {
            if refuses {
                return tonic::Status::unavailable("not now").into_http::<axum::body::Body>();
            }
            http::Response::builder()
                .header(CONTENT_TYPE, "application/grpc")
                .header("name", name)
                .body(axum::body::Body::empty())
                .unwrap()
        };
        let router = app(Routes::new(server), axum::Router::new().fallback(answer));
        let task = tokio::spawn(async move { drop(listener.serve(router, stopped).await) });
        Self {
            address,
            health,
            stop,
            task,
        }
    }
}

async fn ask(spread: &Spread, path: &str) -> Option<String> {
    let request = http::Request::post(format!("http://x{path}"))
        .header(CONTENT_TYPE, "application/grpc")
        .body(Body::new(Full::new(bytes::Bytes::from_static(b"hello"))))
        .unwrap();
    let response = spread.carry(request).await.ok()?;
    Some(response.headers().get("name")?.to_str().unwrap().to_owned())
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn calls_go_to_all_that_serve_and_past_those_that_do_not() {
    let (first, second) = (
        Server::start("first", false).await,
        Server::start("second", false).await,
    );
    let starting = Server::start("starting", false).await;
    let not_yet = starting.health.component("log");
    let addresses = [&first, &second, &starting].map(|server| server.address.clone());
    let spread = Spread::over(&addresses, None).unwrap();
    let seen = async |spread: &Spread| {
        let mut seen = BTreeSet::new();
        for _ in 0..12 {
            seen.extend(ask(spread, "/a.B/C").await);
        }
        seen
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    eventually("both take calls", PATIENCE, || async {
        seen(&spread).await == names(&["first", "second"])
    })
    .await;
    not_yet.ready();
    let all = names(&["first", "second", "starting"]);
    eventually("the third takes calls", PATIENCE, || async {
        seen(&spread).await == all
    })
    .await;
    first.stop.pull();
    first.task.await.unwrap();
    // Not one call fails while an instance goes.
    for _ in 0..50 {
        assert!(ask(&spread, "/a.B/C").await.is_some());
    }
    let left = names(&["second", "starting"]);
    eventually("two are left", PATIENCE, || async { seen(&spread).await == left }).await;
}

#[tokio::test]
async fn a_refused_call_goes_to_the_next_instance_and_a_stream_does_not() {
    let (refusing, taking) = (
        Server::start("refusing", true).await,
        Server::start("taking", false).await,
    );
    let spread = Spread::over(&[refusing.address.clone(), taking.address.clone()], None).unwrap();
    eventually("both serve", PATIENCE, || async {
        let all = spread.instances.load();
        all.len() == 2 && all.iter().all(|instance| instance.serving.load(Ordering::Acquire))
    })
    .await;
    for _ in 0..10 {
        assert_eq!(ask(&spread, "/a.B/C").await.as_deref(), Some("taking"));
    }
    let mut streams = BTreeSet::new();
    for _ in 0..10 {
        streams.insert(ask(&spread, STREAMING[0]).await);
    }
    assert_eq!(streams, BTreeSet::from([None, Some("taking".to_owned())]));
}

#[tokio::test]
async fn a_call_that_is_to_go_elsewhere_goes_elsewhere() {
    let (first, second) = (
        Server::start("first", false).await,
        Server::start("second", false).await,
    );
    let spread = Spread::over(&[first.address.clone(), second.address.clone()], None).unwrap();
    eventually("one serves", PATIENCE, || async { spread.is_serving() }).await;
    for _ in 0..6 {
        let request = |asked: Option<CarriedBy>| {
            let mut request = http::Request::post("http://x/a.B/C").body(Body::empty()).unwrap();
            request
                .extensions_mut()
                .insert(asked.unwrap_or(CarriedBy("nobody".into())));
            request
        };
        let before = spread.carry(request(None)).await.unwrap();
        let asked = before.extensions().get::<CarriedBy>().cloned();
        let after = spread.carry(request(asked)).await.unwrap();
        assert_ne!(before.headers()["name"], after.headers()["name"]);
    }
}

#[test]
fn every_method_with_a_stream_of_requests_is_named() {
    let set: FileDescriptorSet = prost::Message::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut streaming = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in service.method.iter().filter(|method| method.client_streaming()) {
                streaming.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    assert_eq!(streaming, STREAMING.map(str::to_owned).into());
}
