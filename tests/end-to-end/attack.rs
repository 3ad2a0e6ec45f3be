//! Attacks on memory, connections and descriptors of a running `citycode up`, by clients without a token and with a
//! stolen one: its resource use stays bounded, other callers are served meanwhile, and the resources are released.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use citycode_testkit::{IdNumbers, eventually};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::server::Server;

const TODAY: jiff::civil::Date = jiff::civil::date(2026, 1, 1);
/// Time limit on a loaded machine with two cores.
const DEADLINE: Duration = Duration::from_secs(90);
/// The largest growth of the server's memory under an attack.
const MAX_GROWTH: u64 = 96 << 20;

impl Server {
    fn address(&self) -> SocketAddr {
        let url = self.process.url();
        url.trim_start_matches("http://").parse().expect("an address")
    }

    /// Resident memory in bytes (proc(5), VmRSS).
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.expect("it has memory").trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().expect("a number") << 10
    }

    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(folder).expect("it runs").count()
    }

    /// Checks that a caller with a token and a health probe without one are served.
    async fn serves(&self, person: u64) {
        self.register(&IdNumbers::new(person).aged(40, TODAY)).await;
        let ready = self.get_text("/health/ready").await;
        assert!(ready.contains("\"status\":\"ok\""), "{ready}");
    }

    /// Checks that the memory grew by no more than the limit.
    fn stays_small(&self, before: u64) {
        let added = self.memory().saturating_sub(before);
        eprintln!("the attack made it hold {} MB more", added >> 20);
        assert!(added < MAX_GROWTH, "the attack made it hold {} MB more", added >> 20);
    }

    async fn gets_descriptors_back(&self, before: usize) {
        eventually("the attackers' descriptors are free again", DEADLINE, async || {
            self.descriptors() <= before + 8
        })
        .await;
    }
}

/// An attacker's HTTP/2 connection with this window for streams.
async fn http2(address: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.expect("a connection");
    let mut client = h2::client::Builder::new();
    client.initial_window_size(window).max_send_buffer_size(8 << 20);
    let (sending, connection) = client.handshake(socket).await.expect("HTTP/2");
    tokio::spawn(async move { drop(connection.await) });
    sending
}

