//! `[witnessed_log]`: codes are admitted only if a witness has seen the log that this server follows (decision 45).

use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_testkit::{Running, eventually, eventually_some};
use serde_json::json;

use crate::folders::copy_folder;
use crate::server::{Server, binary};

const PERSON: &str = "11010519491231002X";
const DEADLINE: Duration = Duration::from_secs(60);
const OK: &str = "admit/ok";
const TOO_STALE: &str = "cannot_check/too_stale";

/// A server that has issued a code, and a witness of its log.
struct City {
    folder: tempfile::TempDir,
    data: PathBuf,
    witness: Running,
    vkey: String,
    /// The server's public keys.
    keys: PathBuf,
    code: String,
}

impl City {
    /// Both ran, and the server was stopped.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let server = Server::start(&data).await;
        server.register(PERSON).await;
        let code = issue(&server).await;
        let witness = witness_of(&server, folder.path()).await;
        let vkey = std::fs::read_to_string(folder.path().join("witness.state/vkey")).expect("a key");
        let keys = folder.path().join("log-keys");
        std::fs::write(&keys, server.get_text("/log/keys").await).expect("written");
        server.stop().await;
        Self {
            data,
            witness,
            vkey: vkey.trim().to_owned(),
            keys,
            code,
            folder,
        }
    }

    /// Starts the server with a demand for the witness on every code, and these lines in its configuration.
    async fn demanding(&self, before: &str, section: &str) -> Server {
        let config = self.folder.path().join("city.toml");
        let demand = format!(
            "{before}\n[witnessed_log]\ncodes_older_than_seconds = 0\nwitnesses = [{:?}]\n{section}\n",
            self.vkey
        );
        std::fs::write(&config, demand).expect("written");
        let config = config.display().to_string();
        Server::start_with_flags(&self.data, &["--config", &config]).await
    }
}

async fn witness_of(server: &Server, folder: &Path) -> Running {
    let log = format!("{}/log", server.process.url());
    let key = folder.join("witness.key").display().to_string();
    let words = ["witness", "--log", &log, "--key", &key, "--listen", "127.0.0.1:0"];
    Running::start(&binary(), &words, DEADLINE).await.expect("it starts")
}

/// Issues a code, which supersedes the person's last one.
async fn issue(server: &Server) -> String {
    let body = json!({ "kind": "sampling", "id_number": PERSON, "channel": "app" });
    let issued = server.post("issue", body).await;
    issued["token"].as_str().expect("a code").to_owned()
}

async fn decided(server: &Server, code: &str, decision: &str) {
    eventually(&format!("the decision {decision}"), DEADLINE, || async {
        server.decision(code).await == decision
    })
    .await;
}

/// A verdict for lack of a witness is recorded as such, and recomputed with it.
async fn explained(server: &Server, code: &str) {
    let scan = json!({ "place": "sampling_desk", "code": code, "device": "gate-7", "scan_id": "1" });
    server.post("verify", scan).await;
    let request = json!({ "roles": ["auditor"], "lifetime_seconds": 3_600, "subject": "auditor-1" });
    let token = server.post("tokens", request).await;
    let token = token["token"].as_str().expect("a token");
    let question = json!({ "purpose": "court order 12", "device": "gate-7", "scan_id": "1" });
    let answer = eventually_some("the record is written", DEADLINE, || async {
        let (status, answer) = server.call_by(token, "audit/explain", &question).await?;
        (status == 200).then_some(answer)
    });
    let answer = answer.await;
    let reasons = (&answer["recorded"]["reason"], &answer["recomputed"]["reason"]);
    assert_eq!(reasons, (&json!("too_stale"), &json!("too_stale")), "{answer}");
    assert_eq!(answer["agrees"], json!(true), "{answer}");
}

/// The value of a gauge.
async fn gauge(server: &Server, name: &str) -> Option<f64> {
    let metrics = server.get_text("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line?.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_admitted_once_a_witness_has_seen_the_log_and_not_before() {
    let city = City::new().await;
    let server = city.demanding("", "").await;
    assert_eq!(server.decision(&city.code).await, TOO_STALE, "nobody asks the witness");
    let unwitnessed = eventually_some("the report", DEADLINE, || async {
        gauge(&server, "citycode_verifier_unwitnessed_partitions").await
    });
    assert!(unwitnessed.await > 0.0);
    let health = server.get_text("/health/ready").await;
    assert!(health.contains("no witnessed checkpoint vouches for"), "{health}");
    explained(&server, &city.code).await;
    server.stop().await;

    let asked = format!("witnesses = [{:?}]", city.witness.url());
    let server = city.demanding(&asked, "").await;
    decided(&server, &city.code, OK).await;
    let second = issue(&server).await;
    decided(&server, &second, OK).await;
    server.stop().await;
    // The snapshot contains the trees, and nothing vouches for them at first.
    let server = city.demanding(&asked, "").await;
    decided(&server, &second, OK).await;
    eventually("every partition is covered", DEADLINE, || async {
        gauge(&server, "citycode_verifier_unwitnessed_partitions").await == Some(0.0)
    })
    .await;
    // Without the witness, what it has seen stays covered, and what is new is not.
    city.witness.sigkill();
    let third = issue(&server).await;
    assert_eq!(server.decision(&third).await, TOO_STALE);
    assert_eq!(server.decision(&second).await, "refuse/superseded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_that_a_witness_has_cosigned_is_an_alarm() {
    let city = City::new().await;
    let fork = city.folder.path().join("fork");
    copy_folder(&city.data, &fork);
    // The city publishes one log, and shows another one to a verifier.
    let shown = Server::start_with_flags(&fork, &["--witness", city.witness.url()]).await;
    let published = format!(
        "log = \"{}/log\"\nlog_keys = {:?}",
        shown.process.url(),
        city.keys.display().to_string()
    );
    let server = city.demanding("", &published).await;
    decided(&server, &city.code, OK).await;
    assert_eq!(gauge(&server, "citycode_verifier_forked_partitions").await, Some(0.0));
    for _ in 0..3 {
        issue(&shown).await;
    }
    let second = issue(&server).await;
    assert_eq!(server.decision(&second).await, TOO_STALE);
    eventually("the alarm", DEADLINE, || async {
        gauge(&server, "citycode_verifier_forked_partitions").await > Some(0.0)
    })
    .await;
    assert_eq!(server.decision(&second).await, TOO_STALE);
    assert_eq!(server.decision(&city.code).await, "refuse/superseded");
    let health = server.get_text("/health/ready").await;
    assert!(health.contains("WITNESSES HAVE COSIGNED ANOTHER LOG"), "{health}");
    let said = server.process.said();
    assert!(said.contains("ALARM: WITNESSES HAVE COSIGNED ANOTHER LOG"), "{said}");
    shown.stop().await;
    server.stop().await;
}
