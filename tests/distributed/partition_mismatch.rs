//! Accounts on the servers that were made for another number of partitions than the log has: nothing is created, and the
//! refusal says why and what to do.

use citycode_testkit::eventually_some;

use crate::city::{City, DEADLINE, citycode, configured};
use crate::nats_permissions::{ask, ask_as_allowed, thief};
use crate::vault_rollback::{is_refused, succeeds};

fn provision(partitions: &'static str) -> [&'static str; 5] {
    ["provision", "--vault-pages", "64", "--partitions", partitions]
}

/// Whether the servers have the first partition of a log.
async fn has_log(city: &City) -> bool {
    let client = thief(city, "provision").await;
    let info = ask_as_allowed(&client, "$JS.API.STREAM.INFO.CC_EV_00", "").await;
    info["error"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_fewer_partitions_than_the_accounts_is_refused_before_anything_is_created() {
    let city = City::secured_with(&["--partitions", "16"]).await;
    let reasons = [
        "nothing was created",
        "were made for 16 partitions",
        "--partitions is 4",
        "a thief of a seed",
        "run it with --partitions 16",
        "secrets --dir DIR --partitions 4",
        "kill -s HUP",
    ];
    is_refused(&city, "provision", &provision("4"), &reasons).await;
    assert!(!has_log(&city).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_more_partitions_than_the_accounts_is_refused_at_once() {
    let mut city = City::secured().await;
    let reasons = [
        "were made for 4 partitions",
        "--partitions is 16",
        "partitions from 4 on",
        "run it with --partitions 4;",
        "secrets --dir DIR --partitions 16",
    ];
    is_refused(&city, "provision", &provision("16"), &reasons).await;
    assert!(!has_log(&city).await);
    succeeds(&city, "provision", &provision("4")).await;
    let never = [
        "the event log has 4 partitions, which never change",
        "run it with --partitions 4",
    ];
    is_refused(&city, "provision", &provision("16"), &never).await;

    // The accounts are made again for more partitions than the log has.
    has_new_accounts(&mut city, "16").await;
    let said = succeeds(&city, "provision", &provision("4")).await;
    assert!(
        said.contains("were made for 16 partitions") && said.contains("the log has 4"),
        "{said}"
    );
    has_new_accounts(&mut city, "2").await;
    let fewer = [
        "were made for 2 partitions",
        "the log has 4",
        "secrets --dir DIR --partitions 4",
    ];
    is_refused(&city, "provision", &provision("4"), &fewer).await;
}

/// Runs `secrets` again and restarts the server with the new accounts.
async fn has_new_accounts(city: &mut City, partitions: &str) {
    let before = configured(&city.secret(""));
    let folder = city.secret("");
    let words = ["secrets", "--partitions", partitions, "--dir"].map(AsRef::as_ref);
    citycode(&[&words[..], &[folder.as_os_str()]].concat()).await;
    let path = city.server().folder().join("nats.conf");
    let conf = std::fs::read_to_string(&path).expect("a file");
    assert!(conf.contains(&before));
    std::fs::write(&path, conf.replace(&before, &configured(&folder))).expect("a file");
    city.server_mut().restart().await;
    let ready = async || {
        let client = thief(city, "provision").await;
        ask(&client, "$JS.API.STREAM.INFO.CC_EV_00", "").await
    };
    eventually_some("the server answers", DEADLINE, ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_not_restored_to_accounts_with_fewer_partitions() {
    let source = City::on_one().await;
    source.provision().await;
    let folder = source.folder.path().join("archive").display().to_string();
    let (urls, monitor) = (source.urls()[0].clone(), source.server().monitor_url());
    let words = [
        "migrate",
        "--from",
        &urls,
        "--to",
        &folder,
        "--replicas",
        "1",
        "--monitor",
        &monitor,
    ];
    citycode(&words.map(AsRef::as_ref)).await;

    let target = City::secured_with(&["--partitions", "2"]).await;
    let (urls, monitor) = (target.urls()[0].clone(), target.server().monitor_url());
    let seed = target.secret("nats/restore.nk").display().to_string();
    let ca = target.secret("tls/ca.pem").display().to_string();
    let mut command = tokio::process::Command::new(citycode_test_support::program("citycode"));
    command.args([
        "restore",
        "--from",
        &folder,
        "--to",
        &urls,
        "--replicas",
        "1",
        "--monitor",
        &monitor,
    ]);
    command.args(["--nkey-file", &seed, "--ca", &ca]);
    let ended = citycode_testkit::Process::output(&mut command).await.expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "{said}");
    for reason in [
        "were made for 2 partitions",
        "the log has 4",
        "secrets --dir DIR --partitions 4",
    ] {
        assert!(said.contains(reason), "{said}");
    }
    assert!(
        !said.to_lowercase().contains("permissions violation"),
        "it asks, and does not try: {said}"
    );
    assert!(!has_log(&target).await);
}
