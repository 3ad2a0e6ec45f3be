//! Commands about the log against a server that is not one: each ends with a sentence, and takes no more memory than an
//! answer may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use citycode_testkit::{Process, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::commands::talk;
use crate::server::{Server, binary};

/// Longest answer that a command takes, and what sockets buffer on the way.
const MUCH: usize = 96 << 20;
const DEADLINE: Duration = Duration::from_secs(120);

const ALL: [Answer; 6] = [
    Answer::Garbage,
    Answer::CutOff,
    Answer::WrongJson,
    Answer::Endless,
    Answer::EndlessLine,
    Answer::Failing,
];

#[derive(Clone, Copy, Debug)]
enum Answer {
    Garbage,
    CutOff,
    WrongJson,
    Endless,
    EndlessLine,
    Failing,
}

impl Answer {
    fn beginning(self) -> &'static [u8] {
        match self {
            Self::Garbage => b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\n\xff\xfe\0\0\n\n\n\n",
            Self::CutOff => b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 99\r\n\r\n{\"progress\":",
            Self::WrongJson => b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\n[[{}, null]\n",
            Self::Endless => b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
            Self::EndlessLine => b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"progress\":{\"commits\":1}}\n",
            Self::Failing => b"HTTP/1.1 500 No\r\nconnection: close\r\ncontent-length: 3\r\n\r\nno\n",
        }
    }
}

/// What a server has counted.
#[derive(Default)]
struct Counted {
    /// Requests.
    asked: AtomicUsize,
    /// Bytes that were taken of all answers.
    taken: AtomicUsize,
}

/// Answers every request in this way; returns the address and what is counted.
async fn serve(answer: Answer) -> (String, Arc<Counted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let counts = Arc::new(Counted::default());
    let counted = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            // A command that leaves ends the answer.
            tokio::spawn(async move { drop(reply(stream, answer, &counted).await) });
        }
    });
    (url, counts)
}

async fn reply(mut stream: TcpStream, answer: Answer, counted: &Counted) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    counted.asked.fetch_add(1, Ordering::SeqCst);
    stream.write_all(answer.beginning()).await?;
    if matches!(answer, Answer::Endless | Answer::EndlessLine) {
        let chunk = [b'7'; 64 << 10];
        loop {
            stream.write_all(&chunk).await?;
            counted.taken.fetch_add(chunk.len(), Ordering::SeqCst);
        }
    }
    stream.shutdown().await?;
    // What the command still sends is read, so that it receives the answer and no reset.
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_about_the_log_survive_a_server_that_is_not_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (proof, key) = (path("x.tlog-proof"), path("witness.key"));
    for answer in ALL {
        let (url, counted) = serve(answer).await;
        let log = format!("{url}/log");
        let prove = [
            "log",
            "prove",
            "--code-id",
            "00112233445566ff",
            "--event",
            "died",
            "--out",
            &proof,
            "--purpose",
            "court order 12",
            "--server",
            &url,
            "--token",
            "t",
        ];
        let commands: [&[&str]; 3] = [
            &["log", "check", "--server", &url, "--token", "t"],
            &prove,
            &["witness", "--log", &log, "--key", &key, "--listen", "127.0.0.1:0"],
        ];
        for command in commands {
            counted.taken.store(0, Ordering::SeqCst);
            let mut process = tokio::process::Command::new(binary());
            process.args(command);
            let ended = tokio::time::timeout(DEADLINE, Process::output(&mut process)).await;
            let ended = ended.expect("it ends").expect("it runs");
            let said = talk(&ended);
            assert!(!ended.status.success(), "{answer:?} {command:?}: {said}");
            assert!(
                said.starts_with("citycode: ") && said.trim().lines().count() == 1,
                "{answer:?}: {said}"
            );
            assert!(!said.contains("panicked"), "{answer:?} {command:?}: {said}");
            let taken = counted.taken.load(Ordering::SeqCst);
            assert!(taken < MUCH, "{answer:?} {command:?}: {taken} bytes");
        }
        assert!(
            !std::path::Path::new(&proof).exists(),
            "{answer:?}: no proof is written"
        );
    }
}

/// The value of a counter of the server.
async fn counter(server: &Server, name: &str) -> f64 {
    let metrics = server.get_text("/metrics").await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_city_publishes_its_log_whatever_its_witnesses_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut flags, mut witnesses) = (Vec::new(), Vec::new());
    for answer in ALL {
        let (url, counted) = serve(answer).await;
        flags.extend(["--witness".to_owned(), url]);
        witnesses.push(counted);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start_with_flags(&folder.path().join("data"), &flags).await;
    server.register("11010519491231002X").await;
    // None of these answers is a cosignature, so a witness that is asked again has failed before.
    eventually("every witness failed and is asked again", DEADLINE, || async {
        witnesses
            .iter()
            .all(|witness| witness.asked.load(Ordering::SeqCst) >= 2)
    })
    .await;
    let failures = counter(&server, "citycode_log_witness_failures_total").await;
    assert!(failures >= ALL.len() as f64, "{failures} failures were counted");
    eventually("the registration is in a checkpoint", DEADLINE, || async {
        counter(&server, "citycode_log_tree_leaves").await >= 1.0
    })
    .await;
    for partition in 0..16 {
        let checkpoint = server.get_text(&format!("/log/{partition:02}/checkpoint")).await;
        assert_eq!(
            checkpoint.lines().filter(|line| line.starts_with('—')).count(),
            1,
            "{checkpoint}"
        );
    }
    server.stop().await;
}