fn grpc(path: &str) -> Request<()> {
    Request::post(format!("http://city{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_calls_without_a_token_are_refused_from_their_heads() {
    const CALLS: usize = 250;
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data")).await;
    server.serves(1).await;
    let (memory, descriptors) = (server.memory(), server.descriptors());
    let mut sending = http2(server.address(), 65_535).await.ready().await.expect("it goes on");
    let mut calls = FuturesUnordered::new();
    for _ in 0..CALLS {
        sending = sending.ready().await.expect("it goes on");
        let path = "/citycode.issuer.v1.IssuerService/Register";
        let (answer, mut body) = sending.send_request(grpc(path), false).expect("sent");
        // A message of 4 MB less one byte.
        let mut message = vec![0, 0x00, 0x3f, 0xff, 0xf0];
        message.resize((4 << 20) - 1, b'x');
        calls.push(async move {
            body.reserve_capacity(message.len());
            let all_sent = async {
                body.send_data(message.into(), false)?;
                // The server enlarges the stream's window as it reads.
                while body.capacity() == 0 {
                    let more = futures::future::poll_fn(|context| body.poll_capacity(context)).await;
                    more.transpose()?;
                }
                Ok::<_, h2::Error>(())
            };
            let all_sent = async {
                // A refused stream accepts no more data and has its answer.
                if all_sent.await.is_err() {
                    futures::future::pending::<()>().await;
                }
            };
            tokio::select! {
                answer = answer => {
                    let answer = answer.expect("an answer");
                    answer.headers().get("grpc-status").cloned()
                }
                () = all_sent => None,
            }
        });
    }
    let mut refused = 0;
    while let Ok(Some(status)) = tokio::time::timeout(DEADLINE / 6, calls.next()).await {
        assert_eq!(status.expect("a refusal"), "16", "UNAUTHENTICATED");
        refused += 1;
    }
    server.stays_small(memory);
    assert_eq!(refused, CALLS);
    server.serves(2).await;
    drop((calls, sending));
    server.gets_descriptors_back(descriptors).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_health_watches_are_not_held() {
    const CONNECTIONS: usize = 80;
    const WATCHES: usize = 250;
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data")).await;
    server.serves(1).await;
    let (memory, descriptors) = (server.memory(), server.descriptors());
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut sending = http2(server.address(), 65_535).await;
        for _ in 0..WATCHES {
            // The server may close this connection to make room for others.
            let Ok(ready) = sending.clone().ready().await else {
                break;
            };
            sending = ready;
            let watch = grpc("/grpc.health.v1.Health/Watch");
            let Ok((answer, mut body)) = sending.send_request(watch, false) else {
                break;
            };
            let whole_server = Bytes::from_static(&[0, 0, 0, 0, 0]);
            if body.send_data(whole_server, true).is_ok() {
                held.push(tokio::spawn(async move {
                    let mut watched = answer.await?.into_body();
                    while let Some(status) = watched.data().await {
                        status?;
                    }
                    Ok::<_, h2::Error>(())
                }));
            }
        }
        held.push(tokio::spawn(async move {
            let _kept = sending;
            futures::future::pending().await
        }));
    }
    server.serves(2).await;
    server.stays_small(memory);
    let metrics = server.get_text("/metrics").await;
    assert!(
        !metrics.contains("citycode_server_calls_refused_total{reason=\"makes_room\"} 0\n"),
        "the oldest watches made room for others"
    );
    held.iter().for_each(tokio::task::JoinHandle::abort);
    server.gets_descriptors_back(descriptors).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_are_bounded_for_any_window() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data")).await;
    server.serves(1).await;
    let (memory, descriptors) = (server.memory(), server.descriptors());
    let mut held = Vec::new();
    for (window, path) in [
        (0, "/metrics"),
        (1, "/metrics"),
        (0, "/openapi.json"),
        (1, "/api/v1/policy"),
    ] {
        for _ in 0..5 {
            let mut sending = http2(server.address(), window).await;
            for _ in 0..100 {
                let Ok(ready) = sending.clone().ready().await else {
                    break;
                };
                sending = ready;
                let ask = Request::get(format!("http://city{path}")).body(()).expect("a request");
                if let Ok((answer, _)) = sending.send_request(ask, true) {
                    held.push((answer, sending.clone()));
                }
            }
        }
    }
    // All requests were processed once the last one has its headers or was refused.
    let (last, _) = held.last_mut().expect("there are some");
    let _ = tokio::time::timeout(DEADLINE, last)
        .await
        .expect("an answer begins, or is refused");
    server.serves(2).await;
    server.stays_small(memory);
    drop(held);
    server.gets_descriptors_back(descriptors).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_reads_no_answers_is_throttled_early() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data")).await;
    server.serves(1).await;
    let (memory, descriptors) = (server.memory(), server.descriptors());
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
        let head = format!(
            "POST /api/v1/verify/stream HTTP/1.1\r\nhost: city\r\nauthorization: Bearer {}\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
            server.token.trim()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        // Lines just within the limit, until the server accepts no more.
        let mut line = format!("{{\"place\":\"{}\",\"code\":\"A\"}}\n", "x".repeat(60 << 10));
        line = format!("{:x}\r\n{line}\r\n", line.len());
        for _ in 0..2_000 {
            let sent = tokio::time::timeout(Duration::from_secs(2), stream.write_all(line.as_bytes())).await;
            if !matches!(sent, Ok(Ok(()))) {
                break;
            }
        }
        held.push(stream);
    }
    server.stays_small(memory);
    server.serves(2).await;
    drop(held);
    server.gets_descriptors_back(descriptors).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_do_not_block_other_callers() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    // The default limit of descriptors of a shell.
    let words = ["prlimit", "--nofile=1024:1024", "--"].map(str::to_owned);
    let server = Server::start_by(&words, &data, &data.join("admin.token")).await;
    server.serves(1).await;
    let descriptors = server.descriptors();
    let mut silent = Vec::new();
    for host in 2..=12 {
        for said in ["", "GET /health", "PRI * HTTP/2.0\r\n"] {
            for _ in 0..40 {
                let socket = TcpSocket::new_v4().expect("a socket");
                // The connections come from eleven addresses.
                socket
                    .bind(([127, 0, 0, host], 0).into())
                    .expect("loopback is a network");
                let mut stream = socket.connect(server.address()).await.expect("a connection");
                let _ = stream.write_all(said.as_bytes()).await;
                silent.push(stream);
            }
        }
    }
    assert!(silent.len() > 1_024);
    server.serves(2).await;
    let metrics = server.get_text("/metrics").await;
    assert!(
        !metrics.contains("citycode_server_connections_closed_total{reason=\"makes_room\"} 0\n"),
        "the oldest made room"
    );
    assert!(
        server.process.said().contains("the oldest was closed for a new one"),
        "the log tells of it"
    );
    // The server closes the remaining idle connections.
    for stream in &mut silent {
        let mut rest = [0; 64];
        while matches!(stream.read(&mut rest).await, Ok(count) if count > 0) {}
    }
    server.gets_descriptors_back(descriptors).await;
    server.stop().await;
}
