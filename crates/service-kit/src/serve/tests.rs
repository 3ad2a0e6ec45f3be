use std::sync::Arc;

use axum::routing::{get, post};
use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt as _;

use super::*;
use crate::health::HealthRegistry;
use crate::problem::{Code, JsonBody, Problem};
use crate::shutdown::{Signal, Trigger};

/// Binds a free port, serves, and gives address, trigger and the server's task.
fn start(router: Router, drain: Duration) -> (SocketAddr, Trigger, tokio::task::JoinHandle<()>) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    // Memory for answers that stay unread.
    let listener = listener.limited(Limits {
        anonymous_bytes: usize::MAX,
        anonymous_bytes_per_connection: usize::MAX,
        ..Limits::default()
    });
    let address = listener.address();
    let (trigger, stop) = Signal::channel();
    let task = tokio::spawn(listener.serve_draining(router, stop, drain));
    (address, trigger, task)
}

async fn http1(address: SocketAddr, path: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn one_port_serves_grpc_with_reflection_and_http_and_ends_when_asked() {
    let health = HealthRegistry::new();
    health.component("x").ready();
    let (health_trigger, health_stop) = Signal::channel();
    let (server, follow) = health.grpc(&[], health_stop);
    let following = tokio::spawn(follow);
    let grpc = with_reflection(Routes::new(server), &[]).unwrap();
    let (address, trigger, task) = start(app(grpc, with_fallbacks(health.routes())), DRAIN);

    let answer = http1(address, "/health/ready").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = http1(address, "/nothing").await;
    assert!(
        answer.starts_with("HTTP/1.1 404") && answer.contains("not_found"),
        "{answer}"
    );

    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = HealthClient::new(channel.clone());
    let status = client
        .check(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner()
        .status;
    assert_eq!(status, 1);
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let listing = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(listing.contains("grpc.health.v1.Health"), "{listing}");

    let error = HealthClient::with_origin(channel, "http://x/wrong".parse().unwrap())
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unimplemented);

    drop((client, answers));
    trigger.pull();
    health_trigger.pull();
    task.await.unwrap();
    following.await.unwrap();
    tokio::net::TcpStream::connect(address)
        .await
        .expect_err("the port is closed");
}

async fn http1_post(address: SocketAddr, path: &str, head: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n{head}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_change_without_memory_for_its_answer_has_an_unknown_outcome() {
    let large = || async { "x".repeat(100_000) };
    let refuses = || async { Problem::new(Code::OnHold, "y".repeat(100_000)) };
    let router = Router::new()
        .route("/api/v1/issue", post(large))
        .route("/api/v1/codes", post(large))
        .route("/api/v1/revoke", post(refuses));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = listener.limited(Limits {
        anonymous_bytes_per_connection: 50_000,
        ..Limits::default()
    });
    let address = listener.address();
    let (trigger, stop) = Signal::channel();
    let task = tokio::spawn(listener.serve_draining(router, stop, DRAIN));

    let done = http1_post(address, "/api/v1/issue", "").await;
    assert!(
        done.starts_with("HTTP/1.1 503") && done.contains("retry-after: 1"),
        "{done}"
    );
    assert!(done.contains(r#""outcome":"unknown""#), "{done}");
    assert!(!done.contains("nothing was done"), "{done}");
    let asked = http1_post(address, "/api/v1/codes", "").await;
    assert!(
        asked.starts_with("HTTP/1.1 503") && !asked.contains("outcome"),
        "{asked}"
    );
    let refused = http1_post(address, "/api/v1/revoke", "").await;
    assert!(
        refused.contains("on_hold") && refused.contains("yyyy"),
        "a refusal stays"
    );
    trigger.pull();
    task.await.unwrap();
}

#[tokio::test]
async fn a_grpc_timeout_header_does_not_end_a_call_of_the_json_api() {
    let slow = || async {
        tokio::task::yield_now().await;
        "done"
    };
    let (address, trigger, task) = start(Router::new().route("/api/v1/issue", post(slow)), DRAIN);
    let answer = http1_post(address, "/api/v1/issue", "grpc-timeout: 0S\r\n").await;
    assert!(answer.ends_with("done"), "{answer}");
    trigger.pull();
    task.await.unwrap();
}

/// A route that notifies `entered` for each call and answers after `go_on` is notified.
fn slow(entered: &Arc<Notify>, go_on: &Arc<Notify>) -> Router {
    let (entered, go_on) = (entered.clone(), go_on.clone());
    Router::new().route(
        "/slow",
        get(move || async move {
            entered.notify_one();
            go_on.notified().await;
            "done"
        }),
    )
}

#[tokio::test]
async fn a_call_in_flight_is_answered_after_the_signal() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (address, trigger, task) = start(app(Routes::default(), slow(&entered, &go_on)), DRAIN);
    let call = tokio::spawn(http1_owned(address));
    entered.notified().await;
    trigger.pull();
    // The listener is closed at once, while the call continues.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
    go_on.notify_one();
    assert!(call.await.unwrap().ends_with("done"));
    task.await.unwrap();
}

async fn http1_owned(address: SocketAddr) -> String {
    http1(address, "/slow").await
}

#[tokio::test]
async fn a_call_that_never_ends_is_aborted_after_the_drain() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (address, trigger, task) = start(app(Routes::default(), slow(&entered, &go_on)), Duration::from_millis(1));
    let _call = tokio::spawn(http1_owned(address));
    entered.notified().await;
    trigger.pull();
    task.await.unwrap();
}

#[tokio::test]
async fn the_error_for_a_port_in_use_names_its_address() {
    let first = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let error = Listener::bind(first.address()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", first.address()));
}

#[tokio::test]
async fn a_50_mb_body_and_broken_json_are_problems() {
    let route = post(|JsonBody(value): JsonBody<u8>| async move { value.to_string() });
    // As in the wiring of a service: fallbacks wrap one part of the routes, and others are merged afterwards.
    let late = Router::new().route("/late", get(async || "late"));
    let http = with_fallbacks(Router::new().route("/n", route)).merge(late);
    let app = app(Routes::default(), http);
    let ask_at = async |path: &str, method: &str, kind: &str, body: Vec<u8>| {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let response = app
            .clone()
            .oneshot(request.body(Body::from(body)).unwrap())
            .await
            .unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let ask = async |method, kind, body| ask_at("/n", method, kind, body).await;
    assert_eq!(ask("POST", "application/json", b"7".to_vec()).await, (200, "7".into()));
    let (status, body) = ask("POST", "application/json", vec![b' '; 50 << 20]).await;
    assert!(status == 413 && body.contains("too_large"), "{status} {body}");
    for (kind, body) in [
        ("application/json", "7 8"),
        ("application/json", "\"张三\""),
        ("text/plain", "7"),
        ("application/json", ""),
    ] {
        let (status, answer) = ask("POST", kind, body.into()).await;
        assert!(status == 400 && answer.contains("invalid_request"), "{status} {answer}");
        assert!(!answer.contains("张三"), "what was sent is not repeated");
    }
    assert_eq!(ask("DELETE", "application/json", vec![]).await.0, 405);
    let (status, answer) = ask_at("/late", "DELETE", "application/json", vec![]).await;
    assert!(status == 405 && answer.contains("invalid_request"), "{status} {answer}");
}

mod stopping;

/// GET / on many HTTP/2 streams in one write: how many were answered and how many reset.
async fn many_streams(address: SocketAddr, streams: u32) -> std::io::Result<(usize, usize)> {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Empty settings (RFC 9113 §6.5).
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // :method GET, :scheme http, :path /, :authority x (RFC 7541, static table).
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
    for stream in 0..streams {
        // END_STREAM and END_HEADERS.
        bytes.extend([0, 0, head.len() as u8, HEADERS, 0x05]);
        bytes.extend((2 * stream + 1).to_be_bytes());
        bytes.extend(head);
    }
    socket.write_all(&bytes).await?;
    let (mut answered, mut reset) = (0, 0);
    while answered + reset < streams as usize {
        let mut frame = [0; 9];
        socket.read_exact(&mut frame).await?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).await?;
        match frame[3] {
            HEADERS => answered += 1,
            RST_STREAM => reset += 1,
            _ => {}
        }
    }
    Ok((answered, reset))
}

#[tokio::test]
async fn streams_without_a_token_beyond_the_backlog_are_reset_and_lock_out_no_other_client() {
    let router = Router::new().route("/", get(|| async { "" }));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = listener.limited(Limits {
        anonymous_calls: 8,
        ..Limits::default()
    });
    let address = listener.address();
    let (trigger, stop) = Signal::channel();
    let task = tokio::spawn(listener.serve_draining(router, stop, DRAIN));
    // On one thread the connection reads them all before the first task runs.
    let (answered, reset) = many_streams(address, 200).await.unwrap();
    assert!(answered >= 8, "{answered} answered, {reset} reset");
    assert!(reset >= 100, "{answered} answered, {reset} reset");
    // A client that continues loses the connection.
    let again = many_streams(address, 2_000);
    let ended = tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
    assert!(ended.is_err(), "{ended:?}");
    // The backlog is empty again.
    assert_eq!(many_streams(address, 1).await.unwrap(), (1, 0));
    assert!(http1(address, "/").await.starts_with("HTTP/1.1 200"));
    trigger.pull();
    task.await.unwrap();
}
