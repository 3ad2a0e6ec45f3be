//! A process that starts while the previous one still ends, and one that is stopped while clients are idle.

use std::process::Stdio;
use std::time::Duration;

use citycode_testkit::{Process, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::server::{Server, binary};

const ROUNDS: usize = 10;
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_system_can_be_restarted_immediately() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::start(&data).await;
    for _ in 0..ROUNDS {
        // Like a supervisor: the kernel may still be cleaning up the killed process.
        server.process.sigkill();
        let next = Server::start(&data).await;
        server = next;
    }
    server.register("11010519491231002X").await;
    server.stop().await;
}

/// Starts `up` on this folder and waits until it reports that it waits; returns its later output.
async fn waiting(data: &std::path::Path) -> (Process, tokio::io::Lines<BufReader<tokio::process::ChildStderr>>) {
    let mut command = tokio::process::Command::new(binary());
    command
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Process::start(&mut command).expect("it starts");
    let mut said = BufReader::new(process.stderr()).lines();
    loop {
        let line = said.next_line().await.expect("it speaks").expect("it goes on");
        if line.contains("in use by another process: waiting") {
            return (process, said);
        }
    }
}

#[tokio::test]
async fn a_start_waits_for_a_folder_in_use_and_then_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data).await;
    let (mut refused, mut said) = waiting(&data).await;
    let mut last = String::new();
    while let Some(line) = said.next_line().await.expect("it speaks") {
        assert!(!line.contains("waiting"), "it is said once: {line}");
        last = line;
    }
    assert_eq!(refused.wait().await.code(), Some(1), "{last}");
    let named = format!("the folder {} is in use by another process", data.display());
    assert!(last.contains(&named) && last.contains("use another folder"), "{last}");
    // A waiting process takes the folder as soon as the other one has ended. It waits for 10 s only, and on a busy machine
    // an orderly end may take longer.
    let (mut next, _said) = waiting(&data).await;
    server.process.kill_9().await;
    let mut ready = String::new();
    let read = BufReader::new(next.stdout()).read_line(&mut ready).await;
    read.expect("it speaks");
    assert!(ready.starts_with("ready http://"), "{ready}");
}

#[tokio::test]
async fn idle_connections_do_not_delay_a_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data")).await;
    let address = server.process.url().trim_start_matches("http://").to_owned();
    let mut half = tokio::net::TcpStream::connect(&address).await.expect("it listens");
    let sent = half
        .write_all(b"POST /api/v1/verify HTTP/1.1\r\nhost: x\r\nx-more: ")
        .await;
    sent.expect("half a header");
    let head = format!(
        "POST /api/v1/verify/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{{}}\n\r\n",
        server.token.trim()
    );
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("it listens");
    stream.write_all(head.as_bytes()).await.expect("a stream begins");
    let mut answered = [0; 12];
    stream.read_exact(&mut answered).await.expect("an answer");
    assert_eq!(&answered, b"HTTP/1.1 200");
    let process = server.process;
    process.sigterm();
    // A server that has to abort calls after the drain period logs it.
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest).await;
    eventually("it is gone", DEADLINE, || async {
        tokio::net::TcpStream::connect(&address).await.is_err()
    })
    .await;
    let (status, said) = process.ended(DEADLINE).await;
    assert!(status.success(), "{status}");
    assert!(said.contains("stopping") && !said.contains("were aborted"), "{said}");
}
