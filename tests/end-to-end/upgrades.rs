//! A data folder of a release before audits: the first start of this release, under load and with `kill -9`, adds what
//! audits need, and the past before the upgrade can be asked about, proved and checked.
//!
//! `golden/before-audits.tar.gz` was made by `citycode up` of commit 36abbed: the folder `data` of a stopped system with
//! people, codes and scans, and `facts.json` with the answers that it gave. Its keys protect nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_testkit::{Process, eventually_some};
use serde_json::{Value, json};

use crate::commands::talk;
use crate::server::{Server, binary};

const PATIENCE: Duration = Duration::from_secs(60);
/// Acknowledged changes before the first start is killed.
const KILLED_AFTER: usize = 15;

struct Older {
    folder: tempfile::TempDir,
    facts: Value,
}

impl Older {
    async fn unpack() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/before-audits.tar.gz");
        let mut command = tokio::process::Command::new("tar");
        command.arg("-xzf").arg(archive).arg("-C").arg(folder.path());
        let unpacked = Process::output(&mut command).await.expect("tar runs");
        assert!(unpacked.status.success(), "{}", talk(&unpacked));
        let facts = std::fs::read(folder.path().join("facts.json")).expect("facts");
        let facts = serde_json::from_slice(&facts).expect("JSON");
        Self { folder, facts }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The paper code that was reported lost before the upgrade.
    fn code(&self, field: &str) -> &str {
        self.facts["lost"][field].as_str().expect("a text")
    }

    async fn citycode(&self, server: &Server, words: &[&str]) -> (i32, Value) {
        let mut command = tokio::process::Command::new(binary());
        command
            .args(words)
            .args(["--output", "json", "--server", server.process.url()]);
        command.arg("--token-file").arg(self.data().join("admin.token"));
        let ended = Process::output(&mut command).await.expect("it runs");
        let answer = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{words:?}: {}", talk(&ended)));
        (ended.status.code().expect("an exit code"), answer)
    }
}

/// Issues codes for the people of the older folder and scans them, until so many changes are acknowledged.
async fn load(server: &Server, people: &[Value], round: usize) -> usize {
    let mut acknowledged = 0;
    for (number, person) in people.iter().cycle().take(KILLED_AFTER).enumerate() {
        let order = json!({ "id_number": person, "kind": "offline", "channel": "kiosk" });
        let issued = server.post("issue", order).await;
        let scan = json!({
            "place": "staffed", "device": "gate-7", "scan_id": format!("{round}-{number}"), "code": issued["token"]
        });
        let verdict = server.post("verify", scan).await;
        assert_eq!(verdict["reason"], "id_check_required", "{verdict}");
        acknowledged += 1;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_from_before_audits_is_upgraded_under_load_and_its_past_is_audited() {
    let older = Older::unpack().await;
    let people = older.facts["people"].as_array().expect("a list").clone();
    let server = Server::start(&older.data()).await;
    assert_eq!(load(&server, &people, 1).await, KILLED_AFTER);
    server.process.kill_9().await;
    let server = Server::start(&older.data()).await;
    assert_eq!(load(&server, &people, 2).await, KILLED_AFTER);

    let (code_id, then) = (older.code("code_id"), older.code("issued_at"));
    let purpose = ["--purpose", "complaint 17"];
    let history = [&["history", "--code-id", code_id, "--as-of", then], &purpose[..]].concat();
    let (_, history) = older.citycode(&server, &history).await;
    let entries = history["entries"].as_array().expect("a list");
    assert_eq!(
        (entries.len(), &entries[0]["event"]),
        (1, &json!("CodeIssued")),
        "{history}"
    );
    let at = [
        "verify",
        "--place",
        "staffed",
        "--code",
        older.code("token"),
        "--at",
        then,
    ];
    let (_, verdict) = older.citycode(&server, &at).await;
    assert_eq!(verdict["reason"], "id_check_required", "{verdict}");

    let (exit, checked) = older.citycode(&server, &["log", "check"]).await;
    assert_eq!((exit, &checked["whole"]), (0, &json!(true)), "{checked}");
    let proof = older.folder.path().join("died.tlog-proof").display().to_string();
    let prove = ["log", "prove", "--code-id", code_id, "--event", "died", "--out", &proof];
    assert_eq!(older.citycode(&server, &[&prove, &purpose[..]].concat()).await.0, 0);
    let keys = server.get_text("/log/keys").await;
    let mut verify = vec!["log", "verify", &proof];
    keys.lines().for_each(|key| verify.extend(["--key", key]));
    let (exit, said) = older.citycode(&server, &verify).await;
    assert_eq!((exit, &said["code_id"]), (0, &json!(code_id)), "{said}");

    // Scans of the older release have no basis; those since the upgrade are recomputed.
    let tomorrow = SystemClock::new().now().0 + 24 * 3_600;
    let to = jiff::Timestamp::from_second(tomorrow)
        .expect("a time of this century")
        .to_string();
    let audit = ["audit", "run", "--from", then, "--to", &to];
    let result = eventually_some("the scans since the upgrade are recorded", PATIENCE, || async {
        let (exit, result) = older.citycode(&server, &[&audit, &purpose[..]].concat()).await;
        assert_eq!(exit, 0, "{result}");
        (result["agree"].as_u64() >= Some(KILLED_AFTER as u64)).then_some(result)
    })
    .await;
    assert_eq!(result["recomputed"], result["agree"], "{result}");
    assert_eq!(
        (&result["missing"], &result["extra"]),
        (&json!(0), &json!(0)),
        "{result}"
    );
    server.stop().await;
}
