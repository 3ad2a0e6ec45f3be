//! A city whose servers are lost is built anew on empty ones, by the users that `citycode secrets` makes for that: as the
//! operators' handbook tells it, on servers that take nobody else.

use std::process::Stdio;
use std::time::Duration;

use citycode_testkit::{IdNumbers, NatsServer, eventually};
use jiff::civil::date;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::city::{City, DEADLINE, audit, behind, citycode, issuer, portal, revocation, verifier};
use crate::secured::{ask, ask_as_allowed, messages, thief};

const PATIENCE: Duration = Duration::from_secs(30);

/// The words that move a log as a user of the servers.
fn moving(city: &City, from: &str, to: &str, user: &str, server: &NatsServer) -> Vec<String> {
    let seed = city.secret(&format!("nats/{user}.nk")).display().to_string();
    let ca = city.secret("tls/ca.pem").display().to_string();
    let monitor = server.monitor_url();
    let words = ["migrate", "--from", from, "--to", to, "--nkey-file", &seed, "--ca", &ca];
    let more = ["--replicas", "1", "--monitor", &monitor, "--output", "json"];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// Moves a log; what the command printed.
async fn moved(words: &[String]) -> Value {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    serde_json::from_slice(&citycode(&words).await).expect("JSON")
}

/// A user who may make streams and write no commit: the servers do not answer it, and the command shows what they say.
async fn is_told_what_it_lacks(words: &[String]) {
    let mut moving = tokio::process::Command::new(env!("CARGO_BIN_EXE_citycode"))
        .args(words)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(moving.stderr.take().expect("it is piped")).lines();
    let told = async {
        while let Some(line) = said.next_line().await.expect("it speaks") {
            if line.to_lowercase().contains("permissions violation for publish") {
                return;
            }
        }
        panic!("it ended and did not say it");
    };
    tokio::time::timeout(DEADLINE, told).await.expect("it says it");
    moving.kill().await.expect("it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_archived_and_brought_onto_empty_servers_by_the_users_that_are_for_it() {
    let mut city = City::secured().await;
    city.provision().await;
    let id_number = IdNumbers::new(21).born(date(1950, 5, 5));
    let code = {
        let issuing = city.start(&issuer(), "issuer", "").await;
        let revoking = city.start(&revocation(), "revocation", "").await;
        let verifying = city.start(&verifier(), "verifier", "").await;
        let auditing = city.start(&audit(), "audit", "").await;
        let services = behind(
            &[issuing.url()],
            &[revoking.url()],
            &[verifying.url()],
            &[auditing.url()],
        );
        let door = city.start(&portal(), "portal", &services).await;
        city.register(door.url(), &id_number).await;
        let code = city.issue(door.url(), &id_number, "offline").await;
        code["token"].as_str().expect("a code").to_owned()
    };
    let archive = city.folder.path().join("archive").display().to_string();
    let archived = moved(&moving(&city, &city.urls()[0], &archive, "archive", city.server())).await;
    assert!(archived["commits"].as_u64() > Some(2), "{archived}");

    let empty = city.empty_server().await;
    is_told_what_it_lacks(&moving(&city, &archive, &empty.url(), "provision", &empty)).await;
    let restored = moved(&moving(&city, &archive, &empty.url(), "restore", &empty)).await;
    assert_eq!(
        (&restored["commits"], &restored["log_id"]),
        (&archived["commits"], &archived["log_id"])
    );
    city.move_to(empty);
    city.provision().await;
    let issuing = city.start(&issuer(), "issuer-2", "").await;
    let verifying = city.start(&verifier(), "verifier-2", "").await;
    let services = behind(&[issuing.url()], &[issuing.url()], &[verifying.url()], &[issuing.url()]);
    let door = city.start(&portal(), "portal-2", &services).await;
    eventually("its codes are what they were", PATIENCE, || async {
        city.decision(door.url(), "staffed", &code).await.starts_with("admit")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_moves_a_log_changes_and_deletes_nothing_that_stands_there() {
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
