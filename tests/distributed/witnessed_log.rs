//! `[witnessed_log]` on NATS: a verifier compares what it has folded with the log that the portal publishes, and starts
//! from a shared snapshot that contains the trees.

use std::path::Path;

use citycode_test_support::program;
use citycode_testkit::{IdNumbers, Running, eventually, free_port};
use jiff::civil::date;

use crate::city::{City, DEADLINE, audit, behind, issuer, metric, portal, revocation, verifier};

/// A code on paper is admitted at a staffed place once the ID card was compared.
const OK: &str = "admit_after_id_check/id_check_required";

async fn witness_of(portal: &Running, folder: &Path) -> Running {
    let log = format!("{}/log", portal.url());
    let key = folder.join("witness.key").display().to_string();
    let words = ["witness", "--log", &log, "--key", &key, "--listen", "127.0.0.1:0"];
    let started = Running::start(&program("citycode"), &words, DEADLINE).await;
    started.expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_demand_a_witness_and_start_from_a_shared_snapshot_with_trees() {
    let city = City::on_one().await;
    city.provision().await;
    let first = city.start_all("").await;
    let id_number = IdNumbers::new(44).born(date(1950, 5, 5));
    city.register(first.portal.url(), &id_number).await;
    let code = city.issue(first.portal.url(), &id_number, "offline").await;
    let code = code["token"].as_str().expect("a code").to_owned();
    let witness = witness_of(&first.portal, city.folder.path()).await;
    let keys = reqwest::get(format!("{}/log/keys", first.portal.url())).await;
    let keys = keys.expect("an answer").text().await.expect("a text");
    let log_keys = city.folder.path().join("log-keys");
    std::fs::write(&log_keys, keys).expect("written");
    let vkey = std::fs::read_to_string(city.folder.path().join("witness.state/vkey")).expect("a key");
    first.stop().await;

    let port = free_port();
    let demand = format!(
        "[witnessed_log]\ncodes_older_than_seconds = 0\nwitnesses = [{:?}]\nlog = \"http://127.0.0.1:{port}/log\"\nlog_keys = {log_keys:?}\n",
        vkey.trim()
    );
    let often = format!("[shared_snapshots]\npublish_seconds = 1\n{demand}");
    let asked = format!("witnesses = [{:?}]\n", witness.url());
    let issuer = city.start(&issuer(), "issuer", "").await;
    let revocation = city.start(&revocation(), "revocation", &often).await;
    let audit = city.start(&audit(), "audit", &asked).await;
    let old = city.start(&verifier(), "verifier", &demand).await;
    let services = |verifier: &Running| behind(&[issuer.url()], &[revocation.url()], &[verifier.url()], &[audit.url()]);
    let of_old = city
        .launch(&portal(), "portal", port, city.urls(), &services(&old))
        .await;
    eventually("a witness vouches for the code", 2 * DEADLINE, || async {
        city.decision(of_old.url(), "staffed", &code).await == OK
    })
    .await;

    eventually("a snapshot is shared", 2 * DEADLINE, || async {
        metric(
            &revocation,
            "citycode_shared_snapshots_published_total{projection=\"status\"}",
        )
        .await
            >= 1.0
    })
    .await;
    let new = city.start(&verifier(), "verifier-new", &demand).await;
    let health = reqwest::get(format!("{}/health/ready", new.url())).await;
    let health = health.expect("an answer").text().await.expect("a text");
    assert!(health.contains("started from the snapshot shared at"), "{health}");
    let of_new = city.start(&portal(), "portal-new", &services(&new)).await;
    eventually(
        "a witness vouches for what the snapshot contains",
        2 * DEADLINE,
        || async { city.decision(of_new.url(), "staffed", &code).await == OK },
    )
    .await;
    assert_eq!(metric(&new, "citycode_verifier_forked_partitions").await, 0.0);
}
