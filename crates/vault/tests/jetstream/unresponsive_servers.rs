//! Tests of servers that do not answer, or not yet: the callers' errors, and how soon they get them.

use std::time::Duration;

use citycode_jetstream::api;
use citycode_testkit::{NatsCluster, NatsServer, eventually_some};
use citycode_vault::jetstream::{JetStreamVault, NewVault, OpenError, provision};
use citycode_vault::{Vault as _, VaultError};
use futures::future::join_all;

use crate::fixture::{
    PATIENCE, answered, config, connected, holder, master, new, number, open, patiently, people, person, random,
    versions,
};

/// The deadline of one change, with a margin for a busy machine; several deadlines in sequence would be far
/// beyond it.
const SOON: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_at_one_page_of_unresponsive_servers_fail_at_once_and_not_in_sequence() {
    let server = NatsServer::start().await;
    let vault = open(&config(vec![server.url()], 1)).await;
    people(&vault, 0..1).await;
    server.sigstop().await;
    // All calls are for the same person, and so for the same page.
    let vault = &vault;
    let calls = (0..8).map(|caller| async move { vault.find_or_create(&number(1), holder(caller, 1), person()).await });
    let results = tokio::time::timeout(SOON, join_all(calls)).await;
    for answer in results.expect("every call failed within the time of one") {
        assert!(matches!(answer, Err(VaultError::Unavailable(_))), "{answer:?}");
    }
    server.sigcont().await;
    let found = answered("the vault is available again", async || {
        vault.find_or_create(&number(1), holder(9, 1), person()).await
    })
    .await;
    // A call that timed out may have succeeded.
    assert!(vault.open(found.holder).await.unwrap().is_some());
}

/// The number of the server that leads the vault's stream.
async fn leader(cluster: &NatsCluster) -> usize {
    let client = connected(cluster.urls()).await;
    eventually_some("the vault's stream has a leader", PATIENCE, || async {
        let info = api::stream_info(&client, "KV_CC_VAULT").await.ok()?;
        let name = info.cluster?.leader?;
        cluster.servers().iter().position(|server| server.name() == name)
    })
    .await
}

/// The write of one issuer waits for the disks of a majority while the other's is refused because of it.
#[tokio::test(flavor = "multi_thread")]
async fn two_issuers_that_open_a_new_vault_wait_for_each_others_keys() {
    let cluster = NatsCluster::start().await;
    let everywhere = config(cluster.urls(), 3);
    patiently("the vault is created", async || provision(&everywhere, &new()).await).await;
    let leader = leader(&cluster).await;
    let followers = (0..3)
        .filter(|number| *number != leader)
        .map(|number| &cluster.servers()[number]);
    for follower in followers.clone() {
        follower.sigstop().await;
    }
    let at_the_leader = &config(vec![cluster.servers()[leader].url()], 3);
    let issuers = [(); 2].map(|()| async move { JetStreamVault::open(at_the_leader, &master(), random()).await });
    for opened in join_all(issuers).await {
        let error = opened.err().expect("no majority stores the keys");
        assert!(error.may_pass(), "{error}");
    }
    for follower in followers {
        follower.sigcont().await;
    }
    let issuers = [(); 2].map(|()| open(&everywhere));
    let [first, second] = join_all(issuers).await.try_into().ok().expect("two");
    people(&first, 0..1).await;
    let found = answered("the other finds the person", async || second.find(&number(0)).await).await;
    assert_eq!(found, Some(holder(1, 0)), "both have the same keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_whose_keys_were_removed_is_not_initialised_again() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    let vault = open(&config).await;
    people(&vault, 0..1).await;
    let client = connected(vec![server.url()]).await;
    let body = serde_json::json!({ "last_by_subj": "$KV.CC_VAULT.i.keys" });
    let keys = api::get_from_leader(&client, "KV_CC_VAULT", &body)
        .await
        .unwrap()
        .unwrap();
    api::erase(&client, "KV_CC_VAULT", keys.sequence).await.unwrap();
    let refused = JetStreamVault::open(&config, &master(), random()).await.err().unwrap();
    assert!(
        matches!(refused, OpenError::KeysLost) && !refused.may_pass(),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_opened_an_earlier_vault_writes_nothing_into_a_new_one() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    let old = open(&config).await;
    people(&old, 0..1).await;
    let client = connected(vec![server.url()]).await;
    let _: serde_json::Value = api::ask(&client, "STREAM.DELETE.KV_CC_VAULT", &serde_json::json!({}))
        .await
        .unwrap();
    let anew = NewVault {
        vault_id: [3; 16],
        ..new()
    };
    provision(&config, &anew).await.unwrap();
    let refused = old
        .find_or_create(&number(1), holder(1, 1), person())
        .await
        .unwrap_err();
    assert!(matches!(refused, VaultError::OtherVault), "{refused}");
    let refused = old.note_erased_up_to(None, &[1]).await.unwrap_err();
    assert!(matches!(refused, VaultError::OtherVault), "{refused}");
    assert!(matches!(old.check_identity().await, Err(VaultError::OtherVault)));
    assert_eq!(versions(&server).await.len(), 0, "the new vault is empty");
    let opened = open(&config).await;
    people(&opened, 0..3).await;
    opened.check_identity().await.unwrap();
}
