//! Tests of a server that was down for a long time while a day's key was destroyed: what its disk contains, and
//! the remedy (decision 19).

use async_nats::Client;
use bytes::Bytes;
use citycode_jetstream::api;
use citycode_testkit::{NatsCluster, eventually};
use futures::{StreamExt as _, stream};

use crate::fixture::{City, PATIENCE, TODAY};
use crate::retention::{a_day, folder, holds, key_of};

const KEYS: &str = "CC_SCAN_KEYS";
/// Enough data that the servers compact the replication log at once, as about two minutes of traffic do: over 8
/// MB.
const MESSAGES: usize = 3_000;
const MESSAGE_BYTES: usize = 3_900;
const AT_ONCE: usize = 64;

/// Publishes messages that are not keys until the replication log is compacted; returns the last one.
async fn fill(client: &Client) -> Bytes {
    let mut bytes = vec![0; MESSAGE_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    let bytes = Bytes::from(bytes);
    let filled = stream::iter(0..MESSAGES).map(async |number| {
        eventually("a message is taken", PATIENCE, || async {
            let subject = format!("cc.scankey.v1.no-key-{number}");
            let answer = api::request(client, subject, None, bytes.clone()).await;
            answer.is_ok_and(|answer| api::parse::<serde_json::Value>(&answer.payload).is_ok())
        })
        .await;
    });
    filled.buffer_unordered(AT_ONCE).collect::<()>().await;
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_server_that_was_down_for_long_has_no_destroyed_key_if_it_returns_empty() {
    const STOPPED: usize = 2;
    let mut servers = NatsCluster::start().await;
    let city = City::on_three(&servers).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let key = a_day(&city, &client).await;
    let keeper = city.keeper().await;
    // All required days are created before one of their servers is stopped.
    for day in [TODAY + 1, TODAY + 2] {
        eventually("the days are made", PATIENCE, || async {
            keeper.keep(day, 30).await.is_ok()
        })
        .await;
    }
    for server in servers.servers() {
        eventually("every server has the key", PATIENCE, || async {
            holds(&folder(server, KEYS), &key)
        })
        .await;
    }
    servers.servers_mut()[STOPPED].kill9().await;
    eventually("the day is destroyed", PATIENCE, || async {
        keeper.keep(TODAY + 2, 1).await.is_ok()
    })
    .await;
    assert_eq!(key_of(&client, TODAY).await, None);
    let filler = fill(&client).await;
    // This includes the replication log.
    for server in &servers.servers()[..STOPPED] {
        eventually("the servers that were up do not have it", PATIENCE, || async {
            !holds(&server.store_folder(), &key)
        })
        .await;
    }
    let comes_back = async |servers: &mut NatsCluster| {
        servers.servers_mut()[STOPPED].restart().await;
        let keys = folder(&servers.servers()[STOPPED], KEYS);
        eventually("it has the messages of the meantime", PATIENCE, || async {
            holds(&keys, &filler)
        })
        .await;
    };
    comes_back(&mut servers).await;
    assert!(
        holds(&folder(&servers.servers()[STOPPED], KEYS), &key),
        "a server of this version overwrites what it deletes while it catches up: decision 19 can be updated"
    );
    servers.servers_mut()[STOPPED].kill9().await;
    std::fs::remove_dir_all(servers.servers()[STOPPED].store_folder()).unwrap();
    comes_back(&mut servers).await;
    assert!(
        !holds(&servers.servers()[STOPPED].store_folder(), &key),
        "an empty server was filled with a destroyed key"
    );
}
