//! Network partitions: servers cut off from each other, with and without their clients.

use citycode_event_store_jetstream::{Config, Connection};
use citycode_testkit::{Draw, NatsCluster, Network, eventually_some};

use crate::servers::{ask, cluster};
use crate::town::{PATIENCE, Town};

/// The leader of a partition.
async fn leader(config: &Config, partition: u64) -> usize {
    eventually_some("the partition has a leader", PATIENCE, || async {
        let info = ask(config, &format!("STREAM.INFO.CC_EV_{partition:02}")).await?;
        let leader = info["cluster"]["leader"].as_str()?;
        leader.strip_prefix('n')?.parse().ok()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_servers_cut_from_each_other_lose_nothing_and_prove_nothing() {
    let seed = 31;
    let network = Network::create(3);
    let servers = NatsCluster::start_in(&network).await;
    let config = cluster(&servers);
    let mut draw = Draw::new(seed);
    // Each writer connects to another server, so that one of them is always connected to a server that is not cut off;
    // a client of a cut-off server gets no answer and stays connected.
    let ways = [0, 1].map(|server| Config {
        connection: Connection {
            servers: vec![servers.servers()[server].url()],
            ..config.connection.clone()
        },
        ..config.clone()
    });
    let town = Town::start_by(&config, &ways, seed).await;
    // A leader that is cut off from the other servers, but still reachable for clients.
    for partition in 0..2 {
        town.progress(60).await;
        let leader = leader(&config, partition).await;
        network.cut_inner(leader);
        town.progress(60).await;
        network.restore(leader);
    }
    // A server that is cut off from servers and clients.
    town.progress(60).await;
    let gone = usize::try_from(draw.below(3)).expect("small");
    network.cut(gone);
    town.progress(60).await;
    network.restore(gone);
    // All servers are cut off from each other: none has a majority, all are reachable for clients.
    town.progress(60).await;
    for host in 0..3 {
        network.cut_inner(host);
    }
    town.becomes_stale().await;
    for host in 0..3 {
        network.restore(host);
    }
    town.becomes_fresh().await;
    town.progress(60).await;
    town.end().await;
}
