//! A city whose servers are lost is rebuilt on empty ones, by the users that `citycode secrets` creates for this
//! purpose and by the steps of docs/operations/city.md, on servers that accept no other users.

use citycode_test_support::program;
use std::process::{Output, Stdio};
use std::time::Duration;

use citycode_testkit::{IdNumbers, NatsServer, Process, StartError, eventually, free_port};
use jiff::civil::date;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::city::{City, DEADLINE, Services, citycode, issuer};
use crate::nats_permissions::{ask, ask_as_allowed, messages, thief};

const PATIENCE: Duration = Duration::from_secs(30);

/// The arguments of a command that copies a log as a user of the servers.
fn moving(city: &City, from: &str, to: &str, user: &str, server: &NatsServer) -> Vec<String> {
    let seed = city.secret(&format!("nats/{user}.nk")).display().to_string();
    let ca = city.secret("tls/ca.pem").display().to_string();
    let monitor = server.monitor_url();
    let words = ["migrate", "--from", from, "--to", to, "--nkey-file", &seed, "--ca", &ca];
    let more = ["--replicas", "1", "--monitor", &monitor, "--output", "json"];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// Copies a log, and returns the command's output.
async fn moved(words: &[String]) -> Value {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    serde_json::from_slice(&citycode(&words).await).expect("JSON")
}

/// For a user who may create streams but not write commits, the servers do not answer, and the command logs their
/// permissions violation.
async fn logs_the_missing_permission(words: &[String]) {
    let mut command = tokio::process::Command::new(program("citycode"));
    command.args(words).stderr(Stdio::piped());
    let mut moving = Process::start(&mut command).expect("it starts");
    let mut said = BufReader::new(moving.stderr()).lines();
    let told = async {
        while let Some(line) = said.next_line().await.expect("it speaks") {
            if line.to_lowercase().contains("permissions violation for publish") {
                return;
            }
        }
        panic!("it ended and did not say it");
    };
    tokio::time::timeout(DEADLINE, told).await.expect("it says it");
    moving.kill_9();
}

struct Life {
    services: Services,
}

impl Life {
    async fn start(city: &City, name: &str) -> Self {
        Self {
            services: city.start_all(&format!("-{name}")).await,
        }
    }

    async fn issue(&self, city: &City, id_number: &str) -> Value {
        city.issue(self.services.portal.url(), id_number, "offline").await
    }
}

/// Backs up or restores the vault, as the user for this purpose.
pub(crate) async fn vault(city: &City, what: &[&str]) -> Output {
    let config = city.config_of("backup");
    let config = ["--config".as_ref(), config.as_os_str()];
    let mut command = tokio::process::Command::new(program("citycode"));
    command.arg("vault").args(what).args(config);
    Process::output(&mut command).await.expect("it runs")
}

pub(crate) fn succeeded(ended: &Output) {
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn token(code: &Value) -> &str {
    code["token"].as_str().expect("a code")
}

/// The last step: no issuer starts before the codes of people who are not in the vault are suspended.
async fn suspends_codes_of_unknown_people(city: &City, backup: &str, lost: &Value) {
    let started = city
        .try_launch(&issuer(), "issuer-too-early", free_port(), city.urls(), "")
        .await;
    let Err(StartError::Ended { said, .. }) = started else {
        panic!("an issuer starts beside a vault that is older than the log");
    };
    assert!(said.contains("the part `vault` is older"), "{said}");
    let config = city.config_of("issuer").display().to_string();
    let words = ["vault", "suspend-unknown", "--output", "json", "--config", &config];
    let words = [&words[..], &["--backup", backup, "--count", "1"]].concat();
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    let done: Value = serde_json::from_slice(&citycode(&words).await).expect("JSON");
    assert_eq!((&done["codes"], &done["ended"]), (&json!([lost["code_id"]]), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_is_rebuilt_on_empty_servers_by_the_users_for_this_purpose() {
    let mut city = City::secured().await;
    city.provision().await;
    let mut numbers = IdNumbers::new(21);
    let (stays, goes) = (numbers.born(date(1950, 5, 5)), numbers.born(date(1951, 5, 5)));
    let late = numbers.born(date(1952, 5, 5));
    let backup = city.folder.path().join("vault").display().to_string();
    let life = Life::start(&city, "before").await;
    for number in [&stays, &goes] {
        city.register(life.services.portal.url(), number).await;
    }
    let old = life.issue(&city, &stays).await;
    succeeded(&vault(&city, &["back-up", "--to", &backup]).await);
    let again = vault(&city, &["back-up", "--to", &backup]).await;
    assert!(!again.status.success(), "it writes over a backup");
    city.post(life.services.portal.url(), "erase", json!({ "id_number": goes }))
        .await;
    let code = life.issue(&city, &stays).await;
    city.register(life.services.portal.url(), &late).await;
    let lost = life.issue(&city, &late).await;
    drop(life);
    let archive = city.folder.path().join("archive").display().to_string();
    let archived = moved(&moving(&city, &city.urls()[0], &archive, "archive", city.server())).await;
    assert!(archived["commits"].as_u64() > Some(2), "{archived}");
    let over = vault(&city, &["bring-back", "--from", &backup]).await;
    assert!(!over.status.success(), "it puts one over another");

    let empty = city.empty_server().await;
    logs_the_missing_permission(&moving(&city, &archive, &empty.url(), "provision", &empty)).await;
    let restored = moved(&moving(&city, &archive, &empty.url(), "restore", &empty)).await;
    assert_eq!(
        (&restored["commits"], &restored["log_id"]),
        (&archived["commits"], &archived["log_id"])
    );
    city.move_to(empty);
    succeeded(&vault(&city, &["bring-back", "--from", &backup]).await);
    city.provision().await;
    suspends_codes_of_unknown_people(&city, &backup, &lost).await;
    let life = Life::start(&city, "after").await;
    for (code, wanted) in [(&code, "admit"), (&old, "refuse"), (&lost, "refuse/suspended")] {
        eventually("its codes are what they were", PATIENCE, || async {
            city.decision(life.services.portal.url(), "staffed", token(code))
                .await
                .starts_with(wanted)
        })
        .await;
    }
    let next = life.issue(&city, &stays).await;
    assert_eq!(next["supersedes"], code["code_id"], "the vault knows who it is");
    let asked = json!({ "id_number": goes, "kind": "offline", "channel": "kiosk" });
    let unknown = city.call(life.services.portal.url(), "issue", &asked).await;
    assert_eq!(unknown.map(|(status, _)| status), Some(404), "erased since the backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vault_of_three_servers_is_backed_up_and_restored() {
    let city = City::on_three().await;
    city.provision().await;
    let backup = city.folder.path().join("vault").display().to_string();
    let issuing = city.start(&issuer(), "issuer", "").await;
    assert!(issuing.terminate(DEADLINE).await.success());
    succeeded(&vault(&city, &["back-up", "--to", &backup]).await);
    let client = async_nats::connect(city.urls().to_vec()).await.expect("a connection");
    let before = messages(&client, "KV_CC_VAULT").await;
    assert!(before > 0, "the vault's keys");
    let deleted = ask_as_allowed(&client, "$JS.API.STREAM.DELETE.KV_CC_VAULT", "").await;
    assert_eq!(deleted["success"], true, "{deleted}");
    succeeded(&vault(&city, &["bring-back", "--from", &backup]).await);
    assert_eq!(messages(&client, "KV_CC_VAULT").await, before);
    // The vault opens; without its keys an issuer would refuse it or wait.
    let issuing = city.start(&issuer(), "issuer", "").await;
    assert!(issuing.terminate(DEADLINE).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_user_cannot_change_or_delete_an_existing_vault() {
    let city = City::secured().await;
    city.provision().await;
    let client = thief(&city, "vault-backup").await;
    let question = "$JS.API.STREAM.INFO.KV_CC_VAULT";
    let before = ask_as_allowed(&client, question, "").await;
    let restored = r#"{"config":{"name":"KV_CC_VAULT","subjects":["$KV.CC_VAULT.>"]},"state":{}}"#;
    let over = ask_as_allowed(&client, "$JS.API.STREAM.RESTORE.KV_CC_VAULT", restored).await;
    assert!(over["error"].is_object(), "nothing is put over a vault: {over}");
    let config = r#"{"name":"KV_CC_VAULT","subjects":["$KV.CC_VAULT.>"],"max_age":1000000000}"#;
    for (question, body) in [
        ("STREAM.UPDATE.KV_CC_VAULT", config),
        ("STREAM.DELETE.KV_CC_VAULT", ""),
        ("STREAM.PURGE.KV_CC_VAULT", ""),
        ("STREAM.MSG.DELETE.KV_CC_VAULT", r#"{"seq":1}"#),
        ("STREAM.MSG.GET.KV_CC_VAULT", r#"{"seq":1}"#),
        ("STREAM.CREATE.OTHER", r#"{"name":"OTHER","subjects":["other"]}"#),
        ("STREAM.RESTORE.OTHER", r#"{"config":{"name":"OTHER"},"state":{}}"#),
        (
            "CONSUMER.CREATE.KV_CC_VAULT",
            r#"{"stream_name":"KV_CC_VAULT","config":{}}"#,
        ),
    ] {
        let done = ask(&client, &format!("$JS.API.{question}"), body).await;
        assert!(done.is_none(), "{question}: {done:?}");
    }
    let written = ask(&client, "$KV.CC_VAULT.p.0000", "no page").await;
    assert!(written.is_none(), "it wrote: {written:?}");
    let after = ask_as_allowed(&client, question, "").await;
    assert_eq!(
        (&after["config"], &after["state"]),
        (&before["config"], &before["state"])
    );
    // No other user can read the whole vault or replace it.
    for user in [
        "vault-issuer",
        "vault-provision",
        "vault-revocation",
        "vault-verifier",
        "restore",
    ] {
        let client = thief(&city, user).await;
        for verb in ["SNAPSHOT", "RESTORE"] {
            let body = r#"{"deliver_subject":"_INBOX.x","config":{"name":"KV_CC_VAULT"},"state":{}}"#;
            let done = ask(&client, &format!("$JS.API.STREAM.{verb}.KV_CC_VAULT"), body).await;
            assert!(done.is_none(), "{user} {verb}: {done:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_restore_user_cannot_change_or_delete_an_existing_log() {
    let city = City::secured().await;
    city.provision().await;
    let client = thief(&city, "restore").await;
    let before = ask_as_allowed(&client, "$JS.API.STREAM.INFO.CC_EV_00", "").await;
    let config = r#"{"name":"CC_EV_00","subjects":["cc.ev.v1.00.*"],"max_age":1000000000}"#;
    let other = ask_as_allowed(&client, "$JS.API.STREAM.CREATE.CC_EV_00", config).await;
    assert_eq!(other["error"]["err_code"], 10_058, "another is there: {other}");
    for (question, body) in [
        ("STREAM.UPDATE.CC_EV_00", config),
        ("STREAM.DELETE.CC_EV_00", ""),
        ("STREAM.PURGE.CC_EV_00", ""),
        ("STREAM.MSG.DELETE.CC_EV_00", r#"{"seq":1}"#),
        ("STREAM.SNAPSHOT.CC_EV_00", r#"{"deliver_subject":"cc.ev.v1.00.0001"}"#),
        (
            "CONSUMER.CREATE.CC_EV_00",
            r#"{"stream_name":"CC_EV_00","config":{"deliver_subject":"cc.ev.v1.00.0001"}}"#,
        ),
        ("DIRECT.GET.OBJ_CC_REGISTER_SNAPSHOTS", r#"{"seq":1}"#),
        ("STREAM.MSG.GET.OBJ_CC_STATUS_SNAPSHOTS", r#"{"seq":1}"#),
    ] {
        let done = ask(&client, &format!("$JS.API.{question}"), body).await;
        assert!(done.is_none(), "{question}: {done:?}");
    }
    for subject in ["$O.CC_REGISTER_SNAPSHOTS.M.x", "cc.echo.v1"] {
        let written = ask(&client, subject, "nothing").await;
        assert!(written.is_none(), "{subject}: {written:?}");
    }
    let seen = ask(&client, "$JS.API.STREAM.INFO.KV_CC_VAULT", "").await;
    assert!(
        seen.is_none_or(|seen| seen["error"]["err_code"] == 10_059),
        "it sees the vault"
    );
    let after = ask_as_allowed(&client, "$JS.API.STREAM.INFO.CC_EV_00", "").await;
    assert_eq!(after["config"], before["config"]);
    assert_eq!(messages(&client, "CC_EV_00").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_requests_of_the_nats_command_line_are_answered() {
    let city = City::secured().await;
    city.provision().await;
    let _issuer = city.start(&issuer(), "issuer", "").await;
    let reader = thief(&city, "archive").await;
    for stream in ["CC_EV_00", "OBJ_CC_STATUS_SNAPSHOTS", "OBJ_CC_REGISTER_SNAPSHOTS"] {
        let info = ask_as_allowed(&reader, &format!("cc.log.STREAM.INFO.{stream}"), "").await;
        assert_eq!(info["config"]["name"], stream, "{info}");
    }
    // A new issuer's first commit is its key.
    let mut found = 0;
    for partition in 0..4 {
        let question = format!("cc.log.STREAM.MSG.GET.CC_EV_{partition:02}");
        let told = ask_as_allowed(&reader, &question, r#"{"seq":1}"#).await;
        found += usize::from(told["message"]["data"].is_string());
    }
    assert!(found > 0, "no partition has a message");
    let keeper = thief(&city, "scans-keeper").await;
    let gone = ask_as_allowed(&keeper, "$JS.API.STREAM.DELETE.CC_SCAN_KEYS", "").await;
    assert_eq!(gone["success"], true, "{gone}");
}
