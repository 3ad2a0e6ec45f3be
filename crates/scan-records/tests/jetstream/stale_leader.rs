//! Tests of leaders that have less than was seen: a partitioned old leader, or a stream that went back.

use async_nats::Client;
use citycode_jetstream::api::{self, StoredMessage};
use citycode_scan_records::{RecordsError, Registered, ScanRecords as _};
use citycode_testkit::{NatsServer, eventually};
use serde_json::{Value, json};

use crate::fixture::{City, NOON, PATIENCE, TODAY, Verifier, borrowed, note, settings, shown};

const SCANS: u64 = 5;

/// A verifier that knows registrations, and the day's stream as an old leader may have it: in its initial
/// state. Returns the messages that it contained.
async fn before_an_old_leader(city: &City, client: &Client) -> (Verifier, Vec<StoredMessage>) {
    let verifier = city.verifier(NOON).await;
    for scan in 0..SCANS {
        let registered = verifier.register(&format!("scan-{scan}"), "a code").await;
        assert_eq!(registered, Ok(Registered::Now));
    }
    let stream = format!("CC_REGISTERED_{TODAY}");
    let mut messages = Vec::new();
    for sequence in 1..=SCANS {
        let message = api::get_from_leader(client, &stream, &json!({ "seq": sequence })).await;
        messages.push(message.unwrap().unwrap());
    }
    let settings = Value::Object(settings(client, &stream).await);
    let _: Value = api::ask(client, &format!("STREAM.DELETE.{stream}"), &Value::Null)
        .await
        .unwrap();
    api::create_stream(client, &stream, &settings).await.unwrap();
    (verifier, messages)
}

/// Looks up whether a scan was registered before, as for a refused scan.
async fn asked(verifier: &Verifier) -> Result<Option<Registered>, RecordsError> {
    let scan = note(NOON, "desk-1", "scan-0");
    verifier.records.registered(&borrowed(&scan), &shown("a code")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_leader_with_less_than_was_seen_is_not_trusted_until_another_answers() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let (verifier, messages) = before_an_old_leader(&city, &client).await;
    let told = asked(&verifier).await;
    assert!(matches!(told, Err(RecordsError::Unavailable(_))), "{told:?}");
    for message in messages {
        let answer = api::request(&client, message.subject, None, message.payload)
            .await
            .unwrap();
        let _: Value = api::parse(&answer.payload).unwrap();
    }
    eventually("registrations continue", PATIENCE, || async {
        verifier.register("scan-new", "a code").await.is_ok()
    })
    .await;
    let told = asked(&verifier).await;
    assert!(matches!(told, Ok(Some(Registered::Before(_)))), "{told:?}");
    assert_eq!(city.registered(TODAY).await.len() as u64, SCANS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_stream_that_went_back_is_reported_and_refuses_registrations() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let (verifier, _) = before_an_old_leader(&city, &client).await;
    let told = asked(&verifier).await;
    assert!(matches!(told, Err(RecordsError::Unavailable(_))), "{told:?}");
    eventually("health says so", PATIENCE, || async {
        verifier.health_text().contains("WENT BACK")
    })
    .await;
    for scan in ["scan-0", "scan-new"] {
        let refused = verifier.register(scan, "a code").await;
        assert!(matches!(refused, Err(RecordsError::Unavailable(_))), "{refused:?}");
    }
    assert!(city.registered(TODAY).await.is_empty());
}
