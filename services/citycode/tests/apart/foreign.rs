//! A message in the log that is no commit: whoever follows stops there for good. What verifiers know to be dead stays
//! refused, before and after a restart (R24), and nobody is told to restart them.

use std::time::Duration;

use citycode_testkit::{IdNumbers, eventually, free_port};
use jiff::civil::date;
use serde_json::Value;

use crate::city::{City, audit, behind, issuer, portal, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(60);
const PLACE: &str = "staffed";

/// The status of a probe, and what the verifier's component says.
async fn probe(address: &str, name: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("{address}/health/{name}")).await.ok()?;
    let status = answer.status().as_u16();
    let health: Value = answer.json().await.ok()?;
    let components = health["components"].as_array()?;
    let found = components.iter().find(|component| component["name"] == "verifier")?;
    Some((status, format!("{}: {}", found["state"], found["reason"])))
}

/// Stopped for good, which readiness says and why, and alive.
async fn has_stopped(address: &str) -> bool {
    let ready = probe(address, "ready").await;
    let live = probe(address, "live").await;
    ready.is_some_and(|(status, said)| status == 503 && said.contains("stopped") && said.contains("damaged"))
        && live.is_some_and(|(status, _)| status == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_that_stop_at_a_foreign_message_stay_alive_and_refuse_what_is_dead_after_a_restart_too() {
    let city = City::on_one().await;
    city.provision().await;
    let port = free_port();
    let issuer = city.start(&issuer(), "issuer", "").await;
    let revocation = city.start(&revocation(), "revocation", "").await;
    let judging = city.launch(&verifier(), "verifier", port, city.urls(), "").await;
    let audit = city.start(&audit(), "audit", "").await;
    let services = behind(&[issuer.url()], &[revocation.url()], &[judging.url()], &[audit.url()]);
    let portal = city.start(&portal(), "portal", &services).await;
    let id_number = IdNumbers::new(7).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    let token = |code: Value| code["token"].as_str().expect("a code").to_owned();
    let dead = token(city.issue(portal.url(), &id_number, "offline").await);
    let live = token(city.issue(portal.url(), &id_number, "offline").await);
    let decides =
        async |code: &str, decision: &str| city.decision(portal.url(), PLACE, code).await.starts_with(decision);
    eventually("the replaced code is refused", PATIENCE, || decides(&dead, "refuse")).await;
    eventually("the new one is admitted", PATIENCE, || decides(&live, "admit")).await;

    let writer = async_nats::connect(city.urls()).await.expect("a connection");
    let stored = writer.request("cc.ev.v1.00.0001", "no commit".into()).await;
    let stored = String::from_utf8_lossy(&stored.expect("an answer").payload).into_owned();
    assert!(stored.contains("CC_EV_00"), "{stored}");

    let address = judging.url().to_owned();
    eventually("it stops there", PATIENCE, || has_stopped(&address)).await;
    eventually("the live code cannot be checked", PATIENCE, || {
        decides(&live, "cannot_check")
    })
    .await;
    assert!(
        decides(&dead, "refuse").await,
        "{}",
        city.decision(portal.url(), PLACE, &dead).await
    );

    judging.terminate(PATIENCE).await;
    let program = verifier();
    let again = city.launch(&program, "verifier", port, city.urls(), "");
    let as_before = async {
        eventually("it stops there again", PATIENCE, || has_stopped(&address)).await;
        eventually("what is dead is refused", PATIENCE, || decides(&dead, "refuse")).await;
        eventually("the rest cannot be checked", PATIENCE, || {
            decides(&live, "cannot_check")
        })
        .await;
    };
    tokio::select! {
        _ = again => panic!("it calls itself ready"),
        () = as_before => {}
    }
}
