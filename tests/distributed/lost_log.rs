//! A log that was lost without an archive, beside a vault: it is recreated only on request, no code of the lost log is
//! valid any more, and people stay who they are.

use std::time::Duration;

use citycode_testkit::{IdNumbers, eventually};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, DEADLINE, issuer, registers};
use crate::vault_rollback::{delete_stream, is_refused, issuer_is_refused, succeeds};

const PATIENCE: Duration = Duration::from_secs(60);
const PROVISION: [&str; 5] = ["provision", "--partitions", "4", "--vault-pages", "64"];

async fn refused(city: &City, more: &[&str], reasons: &[&str]) {
    is_refused(city, "provision", &[&PROVISION[..], more].concat(), reasons).await;
}

async fn provisioned(city: &City, more: &[&str]) -> Value {
    let said = succeeds(city, "provision", &[&PROVISION[..], more].concat()).await;
    let json = said.find('{').zip(said.rfind('}')).expect("an object");
    serde_json::from_str(&said[json.0..=json.1]).expect("JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("a text")
}

/// The ids of the keys that sign codes.
async fn key_ids(portal: &str) -> Vec<Value> {
    let keys = reqwest::get(format!("{portal}/api/v1/keys")).await.expect("an answer");
    let keys: Value = keys.json().await.expect("JSON");
    let keys = keys["keys"].as_array().expect("a list");
    keys.iter().map(|key| key["kid"].clone()).collect()
}

async fn is_decided(city: &City, portal: &str, code: &Value, wanted: &str) {
    eventually(&format!("it is {wanted}"), PATIENCE, || async {
        city.decision(portal, "staffed", text(code, "token"))
            .await
            .starts_with(wanted)
    })
    .await;
}

/// The conditions under which a log is recreated.
async fn is_recreated_only_on_request(city: &City, lost: &str) -> Value {
    let anew = format!("log={lost}");
    refused(city, &["--begin-anew", &anew], &["the part `log` is not lost"]).await;
    delete_stream(city, "CC_EV_01").await;
    let torn = ["the part `log` is incomplete", "partitions 01)", lost, "archive"];
    refused(city, &[], &torn).await;
    refused(city, &["--begin-anew", &anew], &torn).await;
    // The rest is found too if it has none of the partitions that are asked for.
    delete_stream(city, "CC_EV_00").await;
    let torn = ["the part `log` is incomplete", "partitions 00, 01)", lost, "archive"];
    for fewer in ["2", "4"] {
        let words = ["provision", "--partitions", fewer, "--vault-pages", "64"];
        is_refused(city, "provision", &words, &torn).await;
        is_refused(
            city,
            "provision",
            &[&words[..], &["--begin-anew", &anew]].concat(),
            &torn,
        )
        .await;
    }
    for partition in 2..4 {
        delete_stream(city, &format!("CC_EV_{partition:02}")).await;
    }
    refused(
        city,
        &[],
        &["the part `log` is missing", "archive", &format!("--begin-anew {anew}")],
    )
    .await;
    let other = format!("log={}", "0b".repeat(16));
    refused(city, &["--begin-anew", &other], &["belongs to another log", lost]).await;
    let made = provisioned(city, &["--begin-anew", &anew]).await;
    assert_eq!((text(&made, "replaces"), &made["new"]), (lost, &json!(true)));
    assert_ne!(text(&made, "log_id"), lost);
    // An interrupted run is repeated.
    let again = provisioned(city, &["--begin-anew", &anew]).await;
    assert_eq!((&again["log_id"], &again["new"]), (&made["log_id"], &json!(false)));
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_is_recreated_beside_its_vault_and_no_old_code_is_valid() {
    let city = City::on_one().await;
    city.provision().await;
    let person = IdNumbers::new(41).born(date(1950, 5, 5));
    let life = city.start_all("").await;
    city.register(life.portal.url(), &person).await;
    let old = city.issue(life.portal.url(), &person, "offline").await;
    is_decided(&city, life.portal.url(), &old, "admit").await;
    let old_keys = key_ids(life.portal.url()).await;
    life.stop().await;
    let lost = std::fs::read_to_string(city.state("issuer").join("log-id")).expect("it notes the log");
    let made = is_recreated_only_on_request(&city, lost.trim()).await;

    issuer_is_refused(
        &city,
        "issuer",
        &["the part `state`", lost.trim(), text(&made, "log_id")],
    )
    .await;
    let life = city.start_all("-anew").await;
    let portal = life.portal.url();
    let keys = key_ids(portal).await;
    assert!(
        !keys.is_empty() && keys.iter().all(|key| !old_keys.contains(key)),
        "{keys:?}"
    );
    is_decided(&city, portal, &old, "refuse/").await;
    // The vault knows the person, whose stored name is not replaced by a repeated registration.
    let again = json!({ "id_number": person, "name": "李四四", "channel": "kiosk" });
    city.post(portal, "register", again).await;
    let order = json!({ "id_number": person, "kind": "offline", "channel": "pc", "print": true });
    let new = city.post(portal, "issue", order).await;
    assert_eq!(new["masked_name"], "张*三");
    assert_ne!(
        new["status"]["list"], old["status"]["list"],
        "no list name is used again"
    );
    is_decided(&city, portal, &new, "admit").await;
    is_decided(&city, portal, &old, "refuse/").await;
    // Scan records and queries of the city stay in use.
    registers(&life.verifier).await;
    let desk = json!({ "place": "sampling_desk", "code": new["token"], "device": "desk-1", "scan_id": "1" });
    assert_eq!(city.post(portal, "verify", desk).await["decision"], "admit");
    let history = json!({ "id_number": person, "kind": "offline" });
    city.post(portal, "history", history).await;
    life.stop().await;

    let anew = format!("log={}", lost.trim());
    refused(&city, &["--begin-anew", &anew], &["the part `log` is not lost"]).await;
    survives_its_archive(&city, &made).await;
}

/// An archive of the new log names the lost one too, so that the parts fit to the log that is restored from it.
async fn survives_its_archive(city: &City, made: &Value) {
    let archive = city.folder.path().join("archive").display().to_string();
    let (servers, monitor) = (city.urls()[0].clone(), city.server().monitor_url());
    let copy = async |command: &str, from: &str, to: &str| {
        let words = [
            command,
            "--from",
            from,
            "--to",
            to,
            "--replicas",
            "1",
            "--monitor",
            &monitor,
        ];
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        crate::city::citycode(&words).await;
    };
    copy("migrate", &servers, &archive).await;
    for partition in 0..4 {
        delete_stream(city, &format!("CC_EV_{partition:02}")).await;
    }
    copy("restore", &archive, &servers).await;
    let restored = provisioned(city, &[]).await;
    for key in ["log_id", "replaces"] {
        assert_eq!(restored[key], made[key]);
    }
}

/// With the accounts of `secrets`: the users of a new city suffice.
#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_a_city_may_recreate_a_lost_log() {
    let mut city = City::secured().await;
    city.provision().await;
    let issuing = city.start(&issuer(), "issuer", "").await;
    assert!(issuing.terminate(DEADLINE).await.success());
    let lost = std::fs::read_to_string(city.state("issuer").join("log-id")).expect("it notes the log");
    // All streams but the vault are lost with the servers.
    let backup = city.folder.path().join("vault").display().to_string();
    succeeds(&city, "backup", &["vault", "back-up", "--to", &backup]).await;
    let empty = city.empty_server().await;
    city.move_to(empty);
    succeeds(&city, "backup", &["vault", "bring-back", "--from", &backup]).await;
    provisioned(&city, &["--begin-anew", &format!("log={}", lost.trim())]).await;
    let issuing = city.start(&issuer(), "issuer-anew", "").await;
    issuing.sigterm();
    let (status, said) = issuing.ended(DEADLINE).await;
    assert!(status.success() && !said.contains("Permissions Violation"), "{said}");
}
