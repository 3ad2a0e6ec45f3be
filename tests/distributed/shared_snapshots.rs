//! Shared snapshots: one of several revocation services publishes them, instances that start later use them, and
//! snapshots that revocation did not sign are refused. In all cases the verdicts agree with the log.

mod killed;
mod made_up;
mod permissions;
mod refused;
mod starting;
mod town;

use std::time::Duration;

use citycode_jetstream::{Connection, Credentials};
use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::files;
use citycode_shared_snapshot::seal::SealKey;
use citycode_shared_snapshot::{Published, SharedSnapshots, SnapshotKeys, Statement};
use citycode_testkit::{Running, eventually};
use citycode_token::SigningKey;
use serde_json::Value;

use crate::city::City;
use crate::nats_permissions::thief;

const PATIENCE: Duration = Duration::from_secs(60);
/// A short period, so that a test sees several snapshots.
const OFTEN: &str = "[shared_snapshots]\npublish_seconds = 2\n";
/// A period of an hour, so that only one snapshot is published.
const ONCE: &str = "[shared_snapshots]\npublish_seconds = 3600\n";
const NOT_FROM_SHARED: &str = "[shared_snapshots]\nstart_from = false\n";

/// The store of a kind's snapshots, as revocation's user.
async fn place(city: &City, kind: ProjectionKind) -> SharedSnapshots {
    let mut connection = Connection::new(city.urls().to_vec(), "test");
    if city.is_secured() {
        let seed = std::fs::read_to_string(city.secret("nats/revocation.nk")).expect("a seed");
        connection.credentials = Credentials::NkeySeed(seed.trim().to_owned().into());
        connection.root_certificates = Some(city.secret("tls/ca.pem"));
    }
    let name = match kind {
        ProjectionKind::Status => "keys/status-snapshot.key",
        ProjectionKind::Register => "keys/register-snapshot.key",
    };
    let keys = SnapshotKeys {
        seal: SealKey::new(*files::read_secret(&city.secret(name)).expect("a key")),
        signers: vec![signing(city).public_key()],
    };
    SharedSnapshots::connect(&connection, kind, keys)
        .await
        .expect("a connection")
}

fn signing(city: &City) -> SigningKey {
    let seed = files::read_secret(&city.secret("keys/snapshot-signing.key")).expect("a key");
    SigningKey::from_seed(*seed)
}

/// Waits for a shared snapshot; returns its statement and sequence.
async fn standing(place: &SharedSnapshots) -> (Statement, u64) {
    eventually("there is a shared snapshot", PATIENCE, || async {
        matches!(place.current().await, Ok(Published::Signed { .. }))
    })
    .await;
    match place.current().await {
        Ok(Published::Signed { found, sequence }) => (found.statement, sequence),
        other => panic!("{other:?}"),
    }
}

/// Waits for a snapshot that contains everything in the current log.
async fn standing_of_now(city: &City, place: &SharedSnapshots) -> Statement {
    let heads = heads(city).await;
    eventually("a snapshot is up to date", PATIENCE, || async {
        let (statement, _) = standing(place).await;
        statement.points.iter().zip(&heads).all(|(point, head)| point >= head)
    })
    .await;
    standing(place).await.0
}

async fn heads(city: &City) -> Vec<u64> {
    let client = client(city).await;
    let mut heads = Vec::new();
    for partition in 0..4 {
        let subject = format!("$JS.API.STREAM.INFO.CC_EV_{partition:02}");
        let answer = client.request(subject, "".into()).await.expect("an answer");
        let info: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        heads.push(info["state"]["last_seq"].as_u64().expect("a number"));
    }
    heads
}

async fn client(city: &City) -> async_nats::Client {
    if city.is_secured() {
        thief(city, "revocation").await
    } else {
        async_nats::connect(city.urls()).await.expect("a connection")
    }
}

/// The report of a service's start in its health.
async fn started(service: &Running, projection: &str) -> String {
    let answer = reqwest::get(format!("{}/health/ready", service.url()))
        .await
        .expect("an answer");
    let health: Value = answer.json().await.expect("JSON");
    let components = health["components"].as_array().expect("components").clone();
    let name = format!("{projection}_start");
    let found = components.iter().find(|component| component["name"] == name.as_str());
    found
        .and_then(|found| found["reason"].as_str())
        .unwrap_or("nothing")
        .to_owned()
}
