//! Correcting a name with `up`: by command line and API, through a crash, and the content of files afterwards.

use std::path::Path;
use std::sync::Arc;

use citycode_domain::event::{Event, HolderRenamed, Sealed};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_event_store::{EventStore as _, StreamState};
use citycode_event_store_embedded::{Config, EmbeddedEventStore};
use citycode_log_folds::holder_stream;
use citycode_service_kit::entropy::{Entropy as _, OsEntropy};
use citycode_service_kit::files;
use citycode_testkit::{IdNumbers, commit_of};
use citycode_vault::Vault as _;
use citycode_vault::embedded::EmbeddedVault;
use jiff::civil::date;
use serde_json::{Value, json};

use crate::commands::{Client, WANG, talk};
use crate::server::Server;

/// Creates the state after a crash between log and vault.
async fn leave_half_done(data: &Path, name: &str) -> HolderId {
    let master = files::read_secret(&data.join("keys/vault-master.key")).expect("a key");
    let random: citycode_vault::FillRandom = Arc::new(|bytes| OsEntropy.fill(bytes));
    let vault = EmbeddedVault::open(&data.join("vault"), &master, random).expect("a vault");
    let number = IdNumber::parse(WANG, date(2026, 1, 1)).expect("a number");
    let holder = vault.find(&number).await.expect("an answer").expect("known");
    let change = NameChangeId([7; 16]);
    let name = PersonName::parse(name).expect("a name");
    assert!(vault.stage_name(holder, change, &name).await.expect("an answer"));
    let log = EmbeddedEventStore::open(&data.join("log"), &Config::default()).expect("a log");
    let renamed = Event::HolderRenamed(HolderRenamed {
        change,
        reason: Sealed(Vec::new()),
    });
    let commit = commit_of(holder_stream(holder), &renamed, 1, 1_800_000_000);
    log.append_to_stream(commit, StreamState::Any).await.expect("appended");
    holder
}

fn contains(folder: &Path, secret: &str) -> bool {
    std::fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return contains(&path, secret);
        }
        let bytes = std::fs::read(&path).expect("a file");
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    })
}

/// The request of a reprint of the sampling code.
fn reprint() -> Value {
    json!({ "kind": "sampling", "id_number": WANG, "channel": "app", "print": true })
}

/// Reprints the code, checks its token, and returns the masked name.
async fn printed(server: &Server, code: &Value) -> String {
    let again = server.post("reprint", reprint()).await;
    assert_eq!(again["token"], code["token"], "the token stays as it is");
    again["masked_name"].as_str().expect("a masked name").to_owned()
}

/// Corrects the name by the command line and by the API, and tries requests that must be refused.
async fn correct_by_command_line_and_api(client: &Client, code: &Value) {
    // The ID number is read from standard input, because other users can see the command line.
    let words = [
        "rename",
        "--id-number",
        "-",
        "--name",
        " 王晓鸣",
        "--reason",
        "登记笔误",
    ];
    let run = client.run(WANG, &words).await;
    assert!(run.status.success(), "{}", talk(&run));
    assert!(
        !talk(&run).contains("王晓鸣") && !talk(&run).contains(WANG),
        "{}",
        talk(&run)
    );
    assert_eq!(printed(&client.server, code).await, "王*鸣");
    let without_reason = json!({ "id_number": WANG, "name": "王明", "reason": "" });
    let (status, problem) = client.server.call("rename", &without_reason).await.expect("an answer");
    assert_eq!(
        (status, &problem["code"], &problem["outcome"]),
        (400, &json!("invalid_request"), &json!("not_done"))
    );
    let named = json!({ "id_number": WANG, "name": "王明", "reason": "王晓鸣要求" });
    client.server.post("rename", named).await;
    let asked = json!({ "kind": "sampling", "id_number": WANG });
    let history = client.server.post("history", asked).await.to_string();
    assert_eq!(history.matches("HolderRenamed").count(), 2, "{history}");
    assert!(!history.contains('王') && history.contains("sealed"), "{history}");
    let stranger = IdNumbers::new(77).aged(40, date(2026, 1, 1));
    let words = ["rename", "--id-number", &stranger, "--name", "王明", "--reason", "笔误"];
    let run = client.run("", &words).await;
    assert_eq!(run.status.code(), Some(4), "{}", talk(&run));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_corrected_by_command_line_and_api_and_a_start_completes_an_interrupted_correction() {
    let client = Client::new().await;
    let data = client.folder.path().join("data");
    let code = client.server.post("issue", reprint()).await;
    assert_eq!(code["masked_name"], "王*明");
    correct_by_command_line_and_api(&client, &code).await;

    let Client { server, folder } = client;
    let said = server.process.said();
    server.stop().await;
    leave_half_done(&data, "王启明").await;
    let server = Server::start(&data).await;
    assert_eq!(printed(&server, &code).await, "王*明");
    let issue = json!({ "kind": "offline", "id_number": WANG, "channel": "kiosk", "print": true });
    assert_eq!(server.post("issue", issue).await["masked_name"], "王*明");
    // A repeated registration under another name changes nothing.
    let first = json!({ "id_number": WANG, "name": "李四", "channel": "kiosk" });
    server.post("register", first).await;
    assert_eq!(printed(&server, &code).await, "王*明");
    let more = server.process.said();
    server.stop().await;
    for name in ["王小明", "王晓鸣", "王明", "王启明", "李四"] {
        assert!(!contains(&data, name), "{name} stands on the disk");
        assert!(!said.contains(name) && !more.contains(name), "{name} was said");
    }
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_during_a_correction_a_retry_of_the_command_completes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let number = WANG;
    let server = Server::start(&data).await;
    server.register(number).await;
    let code = server
        .post(
            "issue",
            json!({ "kind": "sampling", "id_number": number, "channel": "app" }),
        )
        .await;
    let mut server = Some(server);
    let names = ["张一", "张二三", "张丁", "张七八", "张九"];
    for (round, name) in names.iter().enumerate() {
        let running = server.take().expect("it runs");
        let id = format!("00000000-0000-4000-8000-00000000000{round}");
        let body = json!({ "id_number": number, "name": name, "reason": "笔误", "command_id": id });
        // The process is killed after this many answered requests, at varying stages of the correction.
        let (_, ()) = tokio::join!(running.call("rename", &body), async {
            for _ in 0..round {
                running.call("codes", &json!({ "id_number": number })).await;
            }
            running.process.sigkill();
        });
        running.process.kill_9().await;
        let again = Server::start(&data).await;
        again.post("rename", body).await;
        let reprint = json!({ "kind": "sampling", "id_number": number, "channel": "app", "print": true });
        let print = again.post("reprint", reprint).await;
        let masked = citycode_domain::name::mask(name);
        assert_eq!(
            (&print["token"], &print["masked_name"]),
            (&code["token"], &json!(masked))
        );
        server = Some(again);
    }
}
