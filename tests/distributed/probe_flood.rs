//! Many freshness probes do not prevent a verifier from proving its freshness: four hundred connections with a stolen
//! credential of a reader, and two hundred legitimate readers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use citycode_testkit::{Running, eventually};
use tokio::task::JoinSet;

use crate::city::{City, issuer, metric, revocation, verifier};
use crate::nats_permissions::{messages, thief};

const PATIENCE: Duration = Duration::from_secs(180);
/// The period of a verifier's probes.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Heartbeats of one partition to wait for. They are a third of the strictest limit apart, so that the state would be
/// too old by then.
const HEARTBEATS: u64 = 5;

/// Connections that send probes as a user, each with a new nonce every time.
async fn probing_clients(city: &City, role: &'static str, count: u64) -> JoinSet<()> {
    let seed = std::fs::read_to_string(city.secret(&format!("nats/{role}.nk"))).expect("a seed");
    let key = nkeys::KeyPair::from_seed(seed.trim()).expect("a seed").public_key();
    let mut asking = JoinSet::new();
    for number in 0..count {
        let (client, subject) = (thief(city, role).await, format!("cc.echo.v2.{role}.{key}"));
        asking.spawn(probe_forever(client, subject, number));
    }
    asking
}

async fn probe_forever(client: Client, subject: String, asker: u64) {
    let mut tick = tokio::time::interval(PROBE_EVERY);
    for round in 0_u64.. {
        tick.tick().await;
        let nonce = [&asker.to_be_bytes()[..], &asker.to_be_bytes(), &round.to_be_bytes()].concat();
        let sent = client.publish(subject.clone(), nonce.into()).await;
        // The probe of earlier releases.
        let number = format!("asker{asker}.{round:x}");
        sent.and(client.publish("cc.echo.v1", number.into()).await)
            .expect("it is connected");
    }
}

/// Waits for some heartbeats; returns the greatest age of the verifier's state meanwhile, in seconds.
async fn oldest(log: &Client, verifier: &Running) -> f64 {
    let until = messages(log, "CC_EV_00").await + HEARTBEATS;
    let oldest_ms = AtomicU64::new(0);
    eventually("heartbeats are written", PATIENCE, || async {
        let age = metric(verifier, "citycode_verifier_knowledge_age_seconds").await;
        let age = Duration::try_from_secs_f64(age).unwrap_or(Duration::ZERO);
        oldest_ms.fetch_max(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        messages(log, "CC_EV_00").await >= until
    })
    .await;
    Duration::from_millis(oldest_ms.into_inner()).as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_r24_a_flood_of_probes_does_not_make_a_verifier_stale() {
    let city = City::secured().await;
    city.provision().await;
    let _issuer = city.start(&issuer(), "issuer", "").await;
    let _revocation = city.start(&revocation(), "revocation", "").await;
    let verifier = city.start(&verifier(), "verifier", "").await;
    let log = thief(&city, "issuer").await;
    let quiet = oldest(&log, &verifier).await;
    let flood = probing_clients(&city, "archive", 400).await;
    let flooded = oldest(&log, &verifier).await;
    drop(flood);
    let readers = probing_clients(&city, "verifier", 200).await;
    let many = oldest(&log, &verifier).await;
    drop(readers);
    eprintln!("oldest knowledge: {quiet:.1} s in quiet, {flooded:.1} s flooded by 400, {many:.1} s among 200 readers");
    let stale = metric(&verifier, "citycode_verifier_stale_total").await;
    assert!(stale.abs() < 0.5, "its state became too old {stale} times");
}
