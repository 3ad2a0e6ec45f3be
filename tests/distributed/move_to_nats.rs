//! A `citycode up` is moved to NATS servers, by the steps of docs/operations.md: log, people and keys are copied, and
//! codes and their holders are unchanged.

use citycode_test_support::program;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use citycode_testkit::{IdNumbers, Process, Running, eventually};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, DEADLINE, citycode, registers};

const PATIENCE: Duration = Duration::from_secs(30);

/// A call to the API of the one process, which must succeed.
async fn post(up: &Running, token: &str, path: &str, body: Value) -> Value {
    let call = reqwest::Client::new().post(format!("{}/api/v1/{path}", up.url()));
    let answer = call.bearer_auth(token).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    answer.json().await.expect("JSON")
}

async fn run(words: &[&dyn AsRef<OsStr>]) -> Value {
    let words: Vec<&OsStr> = words.iter().map(|word| word.as_ref()).collect();
    let words = [&words[..], &["--output".as_ref(), "json".as_ref()]].concat();
    serde_json::from_slice(&citycode(&words).await).expect("JSON")
}

/// The request of a code.
fn order(id_number: &str) -> Value {
    json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" })
}

fn token(code: &Value) -> &str {
    code["token"].as_str().expect("a code")
}

/// The steps from one machine to servers.
async fn moves(city: &City, data: &Path) {
    let (seed, ca) = (city.secret("nats/restore.nk"), city.secret("tls/ca.pem"));
    let (servers, monitor) = (city.urls()[0].clone(), city.server().monitor_url());
    run(&[
        &"migrate",
        &"--from",
        &data,
        &"--to",
        &servers,
        &"--nkey-file",
        &seed,
        &"--ca",
        &ca,
        &"--replicas",
        &"1",
        &"--monitor",
        &monitor,
    ])
    .await;
    let provision = city.config_of("provision");
    let words: [&dyn AsRef<OsStr>; 5] = [&"provision", &"--vault-pages", &"64", &"--config", &provision];
    let mut command = tokio::process::Command::new(program("citycode"));
    command.args(words.map(|word| word.as_ref()));
    let refused = Process::output(&mut command).await.expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    let names = said.contains("the part `vault` is missing") && said.contains("--import-follows");
    assert!(!refused.status.success() && names, "{said}");
    run(&[&words[..], &[&"--import-follows"]].concat()).await;
    std::fs::copy(data.join("keys/id-check.key"), city.secret("keys/id-check.key")).expect("it is copied");
    let config = city.config_of("issuer");
    for _ in 0..2 {
        let imported = run(&[&"vault", &"import", &"--config", &config, &"--from", &data]).await;
        assert_eq!(imported, json!({ "people": 1, "erased": 0, "another_holder": 0 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_codes_of_up_are_moved_to_a_distributed_city() {
    let city = City::secured_with(&["--partitions", "16"]).await;
    let data = city.folder.path().join("up");
    let up = [
        "up".as_ref(),
        "--listen".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--data".as_ref(),
        data.as_os_str(),
    ];
    let up = Running::start(&program("citycode"), &up, DEADLINE).await;
    let up = up.expect("it starts");
    let admin = std::fs::read_to_string(data.join("admin.token")).expect("a token");
    let mut numbers = IdNumbers::new(41);
    let (stays, goes) = (numbers.born(date(1950, 5, 5)), numbers.born(date(1951, 5, 5)));
    for number in [&stays, &goes] {
        let person = json!({ "id_number": number, "name": "张小三", "channel": "kiosk" });
        post(&up, &admin, "register", person).await;
    }
    post(&up, &admin, "erase", json!({ "id_number": goes })).await;
    let old = post(&up, &admin, "issue", order(&stays)).await;
    let code = post(&up, &admin, "issue", order(&stays)).await;
    assert!(up.terminate(DEADLINE).await.success());

    moves(&city, &data).await;
    let services = city.start_all("").await;
    let (verifying, door) = (&services.verifier, &services.portal);
    for (code, wanted) in [(&code, "admit"), (&old, "refuse")] {
        eventually("codes are what they were", PATIENCE, || async {
            city.decision(door.url(), "staffed", token(code))
                .await
                .starts_with(wanted)
        })
        .await;
    }
    registers(verifying).await;
    // The ID check uses the copied key, a reprint uses the holder's key.
    let card = json!({ "place": "staffed", "code": token(&code), "id_number": stays });
    let verdict = city.post(door.url(), "verify", card).await;
    assert_eq!(verdict["decision"], "admit", "{verdict}");
    let again = json!({ "id_number": stays, "kind": "offline", "channel": "pc" });
    let reprinted = city.post(door.url(), "reprint", again).await;
    assert_eq!(token(&reprinted), token(&code));
    let next = city.issue(door.url(), &stays, "offline").await;
    assert_eq!(next["supersedes"], code["code_id"]);
    let unknown = city.call(door.url(), "issue", &order(&goes)).await;
    assert_eq!(unknown.map(|(status, _)| status), Some(404));
}
