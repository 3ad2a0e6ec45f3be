//! `kill -9` under load, while the log's trees are written, the audit index follows, an audit runs and an export is
//! written: whatever was interrupted continues, and has the same result as if nothing had happened.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_testkit::{Draw, IdNumbers, Process, eventually};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::commands::talk;
use crate::server::{Server, binary};

/// Times that the server is killed.
const ROUNDS: usize = 6;
const PEOPLE: usize = 12;
const PATIENCE: Duration = Duration::from_secs(60);

/// People and their codes; the period of the audits.
struct Town {
    folder: tempfile::TempDir,
    people: Vec<String>,
    from: String,
    to: String,
}

impl Town {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a command of the auditor on the whole period.
    async fn command(&self, url: &str, words: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(binary());
        command.args(words).args(["--server", url, "--token-file"]);
        command.arg(self.data().join("admin.token"));
        Process::output(&mut command).await.expect("it runs")
    }

    async fn audit(&self, url: &str, out: &str) -> Output {
        let purpose = ["--purpose", "monthly audit"];
        let period = ["audit", "run", "--from", &self.from, "--to", &self.to, "--out", out];
        self.command(url, &[&period[..], &purpose].concat()).await
    }

    async fn export(&self, url: &str, out: &str) -> Output {
        let purpose = ["--purpose", "monthly audit", "--format", "csv"];
        let period = ["export", "--from", &self.from, "--to", &self.to, "--out", out];
        self.command(url, &[&period[..], &purpose].concat()).await
    }

    fn result(&self, out: &str) -> Value {
        serde_json::from_slice(&std::fs::read(out).expect("a result")).expect("JSON")
    }
}

/// Issues codes and scans them until the server is gone; counts what was acknowledged.
async fn load(url: String, token: String, people: Vec<String>, acknowledged: Arc<AtomicUsize>) {
    let http = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let sent = http
            .post(format!("{url}/api/v1/{path}"))
            .bearer_auth(&token)
            .json(&body);
        let answer = sent.send().await.ok()?;
        let status = answer.status();
        let answer = answer.json::<Value>().await.ok()?;
        // A server that stops may still answer.
        assert!(status.is_success() || status.is_server_error(), "{path}: {answer}");
        status.is_success().then_some(answer)
    };
    for number in 0.. {
        let person = &people[number % people.len()];
        let order = json!({ "id_number": person, "kind": "offline", "channel": "kiosk" });
        let Some(issued) = post("issue", order).await else {
            return;
        };
        let scan = json!({
            "place": "staffed", "device": "gate-7", "scan_id": format!("{url} {number}"), "code": issued["token"]
        });
        if post("verify", scan).await.is_none() {
            return;
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// Starts the server and the load, and kills the server after some acknowledged scans while both commands run.
async fn interrupted(town: &Town, scans: usize) {
    let server = Server::start(&town.data()).await;
    let url = server.process.url().to_owned();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let loading = tokio::spawn(load(
        url.clone(),
        server.token.clone(),
        town.people.clone(),
        Arc::clone(&acknowledged),
    ));
    let (report, rows) = (town.path("interrupted.json"), town.path("interrupted"));
    let killed = async {
        eventually("the load goes on", PATIENCE, || async {
            acknowledged.load(Ordering::SeqCst) >= scans
        })
        .await;
        server.process.kill_9().await;
    };
    // Each may have ended before the kill, or be interrupted by it.
    let _ = tokio::join!(town.audit(&url, &report), town.export(&url, &rows), killed);
    loading.await.expect("the load ends");
    assert!(!Path::new(&format!("{rows}.partial")).exists());
    let _ = std::fs::remove_dir_all(&rows);
    let _ = std::fs::remove_file(&report);
}

/// The result of two successive audits, once every recorded batch has its digest.
async fn settled(town: &Town, url: &str) -> Value {
    let (out, last) = (town.path("settled.json"), Mutex::new(Value::Null));
    eventually("two audits have the same result", 3 * PATIENCE, || async {
        let ended = town.audit(url, &out).await;
        assert_eq!(ended.status.code(), Some(0), "{}", talk(&ended));
        let result = town.result(&out);
        std::mem::replace(&mut *last.lock(), result.clone()) == result
    })
    .await;
    last.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_during_audits_exports_and_publishing_changes_no_result() {
    let mut numbers = IdNumbers::new(77);
    let today = jiff::Timestamp::from_second(SystemClock::new().now().0).expect("a time of this century");
    let town = Town {
        folder: tempfile::tempdir().expect("a folder"),
        people: (0..PEOPLE)
            .map(|_| numbers.aged(70, jiff::civil::date(2026, 1, 1)))
            .collect(),
        from: (today - jiff::SignedDuration::from_hours(48)).to_string(),
        to: (today + jiff::SignedDuration::from_hours(48)).to_string(),
    };
    let server = Server::start(&town.data()).await;
    for person in &town.people {
        server.register(person).await;
    }
    server.stop().await;
    let mut draw = Draw::new(78);
    for _ in 0..ROUNDS {
        interrupted(&town, 1 + usize::from(draw.bytes::<1>()[0]) % 40).await;
    }

    let server = Server::start(&town.data()).await;
    let url = server.process.url().to_owned();
    let result = settled(&town, &url).await;
    assert_eq!(result["scans"], result["agree"], "{result}");
    assert!(result["scans"].as_u64() >= Some(ROUNDS as u64), "{result}");
    for name in ["differ_total", "missing", "extra", "log_faults_total"] {
        assert_eq!(result[name], 0, "{name}: {result}");
    }
    // The trees, the index and the stream of queries agree with the log.
    let checked = town.command(&url, &["log", "check", "--output", "json"]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", talk(&checked));
    let first = town.path("first");
    let ended = town.export(&url, &first).await;
    assert_eq!(ended.status.code(), Some(0), "{}", talk(&ended));

    // An index and trees that are made anew from the log lead to the same answers.
    server.process.kill_9().await;
    for derived in [
        "audit",
        "log-trees/00/tile",
        "log-trees/00/state",
        "log-trees/00/places",
    ] {
        let path = town.data().join(derived);
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        match removed {
            // On a fast machine the tree has not filled its first tile.
            Err(error) if error.kind() == ErrorKind::NotFound && derived.ends_with("tile") => {}
            removed => removed.unwrap_or_else(|error| panic!("{derived}: {error}")),
        }
    }
    let server = Server::start(&town.data()).await;
    let url = server.process.url().to_owned();
    let (report, second) = (town.path("again.json"), town.path("second"));
    let ended = town.audit(&url, &report).await;
    assert_eq!(ended.status.code(), Some(0), "{}", talk(&ended));
    assert_eq!(town.result(&report), result);
    let ended = town.export(&url, &second).await;
    assert_eq!(ended.status.code(), Some(0), "{}", talk(&ended));
    let rows = |name: &str| std::fs::read(Path::new(&town.path(name)).join("verdicts.csv")).expect("rows");
    assert_eq!(rows("second"), rows("first"));
    let checked = town.command(&url, &["log", "check", "--output", "json"]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", talk(&checked));
    server.stop().await;
}
