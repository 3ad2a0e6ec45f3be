//! Tests of retention, which destroys a day's key and streams permanently, and of days without streams.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use citycode_jetstream::api;
use citycode_scan_records::jetstream::JetStreamScanRecords;
use citycode_scan_records::jetstream::keeper::Kept;
use citycode_scan_records::jetstream::retention::Retention;
use citycode_scan_records::{DAY_SECONDS, RecordsError, Registered, ScanRecords as _};
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::health::{HealthRegistry, Probe};
use citycode_testkit::{NatsCluster, NatsServer, StoredBytes, eventually};
use serde_json::json;
use zeroize::Zeroizing;

use crate::fixture::{City, NOON, PATIENCE, TODAY, borrowed, note, random, secret, secrets};

/// Whether a file below a folder contains a part of it; any run of 16 bytes would be enough.
pub(crate) fn holds(folder: &Path, wanted: &[u8]) -> bool {
    StoredBytes::below(folder).contain_run_of(wanted, 16)
}

pub(crate) async fn key_of(client: &Client, day: u32) -> Option<Vec<u8>> {
    let body = json!({ "last_by_subj": format!("cc.scankey.v1.{day}") });
    let key = api::get_from_leader(client, "CC_SCAN_KEYS", &body).await.unwrap();
    key.map(|key| key.payload.to_vec())
}

/// The folder in which a server stores a stream.
pub(crate) fn folder(server: &NatsServer, stream: &str) -> PathBuf {
    server.store_folder().join("jetstream/$G/streams").join(stream)
}

/// Creates a day with a scan and a registration; returns its sealed key.
pub(crate) async fn a_day(city: &City, client: &Client) -> Vec<u8> {
    let verifier = city.verifier(NOON).await;
    verifier.register_patiently("scan-1", "a code").await;
    verifier.records.note(&borrowed(&note(NOON, "gate-1", "scan-2")));
    let archive = city.archive().await;
    eventually("the scan is written", PATIENCE, || async {
        archive.scans(TODAY).await.is_ok_and(|scans| scans.len() == 1)
    })
    .await;
    key_of(client, TODAY).await.unwrap()
}

