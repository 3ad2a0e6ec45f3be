//! Tests with real servers on loopback ports, which are stopped and started during calls.
use std::collections::BTreeSet;

use citycode_service_kit::health::HealthRegistry;
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::serve::{Listener, READ_ONLY_METHODS, app};
use citycode_service_kit::shutdown::{Signal, Trigger};
use citycode_testkit::eventually;
use citycode_wire::proto::FILE_DESCRIPTOR_SET;
use http::header::CONTENT_TYPE;
use prost_types::FileDescriptorSet;
use tonic::Status;
use tonic::service::Routes;

use super::*;

/// How an instance reacts to every call.
#[derive(Clone)]
enum Behaviour {
    /// It answers with its own name.
    Answer,
    /// It answers with this problem.
    Say(Status),
    /// It disconnects in the middle of the answer.
    Break,
}

impl Behaviour {
    fn answer(&self, name: &'static str) -> http::Response<axum::body::Body> {
        let body = match self {
            Self::Answer => axum::body::Body::empty(),
            Self::Say(status) => return status.clone().into_http(),
            Self::Break => {
                let broken = futures::stream::iter([Err::<bytes::Bytes, _>("it broke")]);
                axum::body::Body::from_stream(broken)
            }
        };
        http::Response::builder()
            .header(CONTENT_TYPE, "application/grpc")
            .header("name", name)
            .body(body)
            .unwrap()
    }
}

struct Server {
    address: String,
    health: HealthRegistry,
    stop: Trigger,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(name: &'static str, behaviour: Behaviour) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("http://{}", listener.address());
        let (stop, stopped) = Signal::channel();
        let health = HealthRegistry::new();
        let (server, follow) = health.grpc(&[], stopped.clone());
        tokio::spawn(follow);
        let answer = move || {
            let answer = behaviour.answer(name);
            async move { answer }
        };
        let router = app(Routes::new(server), axum::Router::new().fallback(answer));
        let task = tokio::spawn(listener.serve(router, stopped));
        Self {
            address,
            health,
            stop,
            task,
        }
    }
}

