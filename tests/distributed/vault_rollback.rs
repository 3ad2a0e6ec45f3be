//! A vault that was lost, or restored without the people whom the log registered since: no issuer serves with it before
//! their codes are suspended.

mod second_time;

use citycode_test_support::program;
use std::path::Path;
use std::time::Duration;

use citycode_testkit::{IdNumbers, Process, StartError, eventually, free_port};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, DEADLINE, Services, issuer};
use crate::nats_permissions::ask_as_allowed;

const PATIENCE: Duration = Duration::from_secs(30);

struct Life {
    services: Services,
}

impl Life {
    async fn start(city: &City) -> Self {
        Self {
            services: city.start_all("").await,
        }
    }

    async fn issue(&self, city: &City, id_number: &str) -> Value {
        city.issue(self.services.portal.url(), id_number, "offline").await
    }

    async fn is_decided(&self, city: &City, code: &Value, wanted: &str) {
        eventually(&format!("it is {wanted}"), PATIENCE, || async {
            city.decision(self.services.portal.url(), "staffed", token(code)).await == wanted
        })
        .await;
    }

    async fn stop(self) {
        self.services.stop().await;
    }
}

/// Runs `citycode` as a user of the servers; returns whether it succeeded, and its output.
pub(crate) async fn citycode_as(city: &City, user: &str, words: &[&str]) -> (bool, String) {
    let config = city.config_of(user);
    let mut command = tokio::process::Command::new(program("citycode"));
    command
        .args(words)
        .args([Path::new("--config"), &config])
        .args(["--output", "json"]);
    let ran = Process::output(&mut command).await.expect("it runs");
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&said).into_owned())
}

pub(crate) async fn succeeds(city: &City, user: &str, words: &[&str]) -> String {
    let (done, said) = citycode_as(city, user, words).await;
    assert!(done, "{words:?}: {said}");
    said
}

/// Checks that a command fails with all of these reasons.
pub(crate) async fn is_refused(city: &City, user: &str, words: &[&str], reasons: &[&str]) {
    let (done, said) = citycode_as(city, user, words).await;
    let says_all = reasons.iter().all(|reason| said.contains(reason));
    assert!(!done && says_all, "{words:?}: {said}");
}

pub(crate) async fn delete_stream(city: &City, stream: &str) {
    let client = async_nats::connect(city.urls().to_vec()).await.expect("a connection");
    let deleted = ask_as_allowed(&client, &format!("$JS.API.STREAM.DELETE.{stream}"), "").await;
    assert_eq!(deleted["success"], true, "{deleted}");
}

async fn restore_vault(city: &City, backup: &str) {
    delete_stream(city, "KV_CC_VAULT").await;
    succeeds(city, "backup", &["vault", "bring-back", "--from", backup]).await;
}

pub(crate) async fn issuer_is_refused(city: &City, name: &str, reasons: &[&str]) {
    let started = city.try_launch(&issuer(), name, free_port(), city.urls(), "").await;
    let Err(StartError::Ended { status, said }) = started else {
        panic!("{name} starts");
    };
    let says_all = reasons.iter().all(|reason| said.contains(reason));
    assert!(!status.success() && says_all, "{name}: {said}");
}

