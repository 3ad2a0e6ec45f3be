//! The public trees of the log: proofs for somebody without access, the check of the log, and a witness.

use std::path::Path;
use std::process::Output;

use citycode_testkit::{Process, Running, eventually_some};
use serde_json::{Value, json};

use crate::server::{Server, binary};

const PERSON: &str = "11010519491231002X";
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs a command against the server as its admin.
async fn citycode(server: &Server, data: &Path, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary());
    command
        .args(args)
        .args(["--server", server.process.url(), "--output", "json", "--token-file"]);
    command.arg(data.join("admin.token"));
    Process::output(&mut command).await.expect("it runs")
}

fn answer(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Registers a person and issues a paper code that is reported lost; returns its id.
async fn lost_code(server: &Server) -> String {
    server.register(PERSON).await;
    let body = json!({ "kind": "offline", "id_number": PERSON, "channel": "kiosk" });
    let issued = server.post("issue", body.clone()).await;
    server.post("report-loss", body).await;
    issued["code_id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_birth_and_a_death_are_proved_offline_and_the_log_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data).await;
    let code_id = lost_code(&server).await;
    let keys = server.get_text("/log/keys").await;
    let partitions = keys.lines().count();
    assert_eq!(partitions, 16);

    let checked = citycode(&server, &data, &["log", "check"]).await;
    assert_eq!(checked.status.code(), Some(0), "{:?}", answer(&checked));
    let result = answer(&checked);
    assert_eq!((&result["whole"], &result["faults"]), (&json!(true), &json!([])));
    assert_eq!(result["checkpoints"].as_array().map(Vec::len), Some(partitions));

    for event in ["issued", "died"] {
        proved_and_verified(&server, &data, &code_id, event, &keys).await;
    }
    let missing = [
        "log",
        "prove",
        "--code-id",
        "00112233445566ff",
        "--event",
        "died",
        "--purpose",
        "court order 12",
    ];
    let out = folder.path().join("none").display().to_string();
    let none = citycode(&server, &data, &[&missing[..], &["--out", &out]].concat()).await;
    assert_eq!(none.status.code(), Some(4), "{}", String::from_utf8_lossy(&none.stderr));
    let bundle = server.get_text("/log/00/tile/entries/000").await;
    assert!(bundle.contains("not_found"), "{bundle}");
    server.stop().await;
}

/// Writes a proof of the event, which holds under the log's keys and under no others, and not with a changed byte.
async fn proved_and_verified(server: &Server, data: &Path, code_id: &str, event: &str, keys: &str) {
    let file = data.join(format!("{event}.tlog-proof"));
    let out = file.to_str().expect("a path");
    let args = [
        "log",
        "prove",
        "--code-id",
        code_id,
        "--event",
        event,
        "--out",
        out,
        "--purpose",
        "court order 12",
    ];
    let proved = citycode(server, data, &args).await;
    assert_eq!(
        proved.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&proved.stderr)
    );
    let text = std::fs::read_to_string(&file).expect("a proof");
    assert!(!text.contains(PERSON));
    let mut with_keys = vec!["log", "verify", out];
    keys.lines().for_each(|key| with_keys.extend(["--key", key]));
    let verified = citycode(server, data, &with_keys).await;
    let said = answer(&verified);
    assert_eq!(verified.status.code(), Some(0), "{said}");
    assert_eq!(
        (&said["code_id"], &said["statement"]["event"]),
        (&json!(code_id), &json!(event))
    );
    assert_eq!(said["witnessed"], json!(false));
    assert!(
        said["zh"].as_str().is_some_and(|zh| zh.contains("没有见证者联署")),
        "{said}"
    );
    // Another log's key, and a proof with a changed byte.
    let origin = said["log"].as_str().expect("an origin").to_owned();
    let another = keys
        .lines()
        .find(|key| !key.starts_with(&format!("{origin}+")))
        .expect("a key");
    let refused = citycode(server, data, &["log", "verify", out, "--key", another]).await;
    assert_eq!(refused.status.code(), Some(3), "{:?}", answer(&refused));
    let line = text
        .lines()
        .find(|line| line.starts_with("extra "))
        .expect("an opening");
    let (at, last) = (
        line.len() / 2,
        if line.as_bytes()[line.len() / 2] == b'A' {
            "B"
        } else {
            "A"
        },
    );
    let changed = text.replace(line, &format!("{}{last}{}", &line[..at], &line[at + 1..]));
    std::fs::write(&file, changed).expect("written");
    assert_eq!(citycode(server, data, &with_keys).await.status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_service_continues_the_trees_that_it_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::start(&data).await;
    lost_code(&server).await;
    for round in 0..4 {
        server.process.sigkill();
        server = Server::start(&data).await;
        let body = json!({ "kind": "offline", "id_number": PERSON, "channel": "kiosk" });
        server.post("issue", body).await;
        let checked = citycode(&server, &data, &["log", "check"]).await;
        assert_eq!(checked.status.code(), Some(0), "round {round}: {:?}", answer(&checked));
    }
    server.stop().await;
}

/// Starts a witness of the server's log; returns it with its key.
async fn witness(server: &Server, folder: &Path) -> Running {
    let words = [
        "witness",
        "--log",
        &format!("{}/log", server.process.url()),
        "--key",
        &folder.join("witness.key").display().to_string(),
        "--name",
        "witness.example",
        "--listen",
        "127.0.0.1:0",
    ];
    Running::start(&binary(), &words.map(str::to_owned), DEADLINE)
        .await
        .expect("it starts")
}

/// Asks for a cosignature of a first checkpoint: status and body.
async fn cosign(witness: &Running, checkpoint: &str) -> (u16, String) {
    let asked = reqwest::Client::new()
        .post(format!("{}/add-checkpoint", witness.url()))
        .body(format!("old 0\n\n{checkpoint}"))
        .send()
        .await
        .expect("an answer");
    (asked.status().as_u16(), asked.text().await.expect("a text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_remembers_what_it_cosigned_over_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data).await;
    lost_code(&server).await;
    let grown = eventually_some("a checkpoint of a tree with leaves", DEADLINE, || async {
        for partition in 0..16 {
            let checkpoint = server.get_text(&format!("/log/{partition:02}/checkpoint")).await;
            let size = checkpoint.lines().nth(1).and_then(|line| line.parse::<u64>().ok());
            if let Some(size) = size.filter(|size| *size > 0) {
                return Some((size, checkpoint));
            }
        }
        None
    });
    let (size, checkpoint) = grown.await;
    let first = witness(&server, folder.path()).await;
    let (status, cosignature) = cosign(&first, &checkpoint).await;
    assert_eq!(status, 200, "{cosignature}");
    assert!(cosignature.starts_with("— witness.example "), "{cosignature}");
    first.sigkill();
    drop(first);
    let second = witness(&server, folder.path()).await;
    assert_eq!(cosign(&second, &checkpoint).await, (409, format!("{size}\n")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_are_cosigned_by_the_witnesses_of_the_city() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data).await;
    let code_id = lost_code(&server).await;
    let keys = server.get_text("/log/keys").await;
    let witness = witness(&server, folder.path()).await;
    server.stop().await;
    let server = Server::start_with_flags(&data, &["--witness", witness.url()]).await;
    let vkey = std::fs::read_to_string(folder.path().join("witness.state/vkey")).expect("a key");
    let file = folder.path().join("died.tlog-proof");
    let out = file.to_str().expect("a path");
    let prove = [
        "log",
        "prove",
        "--code-id",
        &code_id,
        "--event",
        "died",
        "--out",
        out,
        "--purpose",
        "court order 12",
    ];
    let mut verify = vec!["log", "verify", out, "--witness", vkey.trim()];
    keys.lines().for_each(|key| verify.extend(["--key", key]));
    let said = eventually_some("a witnessed proof", DEADLINE, || async {
        let proved = citycode(&server, &data, &prove).await;
        assert_eq!(
            proved.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&proved.stderr)
        );
        let verified = citycode(&server, &data, &verify).await;
        (verified.status.code() == Some(0)).then(|| answer(&verified))
    });
    let said = said.await;
    assert_eq!(said["witnessed"], json!(true), "{said}");
    assert_eq!(said["witnesses"][0]["witness"], json!("witness.example"), "{said}");
    // The city does not depend on its witnesses.
    witness.sigkill();
    let body = json!({ "kind": "offline", "id_number": PERSON, "channel": "kiosk" });
    server.post("issue", body).await;
    assert_eq!(citycode(&server, &data, &["log", "check"]).await.status.code(), Some(0));
    server.stop().await;
}
