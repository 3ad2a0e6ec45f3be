//! A city's log is copied to a real NATS server and back to a new folder by `citycode migrate`; the city continues
//! there.

use std::path::Path;

use citycode_testkit::{IdNumbers, NatsServer, Process};
use serde_json::{Value, json};

use crate::folders::{copy_folder, private_folder};
use crate::server::{Server, binary};

async fn migrate(args: &[&str]) -> std::process::Output {
    let mut command = tokio::process::Command::new(binary());
    command.arg("migrate").args(args).args(["--output", "json"]);
    Process::output(&mut command).await.expect("it runs")
}

async fn moved(args: &[&str]) -> Value {
    let run = migrate(args).await;
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_copied_to_a_server_and_back_and_its_codes_stay_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let (from, to) = (here.display().to_string(), there.display().to_string());
    let server = Server::start(&here).await;
    let person = IdNumbers::new(31).aged(40, jiff::civil::date(2026, 1, 1));
    server.register(&person).await;
    let issue = json!({ "kind": "sampling", "id_number": person, "channel": "app" });
    let old = server.post("issue", issue.clone()).await;
    let code = server.post("issue", issue.clone()).await;

    let nats = NatsServer::start().await;
    let (url, monitor) = (nats.url(), nats.monitor_url());
    let onto = ["--from", &from, "--to", &url, "--replicas", "1", "--monitor", &monitor];
    let refused = migrate(&onto).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("in use"),
        "the log is in use: {said}"
    );
    server.stop().await;

    let unproven = migrate(&["--from", &from, "--to", &url, "--replicas", "1"]).await;
    let said = String::from_utf8_lossy(&unproven.stderr).into_owned();
    assert!(!unproven.status.success() && said.contains("monitoring"), "{said}");
    let first = moved(&onto).await;
    assert!(first["commits"].as_u64() >= Some(4), "{first}");
    assert_eq!(first["copied"], first["commits"]);
    assert_eq!(moved(&onto).await["copied"], 0, "a repetition copies nothing");

    private_folder(&there);
    for part in ["keys", "vault", "scans"] {
        copy_folder(&here.join(part), &there.join(part));
    }
    let log = there.join("log").display().to_string();
    let back = moved(&["--from", &url, "--to", &log, "--replicas", "1", "--monitor", &monitor]).await;
    assert_eq!(
        (&back["commits"], &back["log_id"]),
        (&first["commits"], &first["log_id"])
    );

    let moved_city = Server::start(Path::new(&to)).await;
    let decision = |code: &Value| code["token"].as_str().expect("a token").to_owned();
    assert_eq!(moved_city.decision(&decision(&code)).await, "admit/ok");
    assert_eq!(moved_city.decision(&decision(&old)).await, "refuse/superseded");
    let next = moved_city.post("issue", issue).await;
    assert_eq!(next["supersedes"], code["code_id"]);
}