async fn ask(balancer: &Balancer, path: &str) -> Option<String> {
    let request = http::Request::post(format!("http://x{path}"))
        .header(CONTENT_TYPE, "application/grpc")
        .body(Body::new(Full::new(bytes::Bytes::from_static(b"hello"))))
        .unwrap();
    let response = balancer.forward(request).await.ok()?;
    Some(response.headers().get("name")?.to_str().unwrap().to_owned())
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn calls_go_to_all_instances_that_serve_and_to_no_others() {
    let (first, second) = (
        Server::start("first", Behaviour::Answer).await,
        Server::start("second", Behaviour::Answer).await,
    );
    let starting = Server::start("starting", Behaviour::Answer).await;
    let not_yet = starting.health.component("log");
    let addresses = [&first, &second, &starting].map(|server| server.address.clone());
    let balancer = Balancer::over(&addresses, None).unwrap();
    let seen = async |balancer: &Balancer| {
        let mut seen = BTreeSet::new();
        for _ in 0..12 {
            seen.extend(ask(balancer, "/a.B/C").await);
        }
        seen
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    eventually("both take calls", PATIENCE, || async {
        seen(&balancer).await == names(&["first", "second"])
    })
    .await;
    not_yet.ready();
    let all = names(&["first", "second", "starting"]);
    eventually("the third takes calls", PATIENCE, || async {
        seen(&balancer).await == all
    })
    .await;
    first.stop.pull();
    first.task.await.unwrap();
    // No call fails while an instance stops.
    for _ in 0..50 {
        assert!(ask(&balancer, "/a.B/C").await.is_some());
    }
    let left = names(&["second", "starting"]);
    eventually("two are left", PATIENCE, || async { seen(&balancer).await == left }).await;
}

#[tokio::test]
async fn a_refused_call_goes_to_the_next_instance_and_a_stream_does_not() {
    let (refusing, taking) = (
        Server::start("refusing", Behaviour::Say(Status::unavailable("not now"))).await,
        Server::start("taking", Behaviour::Answer).await,
    );
    let balancer = Balancer::over(&[refusing.address.clone(), taking.address.clone()], None).unwrap();
    eventually("both serve", PATIENCE, || async {
        let all = balancer.instances.load();
        all.len() == 2 && all.iter().all(|instance| instance.serving.load(Ordering::Acquire))
    })
    .await;
    for _ in 0..10 {
        assert_eq!(ask(&balancer, "/a.B/C").await.as_deref(), Some("taking"));
    }
    let mut streams = BTreeSet::new();
    for _ in 0..10 {
        streams.insert(ask(&balancer, STREAMING[0]).await);
    }
    assert_eq!(streams, BTreeSet::from([None, Some("taking".to_owned())]));
}

#[tokio::test]
async fn a_call_that_must_go_to_another_instance_does() {
    let (first, second) = (
        Server::start("first", Behaviour::Answer).await,
        Server::start("second", Behaviour::Answer).await,
    );
    let balancer = Balancer::over(&[first.address.clone(), second.address.clone()], None).unwrap();
    eventually("one serves", PATIENCE, || async { balancer.is_serving() }).await;
    for _ in 0..6 {
        let request = |served_by: Option<ServedBy>| {
            let mut request = http::Request::post("http://x/a.B/C").body(Body::empty()).unwrap();
            request
                .extensions_mut()
                .insert(served_by.unwrap_or(ServedBy("nobody".into())));
            request
        };
        let before = balancer.forward(request(None)).await.unwrap();
        let served_by = before.extensions().get::<ServedBy>().cloned();
        let after = balancer.forward(request(served_by)).await.unwrap();
        assert_ne!(before.headers()["name"], after.headers()["name"]);
    }
}

const ISSUE: &str = "/citycode.issuer.v1.IssuerService/Issue";

/// The result of a call that is tried at the first of two instances and then at the second: a name or a problem.
async fn offered(path: &str, first: &Server, second: &Server) -> Result<String, Problem> {
    let balancer = Balancer::over(&[first.address.clone(), second.address.clone()], None).unwrap();
    eventually("both are known", PATIENCE, || async {
        balancer.instances.load().len() == 2
    })
    .await;
    let mut request = http::Request::post(format!("http://x{path}"))
        .body(Body::empty())
        .unwrap();
    let last = ServedBy(second.address.as_str().into());
    request.extensions_mut().insert(last);
    let response = balancer.forward(request).await.unwrap();
    match Status::from_header_map(response.headers()) {
        Some(status) => Err(Problem::from(status)),
        None => Ok(response.headers()["name"].to_str().unwrap().to_owned()),
    }
}

fn say(problem: Problem) -> Behaviour {
    Behaviour::Say(problem.into())
}

#[tokio::test]
async fn an_unknown_outcome_is_not_hidden_by_the_refusal_of_another_instance() {
    let not_made = Problem::new(Code::Unavailable, "the change was not made");
    for may_have_done in [
        Behaviour::Break,
        say(Problem::change_unknown()),
        Behaviour::Say(Status::unavailable("a proxy lost it")),
    ] {
        let first = Server::start("first", may_have_done).await;
        for refusal in [
            Problem::new(Code::RateLimited, "too many"),
            Problem::new(Code::NotRegistered, "nobody"),
            Problem::new(Code::NotAllowed, "no"),
            Problem::internal(),
            not_made.clone(),
        ] {
            let second = Server::start("second", say(refusal.clone())).await;
            let act = offered(ISSUE, &first, &second).await;
            assert_eq!(act, Err(Problem::change_unknown()), "before {refusal}");
            let scan = offered(outcome::VERIFY, &first, &second).await.unwrap_err();
            assert!(scan.is_outcome_unknown() && scan.detail().contains("scan"), "{scan}");
            // A read-only call has no outcome to lose.
            assert_eq!(offered(READ_ONLY_METHODS[0], &first, &second).await, Err(refusal));
        }
        let done = Server::start("second", Behaviour::Answer).await;
        assert_eq!(offered(ISSUE, &first, &done).await.as_deref(), Ok("second"));
    }
    let both = [
        Server::start("first", Behaviour::Break).await,
        Server::start("second", Behaviour::Break).await,
    ];
    let act = offered(ISSUE, &both[0], &both[1]).await;
    assert_eq!(act, Err(Problem::change_unknown()));
}

#[tokio::test]
async fn a_change_that_was_not_made_does_not_hide_a_refusal() {
    let refusal = Problem::new(Code::NotRegistered, "nobody");
    let second = Server::start("second", say(refusal.clone())).await;
    let not_made = Problem::new(Code::Unavailable, "the change was not made");
    let first = Server::start("first", say(not_made)).await;
    assert_eq!(offered(ISSUE, &first, &second).await, Err(refusal.clone()));
    let mut gone = Server::start("gone", Behaviour::Answer).await;
    gone.stop.pull();
    (&mut gone.task).await.unwrap();
    assert_eq!(
        offered(ISSUE, &gone, &second).await,
        Err(refusal),
        "nobody took the connection"
    );
}

#[tokio::test]
async fn the_answer_of_one_instance_is_returned_if_the_next_is_not_reached() {
    let mut gone = Server::start("gone", Behaviour::Answer).await;
    gone.stop.pull();
    (&mut gone.task).await.unwrap();
    let not_made = Problem::new(Code::Unavailable, "this server's clock stepped back").with_retry_after(7);
    let first = Server::start("first", say(not_made.clone())).await;
    for path in [ISSUE, READ_ONLY_METHODS[0]] {
        assert_eq!(offered(path, &first, &gone).await, Err(not_made.clone()), "{path}");
    }
    // A read-only call has no outcome to lose if an instance disconnects.
    let unsure = Problem::outcome_unknown("the log does not answer");
    let first = Server::start("first", say(unsure.clone())).await;
    assert_eq!(offered(READ_ONLY_METHODS[0], &first, &gone).await, Err(unsure));
}

#[test]
fn every_read_only_method_is_listed() {
    let set: FileDescriptorSet = prost::Message::decode(FILE_DESCRIPTOR_SET).unwrap();
    // A change has a command id or scan id, so that it may be retried.
    let is_change = |input: &str| {
        let mut messages = set.file.iter().flat_map(|file| {
            let package = file.package();
            file.message_type.iter().map(move |message| (package, message))
        });
        let (_, message) = messages
            .find(|(package, message)| format!(".{package}.{}", message.name()) == input)
            .unwrap();
        message
            .field
            .iter()
            .any(|field| ["command_id", "scan_id"].contains(&field.name()))
    };
    let mut looking = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            let unary = service.method.iter().filter(|method| !method.client_streaming());
            for method in unary.filter(|method| !is_change(method.input_type())) {
                looking.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    assert_eq!(looking, READ_ONLY_METHODS.map(str::to_owned).into());
}

#[test]
fn every_method_with_a_stream_of_requests_is_listed() {
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
