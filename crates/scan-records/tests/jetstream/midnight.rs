//! Tests of midnight, and of clocks that disagree about it.

use citycode_jetstream::api;
use citycode_scan_records::{DAY_SECONDS, RecordsError, Registered};
use citycode_service_kit::clock::{Clock as _, UnixSeconds};
use citycode_testkit::{NatsServer, eventually};
use futures::future::join_all;
use serde_json::{Map, Value, json};

use crate::fixture::{City, NOON, PATIENCE, TODAY, assert_recorded_once, settings};

const MIDNIGHT: i64 = (TODAY as i64 + 1) * DAY_SECONDS;

/// Scans in the streams of both days together.
async fn in_both_days(city: &City) -> Vec<String> {
    let mut all = city.registered(TODAY).await;
    all.extend(city.registered(TODAY + 1).await);
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_scan_around_midnight_is_one_record_with_any_clocks() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    // One clock is ten minutes ahead of the other.
    let verifiers = [city.verifier(MIDNIGHT - 300).await, city.verifier(MIDNIGHT + 300).await];
    let calls = (0..60).flat_map(|scan| (0..4).map(move |caller| (scan, caller)));
    let answers = join_all(calls.map(|(scan, caller)| {
        let verifier = &verifiers[(scan + caller) % 2];
        async move {
            let answer = verifier.register_patiently(&format!("scan-{scan:02}"), "a code").await;
            (scan, answer)
        }
    }))
    .await;
    for scan in 0..60 {
        let of_one = answers.iter().filter(|(of, _)| *of == scan).map(|(_, answer)| answer);
        assert_recorded_once(&format!("scan-{scan:02}"), of_one);
    }
    let expected: Vec<_> = (0..60).map(|scan| format!("scan-{scan:02}")).collect();
    assert_eq!(in_both_days(&city).await, expected);
    // The verifier that is behind continues, in the stream of the new day and with its own time.
    let [behind, _] = &verifiers;
    assert_eq!(behind.register("late", "a code").await, Ok(Registered::Now));
    let records = city.archive().await.registrations(TODAY + 1).await.unwrap();
    let late = records.iter().find(|record| &*record.scan.scan_id == "late");
    assert_eq!(late.map(|record| record.scan.at), Some(behind.clock.now().0));
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_scan_id_is_remembered_until_the_end_of_the_day_after_its_own() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let keeper = city.keeper().await;
    let verifier = city.verifier(MIDNIGHT - 1).await;
    assert_eq!(verifier.register("scan", "a code").await, Ok(Registered::Now));
    let to = async |day: u32, second: i64| {
        keeper.keep(day, 30).await.unwrap();
        let now = i64::from(day) * DAY_SECONDS + second;
        verifier.clock.set_wall(UnixSeconds(now));
        eventually("the day is open", PATIENCE, || async {
            !matches!(
                verifier.register(&format!("first of {day}"), "a code").await,
                Err(RecordsError::Unavailable(_))
            )
        })
        .await;
    };
    to(TODAY + 1, 0).await;
    assert!(matches!(
        verifier.register("scan", "a code").await,
        Ok(Registered::Before(_))
    ));
    to(TODAY + 1, DAY_SECONDS - 1).await;
    let again = city.verifier(verifier.clock.now().0).await;
    assert!(matches!(
        again.register("scan", "a code").await,
        Ok(Registered::Before(_))
    ));
    to(TODAY + 2, 0).await;
    assert_eq!(
        verifier.register("scan", "a code").await,
        Ok(Registered::Now),
        "a new scan"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_day_is_writable_only_after_the_day_before_is_open() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let verifier = city.verifier(NOON).await;
    assert_eq!(verifier.register("scan", "a code").await, Ok(Registered::Now));
    city.keeper().await.keep(TODAY + 1, 30).await.unwrap();
    let stream = format!("CC_SCANS_{TODAY}");
    let as_made = settings(&client, &stream).await;
    let mut changed = as_made.clone();
    changed.insert("max_msgs".into(), json!(1_000_000));
    let update = async |settings: Map<String, Value>| {
        let updated: Value = api::ask(&client, &format!("STREAM.UPDATE.{stream}"), &Value::Object(settings))
            .await
            .unwrap();
        drop(updated);
    };
    update(changed).await;
    // It starts on the next day, whose streams and those of the day after it are open.
    let verifier = city.verifier(NOON + DAY_SECONDS).await;
    let refused = verifier.register("scan", "a code").await;
    assert!(matches!(refused, Err(RecordsError::Unavailable(_))), "{refused:?}");
    eventually("health says why", PATIENCE, || async {
        verifier.health_text().contains(&stream)
    })
    .await;
    update(as_made).await;
    eventually("the day before is open", PATIENCE, || async {
        matches!(verifier.register("scan", "a code").await, Ok(Registered::Before(_)))
    })
    .await;
    assert!(city.registered(TODAY + 1).await.is_empty() && city.registered(TODAY + 2).await.is_empty());
}