fn token(code: &Value) -> &str {
    code["token"].as_str().expect("a code")
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_people_who_are_missing_in_a_restored_vault_get_no_second_valid_code() {
    let city = City::on_one().await;
    city.provision().await;
    let mut numbers = IdNumbers::new(29);
    let (known, late) = (numbers.born(date(1950, 5, 5)), numbers.born(date(1951, 5, 5)));
    let [backup, newer] = ["vault", "newer"].map(|name| city.folder.path().join(name).display().to_string());
    let life = Life::start(&city).await;
    city.register(life.services.portal.url(), &known).await;
    let kept = life.issue(&city, &known).await;
    life.stop().await;
    succeeds(&city, "backup", &["vault", "back-up", "--to", &backup]).await;
    let life = Life::start(&city).await;
    city.register(life.services.portal.url(), &late).await;
    let lost = life.issue(&city, &late).await;
    let rename = json!({ "id_number": known, "name": "张晓三四", "reason": "登记笔误" });
    city.post(life.services.portal.url(), "rename", rename).await;
    succeeds(&city, "backup", &["vault", "back-up", "--to", &newer]).await;

    // The vault is restored under a running issuer, which ends once it detects it.
    restore_vault(&city, &backup).await;
    life.issue(&city, &known).await;
    let (issuing, others) = life.services.issuer_and_others();
    let (status, said) = issuing.ended(DEADLINE).await;
    let names = said.contains("the part `vault` is older") && said.contains("1 people registered");
    assert!(!status.success() && names, "{said}");
    for service in others {
        assert!(service.terminate(DEADLINE).await.success());
    }
    // An issuer with snapshots, and one that replays the whole log.
    for name in ["issuer", "another-issuer"] {
        let reasons = ["the part `vault` is older", "1 people registered", "suspend-unknown"];
        issuer_is_refused(&city, name, &reasons).await;
    }
    let step = ["vault", "suspend-unknown", "--backup", &backup];
    let with = |more: &[&'static str]| [&step[..], more].concat();
    let of_newer = ["vault", "suspend-unknown", "--backup", &newer, "--count", "1"];
    is_refused(&city, "issuer", &of_newer, &["is older than it"]).await;
    is_refused(&city, "issuer", &step, &["1 of 2 codes that are not dead", "--count 1"]).await;
    is_refused(&city, "issuer", &with(&["--count", "0"]), &["--count 1"]).await;
    let listed = succeeds(&city, "issuer", &with(&["--dry-run"])).await;
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(
        (&listed["codes"], &listed["ended"]),
        (&json!([lost["code_id"]]), &json!(0))
    );
    // The count is an upper limit, because an interrupted run may have suspended some.
    let done = succeeds(&city, "issuer", &with(&["--count", "2"])).await;
    let done: Value = serde_json::from_str(&done).expect("JSON");
    assert_eq!((&done["codes"], &done["ended"]), (&json!([lost["code_id"]]), &json!(1)));
    let old_names = done["old_names"].as_array().expect("a list");
    assert_eq!(
        old_names.len(),
        1,
        "the vault has a name from before its correction: {done}"
    );
    let again = succeeds(&city, "issuer", &step).await;
    assert!(
        again.contains("\"ended\":0") || again.contains("\"ended\": 0"),
        "{again}"
    );

    let life = Life::start(&city).await;
    life.is_decided(&city, &lost, "refuse/suspended").await;
    city.register(life.services.portal.url(), &late).await;
    let new = life.issue(&city, &late).await;
    life.is_decided(&city, &new, "admit_after_id_check/id_check_required")
        .await;
    life.is_decided(&city, &lost, "refuse/suspended").await;
    life.is_decided(&city, &kept, "refuse/superseded").await;
    life.stop().await;
    city.start(&issuer(), "issuer", "").await.terminate(DEADLINE).await;
    // Suspended codes are revoked with --revoke.
    let revoked = succeeds(&city, "issuer", &with(&["--revoke", "--count", "1"])).await;
    assert!(revoked.contains(lost["code_id"].as_str().expect("an id")), "{revoked}");
    let life = Life::start(&city).await;
    life.is_decided(&city, &lost, "refuse/revoked").await;
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_a_lost_vault_is_recreated_once_and_every_live_code_is_suspended_first() {
    let city = City::on_one().await;
    city.provision().await;
    let person = IdNumbers::new(30).born(date(1950, 5, 5));
    let life = Life::start(&city).await;
    city.register(life.services.portal.url(), &person).await;
    let old = life.issue(&city, &person).await;
    life.is_decided(&city, &old, "admit_after_id_check/id_check_required")
        .await;
    // One issuer keeps running during the next steps.
    let (issuing, others) = life.services.issuer_and_others();
    for service in others {
        assert!(service.terminate(DEADLINE).await.success());
    }
    let log_id = std::fs::read_to_string(city.state("issuer").join("log-id")).expect("it notes the log");
    let (anew, log_anew) = (format!("vault={}", log_id.trim()), format!("log={}", log_id.trim()));
    let provision = ["provision", "--partitions", "4", "--vault-pages", "64"];
    let with = |more: &[&str]| -> Vec<String> { provision.iter().chain(more).map(|word| (*word).to_owned()).collect() };
    let refused = async |more: &[&str], reasons: &[&str]| {
        let words = with(more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        is_refused(&city, "provision", &words, reasons).await;
    };
    refused(&["--begin-anew", &anew], &["the part `vault` is not lost"]).await;
    delete_stream(&city, "KV_CC_VAULT").await;

    refused(&[], &["the part `vault` is missing", &format!("--begin-anew {anew}")]).await;
    let other = format!("vault={}", "0b".repeat(16));
    refused(&["--begin-anew", &other], &["another one", log_id.trim()]).await;
    refused(&["--begin-anew", &log_anew], &["the servers have no vault"]).await;
    let scans_anew = format!("scans={}", log_id.trim());
    refused(&["--begin-anew", &scans_anew], &["only the parts `vault` and `log`"]).await;
    let words = with(&["--begin-anew", &anew]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    succeeds(&city, "provision", &words).await;
    let (status, said) = issuing.ended(DEADLINE).await;
    let names =
        said.contains("ANOTHER VAULT WAS PUT IN PLACE") && said.contains("another vault than the one that was opened");
    assert!(!status.success() && names, "{said}");
    refused(&["--begin-anew", &anew], &["the part `vault` is not lost"]).await;
    city.provision().await;

    let life = Life::start(&city).await;
    life.is_decided(&city, &old, "refuse/suspended").await;
    city.register(life.services.portal.url(), &person).await;
    let new = life.issue(&city, &person).await;
    life.is_decided(&city, &new, "admit_after_id_check/id_check_required")
        .await;
    life.stop().await;
    let life = Life::start(&city).await;
    life.is_decided(&city, &new, "admit_after_id_check/id_check_required")
        .await;
    life.stop().await;

    let backup = city.folder.path().join("vault").display().to_string();
    succeeds(&city, "backup", &["vault", "back-up", "--to", &backup]).await;
    for partition in 0..4 {
        delete_stream(&city, &format!("CC_EV_{partition:02}")).await;
    }
    refused(&[], &["the part `log` is missing", log_id.trim(), "archive"]).await;
    refused(&["--no-vault"], &["the part `log` is missing"]).await;
    // Deleting log and vault is not enough to start from scratch: scan records and state folders are refused.
    delete_stream(&city, "KV_CC_VAULT").await;
    refused(&[], &["the part `scans` belongs to another event log"]).await;
    issuer_is_refused(&city, "issuer", &["the part `state`", log_id.trim()]).await;
    restore_vault(&city, &backup).await;
    refused(&[], &["the part `vault` belongs to the event log", log_id.trim()]).await;
    issuer_is_refused(&city, "new-issuer", &["the part `vault` belongs to another event log"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_of_another_log_is_refused_and_one_without_a_record_is_adopted_once() {
    let city = City::on_one().await;
    city.provision().await;
    let running = city.start(&issuer(), "issuer", "").await;
    assert!(!running.said().contains("adopted"), "{}", running.said());
    assert!(running.terminate(DEADLINE).await.success());
    let note = city.state("issuer").join("log-id");
    let log_id = std::fs::read_to_string(&note).expect("it notes the log");
    std::fs::remove_file(&note).expect("it is there");
    for times in [1, 0] {
        let running = city.start(&issuer(), "issuer", "").await;
        let said = running.said();
        assert_eq!(said.matches("the state folder is adopted").count(), times, "{said}");
        assert!(running.terminate(DEADLINE).await.success());
    }
    let other = "0b".repeat(16);
    std::fs::write(&note, format!("{other}\n")).expect("it is written");
    let reasons = ["the part `state`", other.as_str(), log_id.trim(), "an empty one"];
    issuer_is_refused(&city, "issuer", &reasons).await;
    // A folder without a record, with a snapshot of another log.
    std::fs::remove_file(&note).expect("it is there");
    let snapshot = city.state("issuer").join("projections/register");
    let mut bytes = std::fs::read(&snapshot).expect("a snapshot");
    bytes[12..28].fill(0x0b);
    std::fs::write(&snapshot, bytes).expect("it is written");
    issuer_is_refused(&city, "issuer", &reasons).await;
}