async fn streams(client: &Client) -> String {
    let names: serde_json::Value = api::ask(client, "STREAM.NAMES", &json!({})).await.unwrap();
    names["streams"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_retention_destroys_the_days_streams_and_key_and_no_file_of_the_server_has_the_key() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let key = a_day(&city, &client).await;
    assert!(holds(&server.store_folder(), &key), "the test looks in the right place");
    let keeper = city.keeper().await;
    assert_eq!(keeper.keep(TODAY, 2).await.unwrap(), Kept::default(), "nothing to do");
    keeper.keep(TODAY + 1, 2).await.unwrap();
    keeper.keep(TODAY + 2, 2).await.unwrap();
    assert_eq!(
        key_of(&client, TODAY).await.as_ref(),
        Some(&key),
        "retained for two more days"
    );
    let third = city.keeper().await;
    // Two concurrent runs, and a repeated one.
    let (one, other) = tokio::join!(keeper.keep(TODAY + 3, 2), third.keep(TODAY + 3, 2));
    let destroyed = [one.unwrap().destroyed, other.unwrap().destroyed].concat();
    assert!(destroyed.contains(&TODAY) && !destroyed.contains(&(TODAY + 1)));
    keeper.keep(TODAY + 3, 2).await.unwrap();
    assert_eq!(key_of(&client, TODAY).await, None);
    let left = streams(&client).await;
    assert!(
        !left.contains(&TODAY.to_string()) && left.contains(&(TODAY + 1).to_string()),
        "{left}"
    );
    assert!(!holds(&server.store_folder(), &key), "the key's bytes are on the disk");
    let archive = city.archive().await;
    assert!(archive.scans(TODAY).await.is_err() && archive.registrations(TODAY).await.is_err());
    assert!(archive.scans(TODAY + 1).await.unwrap().is_empty());
    // A keeper whose clock is behind does not create the day again.
    keeper.keep(TODAY, 2).await.unwrap();
    assert!(!streams(&client).await.contains(&TODAY.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_the_task_destroys_nothing_until_its_clock_is_trusted() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let much_later = NOON + 30 * DAY_SECONDS;
    let clock = Arc::new(ManualClock::at(UnixSeconds(much_later)));
    clock.set_wall(UnixSeconds(much_later - DAY_SECONDS));
    let health = HealthRegistry::new();
    let retention = Retention {
        config: city.config.clone(),
        secrets: secrets(),
        retention_days: 14,
        clock: clock.clone(),
        random: random(),
        component: health.component("scan-records"),
    };
    let task = tokio::spawn(retention.run());
    let reason = || health.report(Probe::Ready).components[0].reason.clone();
    eventually("health names the clock", PATIENCE, || async {
        reason().is_some_and(|reason| reason.contains("clock stepped back"))
    })
    .await;
    assert!(key_of(&client, TODAY).await.is_some(), "its key is destroyed");
    clock.set_wall(UnixSeconds(much_later));
    eventually("a round succeeds", PATIENCE, || async { reason().is_none() }).await;
    assert!(key_of(&client, TODAY).await.is_none(), "its key is kept");
    assert!(key_of(&client, TODAY + 31).await.is_some(), "tomorrow has no key");
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_after_retention_no_stream_file_of_three_servers_has_the_key_or_the_streams() {
    let servers = NatsCluster::start().await;
    let city = City::on_three(&servers).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let key = a_day(&city, &client).await;
    for server in servers.servers() {
        eventually("every server has the key", PATIENCE, || async {
            holds(&folder(server, "CC_SCAN_KEYS"), &key)
        })
        .await;
    }
    let keeper = city.keeper().await;
    for day in TODAY..=TODAY + 2 {
        eventually("the days are managed", PATIENCE, || async {
            keeper.keep(day, 1).await.is_ok()
        })
        .await;
    }
    for server in servers.servers() {
        eventually("every server deletes the day", PATIENCE, || async {
            !holds(&folder(server, "CC_SCAN_KEYS"), &key)
                && !folder(server, &format!("CC_SCANS_{TODAY}")).exists()
                && !folder(server, &format!("CC_REGISTERED_{TODAY}")).exists()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_streams_is_reported_in_health_and_refuses_registrations_until_it_exists() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let verifier = city.verifier(NOON).await;
    // No keeper has run for three days.
    verifier.clock.set_wall(UnixSeconds(NOON + 3 * DAY_SECONDS));
    eventually("health says so", PATIENCE, || async {
        verifier.health_text().contains("REGISTRATIONS ARE REFUSED")
    })
    .await;
    let refused = verifier.register("scan-1", "a code").await;
    assert!(matches!(refused, Err(RecordsError::Unavailable(_))), "{refused:?}");
    // Ordinary scans are buffered until it exists.
    let later = note(NOON + 3 * DAY_SECONDS, "gate-1", "scan-2");
    verifier.records.note(&borrowed(&later));
    city.keeper().await.keep(TODAY + 3, 30).await.unwrap();
    eventually("it heals", PATIENCE, || async {
        verifier.register("scan-1", "a code").await == Ok(Registered::Now)
    })
    .await;
    eventually("health says so", PATIENCE, || async {
        verifier.health_text().is_empty()
    })
    .await;
    verifier.records.flush().await;
    let scans = city.archive().await.scans(TODAY + 3).await.unwrap();
    assert_eq!(scans.into_iter().map(|record| record.scan).collect::<Vec<_>>(), [later]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_another_log_and_missing_records_have_their_own_errors() {
    use citycode_scan_records::jetstream::{OpenError, ScansConfig};
    let server = NatsServer::start().await;
    let opened = async |config: &ScansConfig, secret: Zeroizing<[u8; 32]>| {
        let clock = std::sync::Arc::new(citycode_service_kit::clock::ManualClock::at(UnixSeconds(NOON)));
        let health = citycode_service_kit::health::HealthRegistry::new();
        let records = JetStreamScanRecords::open(config, &secret, random(), clock, health.component("records"));
        tokio::time::timeout(Duration::from_secs(30), records)
            .await
            .unwrap()
            .err()
    };
    let config = ScansConfig {
        connection: citycode_jetstream::Connection::new(vec![server.url()], "test"),
        replicas: 1,
        expected_log_id: Some([1; 16]),
    };
    assert!(matches!(opened(&config, secret()).await, Some(OpenError::NoRecords)));
    let City { config } = City::on_one(&server).await;
    assert!(matches!(
        opened(&config, Zeroizing::new([8; 32])).await,
        Some(OpenError::OtherSecret)
    ));
    let other = ScansConfig {
        expected_log_id: Some([2; 16]),
        ..config.clone()
    };
    assert!(matches!(opened(&other, secret()).await, Some(OpenError::OtherLog)));
    let other = ScansConfig { replicas: 3, ..config };
    assert!(matches!(
        opened(&other, secret()).await,
        Some(OpenError::WrongSettings(_))
    ));
}
