//! The limits on clients of a server, over real sockets: each with a client that would exceed it, and with one that
//! must not be affected.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use citycode_auth::{AUDIENCE, AccessTokens, Authenticate, Grant, LocalAuthority, Role, TrustedKeys};
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_service_kit::serve::{Limits, Listener, app, with_fallbacks, with_reflection};
use citycode_service_kit::shutdown::{Signal, Trigger};
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::service::Routes;

const NOW: UnixSeconds = UnixSeconds(1_790_000_000);
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(3_600);

/// Limits that no test reaches unless it sets a lower one.
fn generous() -> Limits {
    Limits {
        grace: Duration::ZERO,
        request_head: LONG,
        body_stall: LONG,
        body: LONG,
        unread: LONG,
        anonymous_idle: LONG,
        idle: LONG,
        ..Limits::default()
    }
}

struct Server {
    address: SocketAddr,
    token: String,
    /// Number of calls that wait at `/wait`.
    waiting: Arc<AtomicUsize>,
    _trigger: Trigger,
}

impl Server {
    fn start(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = LocalAuthority::create_or_open(&folder.path().join("keys"), &SeededEntropy::new(1)).unwrap();
        let grant = Grant {
            subject: "tester",
            roles: &[Role::Admin],
            card_reader: false,
            local_only: false,
            lifetime_seconds: 3_600,
        };
        let token = authority.mint(&grant, AUDIENCE, NOW).unwrap().to_string();
        let keys = TrustedKeys::new().with_local(&authority).unwrap();
        let tokens = Arc::new(AccessTokens::new(AUDIENCE, keys));
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&waiting);
        let wait = move || {
            let counted = Arc::clone(&counted);
            async move {
                let _one = Counted::new(counted);
                std::future::pending::<()>().await;
            }
        };
        let routes = Router::new()
            .route("/here", get(async || "here"))
            .route("/wait", get(wait))
            .route("/large", get(async || Bytes::from(vec![b'x'; 1 << 20])))
            .route("/length", post(async |body: Bytes| body.len().to_string()))
            .route(
                "/echo",
                post(async |body: Body| Response::new(Body::from_stream(body.into_data_stream()))),
            )
            .layer(Authenticate::optional(tokens, Arc::new(ManualClock::at(NOW))));
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap().limited(limits);
        let address = listener.address();
        let (trigger, stop) = Signal::channel();
        let grpc = with_reflection(Routes::default(), &[]).unwrap();
        tokio::spawn(listener.serve(app(grpc, with_fallbacks(routes)), stop));
        Self {
            address,
            token,
            waiting,
            _trigger: trigger,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn http2(&self, window: u32) -> SendRequest<Bytes> {
        let mut client = h2::client::Builder::new();
        client.initial_window_size(window);
        let (sending, connection) = client.handshake(self.connect().await).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sending.ready().await.unwrap()
    }

    /// A connection on which one call was answered, made with or without the token.
    async fn asked(&self, with_token: bool) -> TcpStream {
        let mut stream = self.connect().await;
        self.ask(&mut stream, with_token).await.unwrap();
        stream
    }

    /// Sends a request and reads the answer, whose body is "here".
    async fn ask(&self, stream: &mut TcpStream, with_token: bool) -> std::io::Result<()> {
        let token = match with_token {
            true => format!("authorization: Bearer {}\r\n", self.token),
            false => String::new(),
        };
        let head = format!("GET /here HTTP/1.1\r\nhost: x\r\n{token}\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nhere") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        Ok(())
    }

    async fn until_waiting(&self, count: usize) {
        while self.waiting.load(Ordering::SeqCst) != count {
            tokio::task::yield_now().await;
        }
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Reads until the server ends the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(path: &str) -> Request<()> {
    Request::get(format!("http://x{path}")).body(()).unwrap()
}

fn sent(path: &str) -> Request<()> {
    Request::post(format!("http://x{path}")).body(()).unwrap()
}

#[tokio::test]
async fn a_client_that_sends_nothing_or_a_partial_head_is_disconnected() {
    let server = Server::start(Limits {
        request_head: SHORT,
        ..generous()
    });
    for said in ["", "G", "GET /here HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(said.as_bytes()).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "", "{said:?}");
    }
    // This also holds after a complete request.
    let mut stream = server.asked(true).await;
    stream.write_all(b"GET /he").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    // A connection without a partial head stays open.
    server.ask(&mut server.asked(false).await, false).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_without_a_token_is_closed_sooner() {
    let server = Server::start(Limits {
        anonymous_idle: SHORT,
        ..generous()
    });
    let mut known = server.asked(true).await;
    let mut stranger = server.asked(false).await;
    assert_eq!(read_to_end(&mut stranger).await, "");
    let mut silent = server.http2(65_535).await;
    while silent.clone().ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(silent.send_request(ask("/here"), true).is_err());
    server.ask(&mut known, true).await.unwrap();
}

#[tokio::test]
async fn the_oldest_anonymous_connection_is_evicted_and_one_with_a_token_stays() {
    let server = Server::start(Limits {
        anonymous_connections: 4,
        ..generous()
    });
    let mut known = server.asked(true).await;
    let mut first = server.connect().await;
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(server.connect().await);
    }
    assert_eq!(read_to_end(&mut first).await, "");
    server.ask(&mut known, true).await.unwrap();
    // A new anonymous client is served although others occupy connections.
    server.asked(false).await;
    server.asked(true).await;
}

#[tokio::test]
async fn an_address_has_a_limit_and_an_idle_connection_is_evicted_before_one_with_a_call() {
    let server = Server::start(Limits {
        anonymous_connections_per_address: 2,
        ..generous()
    });
    let mut waits = server.connect().await;
    waits.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.until_waiting(1).await;
    let mut idle = server.asked(false).await;
    let _third = server.asked(false).await;
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(server.waiting.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_burst_of_callers_behind_one_address_is_admitted() {
    let server = Server::start(Limits {
        anonymous_connections_per_address: 2,
        grace: LONG,
        ..generous()
    });
    let mut burst = Vec::new();
    for _ in 0..50 {
        burst.push(server.connect().await);
    }
    for stream in &mut burst {
        server.ask(stream, true).await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_has_no_limit_per_address_and_no_idle_timeout() {
    let server = Server::start(Limits {
        anonymous_connections_per_address: 1,
        anonymous_connections: 1,
        anonymous_idle: SHORT,
        idle: SHORT,
        peers: vec!["127.0.0.0/8".parse().unwrap()],
        ..generous()
    });
    let mut first = server.asked(false).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(server.asked(false).await);
    }
    // Several times as long as an anonymous connection may be idle.
    let elsewhere = Server::start(Limits {
        request_head: 3 * SHORT,
        ..generous()
    });
    read_to_end(&mut elsewhere.connect().await).await;
    server.ask(&mut first, false).await.unwrap();
}

#[tokio::test]
async fn an_incomplete_request_is_answered_and_dropped() {
    for limits in [
        Limits {
            body_stall: SHORT,
            ..generous()
        },
        Limits {
            body: SHORT,
            ..generous()
        },
    ] {
        let server = Server::start(limits);
        let mut stream = server.connect().await;
        let head = "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nconnection: close\r\n\r\nhalf";
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("invalid_request"), "{answer}");

        let mut sending = server.http2(65_535).await;
        let (answer, mut body) = sending.send_request(sent("/length"), false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        assert_eq!(answer.await.unwrap().status(), 408);

        let grpc = Request::post("http://x/length").header("content-type", "application/grpc");
        let (answer, _body) = sending.send_request(grpc.body(()).unwrap(), false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "3", "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn a_stream_may_pause_without_counting_as_an_incomplete_request() {
    let server = Server::start(Limits {
        body_stall: SHORT,
        body: SHORT,
        ..generous()
    });
    let mut sending = server.http2(65_535).await;
    let (answer, mut body) = sending.send_request(sent("/echo"), false).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    // Requests of others exceed the limit meanwhile.
    let (stalled, _kept) = sending.send_request(sent("/length"), false).unwrap();
    assert_eq!(stalled.await.unwrap().status(), 408);
    body.send_data(Bytes::from_static(b"a scan"), true).unwrap();
    assert_eq!(answer.data().await.unwrap().unwrap(), "a scan");
}

#[tokio::test]
async fn an_unread_answer_is_ended_and_the_connection_stays_open() {
    let server = Server::start(Limits {
        unread: SHORT,
        ..generous()
    });
    for window in [0, 1, 1_000] {
        let mut sending = server.http2(window).await;
        let (answer, _) = sending.send_request(ask("/large"), true).unwrap();
        let mut unread = answer.await.unwrap().into_body();
        // The flow-control window is never opened again.
        let ended = async {
            loop {
                match unread.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error,
                    None => panic!("the whole answer does not fit"),
                }
            }
        };
        let error = ended.await;
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "window {window}: {error}");
        let (answer, _) = sending.send_request(ask("/nothing"), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 404);
    }
    // Over HTTP/1 the whole connection is closed.
    let mut stream = server.connect().await;
    for _ in 0..64 {
        let _ = stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    }
    // Reading would consume the answers; a failed write shows the end as well.
    while stream.write_all(b"\r\n").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_oldest_call_without_a_token_is_evicted() {
    let server = Server::start(Limits {
        anonymous_calls: 3,
        ..generous()
    });
    let mut sending = server.http2(65_535).await;
    let mut calls = Vec::new();
    for count in 1..=3 {
        calls.push(sending.send_request(ask("/wait"), true).unwrap().0);
        server.until_waiting(count).await;
    }
    let with_token = Request::get("http://x/wait").header("authorization", format!("Bearer {}", server.token));
    let (known, _) = sending.send_request(with_token.body(()).unwrap(), true).unwrap();
    // It counts as a call without a token until its header is authenticated.
    let oldest = calls.remove(0).await.unwrap_err();
    assert_eq!(oldest.reason(), Some(h2::Reason::CANCEL), "{oldest}");
    server.until_waiting(3).await;
    for _ in 0..2 {
        calls.push(sending.send_request(ask("/wait"), true).unwrap().0);
    }
    let oldest = calls.remove(0).await.unwrap_err();
    assert_eq!(oldest.reason(), Some(h2::Reason::CANCEL), "{oldest}");
    server.until_waiting(4).await;
    drop(known);
}

/// A stream of server reflection, whose request is read by another task of the server; its answer has begun.
async fn reflection(sending: &mut SendRequest<Bytes>) -> (h2::RecvStream, h2::SendStream<Bytes>) {
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut request = sent(path);
    let kind = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", kind);
    let (response, sends) = sending.send_request(request, false).unwrap();
    (response.await.unwrap().into_body(), sends)
}

#[tokio::test]
async fn streams_that_another_task_reads_are_evicted_too() {
    let server = Server::start(Limits {
        anonymous_calls: 3,
        ..generous()
    });
    let mut sending = server.http2(65_535).await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        streams.push(reflection(&mut sending).await);
    }
    for (mut body, _sends) in streams.drain(..3) {
        let ended = body.data().await.unwrap().unwrap_err();
        assert_eq!(ended.reason(), Some(h2::Reason::CANCEL), "{ended}");
    }
    // The newest three stay open.
    let mut waiting = streams.iter_mut().map(|(body, _)| Box::pin(body.data()));
    let ended = tokio::time::timeout(SHORT, futures::future::select_all(&mut waiting)).await;
    assert!(ended.is_err(), "three are allowed");
}

#[tokio::test]
async fn a_stream_without_a_token_stays_within_its_limit_after_its_answer_has_begun() {
    let server = Server::start(Limits {
        anonymous_bytes_per_connection: 64 << 10,
        ..generous()
    });
    let mut sending = server.http2(65_535).await;
    let (mut body, mut sends) = reflection(&mut sending).await;
    // The head of a message of 1 MiB, and a part of it that exceeds the limit.
    let head = [0, 0, 16, 0, 0];
    sends.send_data(Bytes::copy_from_slice(&head), false).unwrap();
    for _ in 0..5 {
        sends.send_data(Bytes::from(vec![0; 16 << 10]), false).unwrap();
    }
    let ended = body.data().await;
    assert!(ended.is_none_or(|piece| piece.is_err()), "it ends");
}

#[tokio::test]
async fn bodies_and_answers_of_one_connection_stay_within_its_limit() {
    let server = Server::start(Limits {
        anonymous_bytes_per_connection: 64 << 10,
        bytes_per_connection: 3 << 20,
        ..generous()
    });
    let mut sending = server.http2(0).await;
    let (answer, _) = sending.send_request(ask("/large"), true).unwrap();
    assert_eq!(
        answer.await.unwrap().status(),
        503,
        "the limit of an anonymous connection is smaller than this answer"
    );
    let mut unread = Vec::new();
    let mut refused = 0;
    for _ in 0..5 {
        let ask = Request::get("http://x/large").header("authorization", format!("Bearer {}", server.token));
        let (answer, _) = sending.send_request(ask.body(()).unwrap(), true).unwrap();
        let answer = answer.await.unwrap();
        refused += usize::from(answer.status() == 503);
        unread.push(answer);
    }
    assert_eq!(refused, 2, "three answers of a megabyte fit");
    drop(unread);
    // Released bytes are available again.
    loop {
        let ask = Request::get("http://x/large").header("authorization", format!("Bearer {}", server.token));
        let (answer, _) = sending.send_request(ask.body(()).unwrap(), true).unwrap();
        if answer.await.unwrap().status() == 200 {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_the_server_pauses_and_resumes_when_some_are_free() {
    let metrics = citycode_service_kit::metrics_endpoint::install().unwrap();
    let failures = || {
        let text = metrics.render();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("citycode_server_accept_failures_total "));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let server = Server::start(generous());
    let mut known = server.asked(true).await;
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: Some(128),
            maximum: Some(128),
        },
    )
    .unwrap();
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    // The client's end uses the last descriptor; the server's end gets none.
    files.pop();
    let mut client = server.connect().await;
    while failures() < 3 {
        tokio::task::yield_now().await;
    }
    server.ask(&mut known, true).await.unwrap();
    assert!(failures() < 100, "it waits between attempts");
    drop(files);
    server.ask(&mut client, false).await.unwrap();
}
