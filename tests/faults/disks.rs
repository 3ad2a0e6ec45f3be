//! Disks that are full or slow.

use std::time::Duration;

use citycode_event_store_jetstream::Config;
use citycode_testkit::{NatsCluster, NatsServer, SlowDisk, SmallDisk};

use crate::servers::{alone, cluster};
use crate::town::Town;

/// The delay of a busy rotating disk.
const SLOW: Duration = Duration::from_millis(40);

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_full_disk_refuses_writes_loses_nothing_and_recovers() {
    let (seed, disk) = (41, SmallDisk::mount(48));
    let mut server = NatsServer::start_on(disk.path().join("store")).await;
    let config: Config = alone(&server);
    let town = Town::start(&config, seed).await;
    for _ in 0..2 {
        town.progress(60).await;
        disk.fill();
        town.becomes_stale().await;
        assert!(server.said().contains("no space left"), "{}", server.said());
        disk.free();
        // A NATS server disables JetStream when its disk is full, until it is restarted.
        server.restart().await;
        town.becomes_fresh().await;
    }
    town.progress(60).await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_slow_disk_under_each_server_in_turn_and_under_all_only_costs_time() {
    let (seed, servers) = (42, NatsCluster::start().await);
    let town = Town::start(&cluster(&servers), seed).await;
    let mut all = Vec::new();
    for server in servers.servers() {
        town.progress(30).await;
        let slow = SlowDisk::under(server.process_id(), SLOW).await;
        town.progress(30).await;
        assert!(slow.flushes() > 0, "its disk was asked for nothing");
        all.push(slow);
    }
    town.progress(30).await;
    for slow in all {
        slow.end().await;
    }
    town.progress(60).await;
    town.end().await;
}
