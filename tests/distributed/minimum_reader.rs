//! A city on NATS with a log of the first release: its services write like that release until an operator raises the
//! log's minimum reader version; then they write the new names of lists, without a restart.

use std::time::Duration;

use async_nats::Client;
use citycode_testkit::{IdNumbers, eventually};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, behind, citycode, portal, verifier};

const PATIENCE: Duration = Duration::from_secs(60);

/// Lowers the minimum reader version to 1, as in a log of the first release.
async fn lower(client: &Client) {
    for partition in 0..4 {
        let stream = format!("CC_EV_{partition:02}");
        let ask = async |verb: &str, body: String| -> Value {
            let asked = client.request(format!("$JS.API.STREAM.{verb}.{stream}"), body.into());
            let answer = asked.await.expect("an answer");
            serde_json::from_slice(&answer.payload).expect("JSON")
        };
        let mut config = ask("INFO", String::new()).await["config"].clone();
        config["metadata"]["citycode.minimum_reader"] = json!("1");
        let answer = ask("UPDATE", config.to_string()).await;
        assert!(answer.get("error").is_none(), "{answer}");
    }
}

/// Whether a code's list has a name that reveals nothing: the digit of the kind is 0.
fn is_new_name(code: &Value) -> bool {
    let list = code["status"]["list"].as_str().expect("a list");
    list.as_bytes()[list.len() - 6] == b'0'
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minimum_reader_version_is_raised_online() {
    let city = City::on_one().await;
    city.provision().await;
    lower(&async_nats::connect(city.urls()).await.expect("a connection")).await;
    let services = city.start_all("").await;
    let door = &services.portal;
    let person = IdNumbers::new(91).born(date(1950, 5, 5));
    city.register(door.url(), &person).await;
    let old = city.issue(door.url(), &person, "offline").await;
    assert!(!is_new_name(&old), "an older program may still read the log: {old}");
    let rename = json!({ "id_number": person, "name": "张晓三", "reason": "登记笔误" });
    let (status, problem) = city.call(door.url(), "rename", &rename).await.expect("an answer");
    assert_eq!(
        (status, &problem["outcome"]),
        (503, &json!("not_done")),
        "names are corrected by an event of the new version: {problem}"
    );
    assert!(problem.to_string().contains("--raise-minimum-reader"), "{problem}");

    let config = city.config_of("provision");
    let words = ["provision", "--raise-minimum-reader", "--output", "json", "--config"].map(AsRef::as_ref);
    let words: Vec<_> = words.into_iter().chain([config.as_os_str()]).collect();
    let current = citycode_event_store::ReaderVersion::CURRENT.0;
    for before in [1, current] {
        let raised: Value = serde_json::from_slice(&citycode(&words).await).expect("JSON");
        assert_eq!(
            (&raised["before"], &raised["minimum_reader"]),
            (&json!(before), &json!(current)),
            "{raised}"
        );
    }
    eventually("the issuer notices", PATIENCE, || async {
        let other = IdNumbers::new(92).born(date(1950, 6, 6));
        city.register(door.url(), &other).await;
        is_new_name(&city.issue(door.url(), &other, "offline").await)
    })
    .await;

    city.post(door.url(), "rename", rename).await;
    let third = IdNumbers::new(93).born(date(1951, 7, 7));
    city.register(door.url(), &third).await;
    let new = city.issue(door.url(), &third, "offline").await;
    assert!(is_new_name(&new), "{new}");
    // A verifier that kept running and one that starts now both have both lists.
    let later = city.start(&verifier(), "verifier-2", "").await;
    let others = behind(
        &[services.issuer.url()],
        &[services.revocation.url()],
        &[later.url()],
        &[services.audit.url()],
    );
    let other_door = city.start(&portal(), "portal-2", &others).await;
    for door in [door, &other_door] {
        for code in [&old, &new] {
            let token = code["token"].as_str().expect("a code");
            eventually("it admits", PATIENCE, || async {
                city.decision(door.url(), "staffed", token).await == "admit_after_id_check/id_check_required"
            })
            .await;
        }
    }
    let lost = json!({ "id_number": third, "kind": "offline", "channel": "kiosk" });
    city.post(door.url(), "report-loss", lost).await;
    for door in [door, &other_door] {
        eventually("it refuses", PATIENCE, || async {
            city.decision(door.url(), "staffed", new["token"].as_str().expect("a code"))
                .await
                == "refuse/reported_lost"
        })
        .await;
    }
}
