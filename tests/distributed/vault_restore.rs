//! A vault that is restored from a backup contains people whom the log erased since. An issuer whose snapshot of the
//! log is newer erases them again before it serves calls.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::HolderId;
use citycode_jetstream::{Connection, api};
use citycode_service_kit::files;
use citycode_testkit::{IdNumbers, eventually};
use citycode_vault::Vault as _;
use citycode_vault::jetstream::{JetStreamVault, VaultConfig, VaultKey, VaultKeys};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, DEADLINE, Services, behind, issuer, portal};

const PATIENCE: Duration = Duration::from_secs(30);
const STREAM: &str = "KV_CC_VAULT";

/// The configuration and every message of the vault's stream, as in a backup.
async fn back_up(client: &Client) -> (Value, Vec<api::StoredMessage>) {
    let info = api::stream_info(client, STREAM).await.expect("the vault");
    let (mut messages, mut from) = (Vec::new(), 1);
    loop {
        let body = json!({ "seq": from, "next_by_subj": ">" });
        let Some(message) = api::get_from_leader(client, STREAM, &body).await.expect("an answer") else {
            return (Value::Object(info.config), messages);
        };
        from = message.sequence + 1;
        messages.push(message);
    }
}

async fn restore(client: &Client, (config, messages): &(Value, Vec<api::StoredMessage>)) {
    let _: Value = api::ask(client, &format!("STREAM.DELETE.{STREAM}"), &Value::Null)
        .await
        .expect("it may");
    let _: Value = api::ask(client, &format!("STREAM.CREATE.{STREAM}"), config)
        .await
        .expect("it may");
    for message in messages {
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        let put = api::request(client, subject, None::<HeaderMap>, payload).await;
        put.expect("it is stored");
    }
}

async fn vault(city: &City) -> JetStreamVault {
    let config = VaultConfig {
        connection: Connection::new(city.urls().to_vec(), "test"),
        replicas: 1,
        expected_log_id: None,
        replaced_by: None,
    };
    let master = files::read_secret(&city.secret("keys/vault-master.key")).expect("a key");
    let keys = VaultKeys::only(VaultKey::Master(master));
    let random: citycode_vault::FillRandom = Arc::new(|bytes| bytes.fill(7));
    JetStreamVault::open(&config, &keys, random).await.expect("it opens")
}

/// The current holder of an ID number in the vault.
async fn find_holder(city: &City, id_number: &str) -> Option<HolderId> {
    let number = IdNumber::parse(id_number, date(2026, 1, 1)).expect("a number");
    vault(city).await.find(&number).await.expect("it answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_erasures_are_applied_to_a_restored_vault_before_calls_are_served() {
    let city = City::on_one().await;
    city.provision().await;
    let client = async_nats::connect(city.urls().to_vec()).await.expect("a connection");
    let mut numbers = IdNumbers::new(3);
    let (stays, goes, goes_later) = (
        numbers.born(date(1950, 5, 5)),
        numbers.born(date(1951, 5, 5)),
        numbers.born(date(1952, 5, 5)),
    );
    let Services {
        issuer: issuing,
        revocation: revoking,
        verifier: verifying,
        audit: auditing,
        portal: door,
    } = city.start_all("").await;
    for number in [&stays, &goes, &goes_later] {
        city.register(door.url(), number).await;
        city.issue(door.url(), number, "offline").await;
    }
    let backup = back_up(&client).await;
    for number in [&goes, &goes_later] {
        city.post(door.url(), "erase", json!({ "id_number": number })).await;
    }
    assert!(find_holder(&city, &goes).await.is_none());
    // It stops with a snapshot that contains the erasures.
    assert!(issuing.terminate(DEADLINE).await.success());

    restore(&client, &backup).await;
    for number in [&goes, &goes_later] {
        assert!(find_holder(&city, number).await.is_some(), "the backup has them");
    }
    let issuing = city.start(&issuer(), "issuer", "").await;
    // The issuer is ready, so no waiting is needed from here on.
    for number in [&goes, &goes_later] {
        assert!(find_holder(&city, number).await.is_none());
    }
    assert!(find_holder(&city, &stays).await.is_some());
    assert!(issuing.said().contains("THE VAULT IS OLDER"), "{}", issuing.said());
    let noted = vault(&city)
        .await
        .erased_up_to()
        .await
        .expect("it answers")
        .expect("a mark");
    assert!(noted.iter().sum::<u64>() >= 5, "{noted:?}");

    // A running issuer detects it when it advances the mark.
    restore(&client, &backup).await;
    let services = behind(
        &[issuing.url()],
        &[revoking.url()],
        &[verifying.url()],
        &[auditing.url()],
    );
    let door = city.start(&portal(), "another portal", &services).await;
    city.register(door.url(), &numbers.born(date(1953, 5, 5))).await;
    let forgotten =
        async || find_holder(&city, &goes).await.is_none() && find_holder(&city, &goes_later).await.is_none();
    eventually("they are erased again", PATIENCE, forgotten).await;
    assert!(find_holder(&city, &stays).await.is_some());
}
