//! Tests of a server that was down for a long time during an erasure: what its disk contains, and the remedy
//! (decision 19).

use bytes::Bytes;
use citycode_jetstream::api;
use citycode_testkit::{NatsCluster, eventually};
use citycode_vault::Vault as _;

use crate::fixture::{
    PATIENCE, answered, config, connected, holder, holds, on_disk, on_stream, open, people, versions,
};

/// Enough data that the servers compact the replication log at once, as about two minutes of traffic do: over 8
/// MB.
const MESSAGES: usize = 12;
const MESSAGE_BYTES: usize = 800 * 1024;

/// Publishes messages that are not pages until the replication log is compacted; returns the first bytes of the
/// last one.
async fn fill(urls: Vec<String>) -> Vec<u8> {
    let client = connected(urls).await;
    let mut last = Vec::new();
    for number in 0..MESSAGES {
        last = vec![0; MESSAGE_BYTES];
        aws_lc_rs::rand::fill(&mut last).unwrap();
        let bytes = Bytes::from(last.clone());
        eventually("a message is taken", PATIENCE, || async {
            let subject = format!("$KV.CC_VAULT.x.{number}");
            let answer = api::request(&client, subject, None, bytes.clone()).await;
            answer.is_ok_and(|answer| api::parse::<serde_json::Value>(&answer.payload).is_ok())
        })
        .await;
    }
    last.truncate(240);
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_a_server_that_was_down_for_long_has_no_erased_person_if_it_returns_empty() {
    const STOPPED: usize = 2;
    let mut cluster = NatsCluster::start().await;
    let vault = open(&config(cluster.urls(), 3)).await;
    people(&vault, 0..12).await;
    let before = versions(&cluster.servers()[0]).await;
    for server in cluster.servers() {
        eventually("every server has every page", PATIENCE, || async {
            let disk = on_stream(server);
            before.iter().all(|version| holds(&disk, version))
        })
        .await;
    }
    cluster.servers_mut()[STOPPED].kill9().await;
    answered("the person is erased", async || vault.erase(holder(1, 3)).await).await;
    let after = versions(&cluster.servers()[0]).await;
    let gone: Vec<_> = before.iter().filter(|version| !after.contains(version)).collect();
    assert!(gone.len() >= 2, "both pages of the person were rewritten");
    let last = fill(cluster.urls()[..STOPPED].to_vec()).await;
    // This includes the replication log.
    for server in &cluster.servers()[..STOPPED] {
        eventually("the servers that were up do not have them", PATIENCE, || async {
            let disk = on_disk(server);
            gone.iter().all(|version| !holds(&disk, version))
        })
        .await;
    }
    let comes_back = async |cluster: &mut NatsCluster| {
        cluster.servers_mut()[STOPPED].restart().await;
        eventually("it has the messages of the meantime", PATIENCE, || async {
            let disk = on_stream(&cluster.servers()[STOPPED]);
            after.iter().all(|version| holds(&disk, version)) && holds(&disk, &last)
        })
        .await;
    };
    comes_back(&mut cluster).await;
    let disk = on_stream(&cluster.servers()[STOPPED]);
    assert!(
        gone.iter().all(|version| holds(&disk, version)),
        "a server of this version overwrites what it deletes while it catches up: decision 19 can be updated"
    );
    cluster.servers_mut()[STOPPED].kill9().await;
    std::fs::remove_dir_all(cluster.servers()[STOPPED].store_folder()).unwrap();
    comes_back(&mut cluster).await;
    let disk = on_disk(&cluster.servers()[STOPPED]);
    assert!(
        gone.iter().all(|version| !holds(&disk, version)),
        "an empty server was filled with old versions"
    );
}
