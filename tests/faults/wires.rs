//! Networks that are cut: servers from each other, with and without those who call them.

use citycode_event_store_jetstream::{Config, Connection};
use citycode_testkit::{Draw, NatsCluster, Network, eventually_some};

use crate::servers::{ask, cluster};
use crate::town::{PATIENCE, Town};

/// Which server leads a partition.
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
    // Each writer calls a server of its own, so that one of them always calls one that is not cut off: who calls a
    // cut-off server is answered by nobody, and stays there.
    let ways = [0, 1].map(|server| Config {
        connection: Connection {
            servers: vec![servers.servers()[server].url()],
            ..config.connection.clone()
        },
        ..config.clone()
    });
    let town = Town::start_by(&config, &ways, seed).await;
    // A leader that its fellows do not hear, and that still answers whoever calls it.
    for partition in 0..2 {
        town.progress(60).await;
        let leader = leader(&config, partition).await;
        network.cut_inner(leader);
        town.progress(60).await;
        network.restore(leader);
    }
    // A server that nobody hears.
    town.progress(60).await;
    let gone = usize::try_from(draw.below(3)).expect("small");
    network.cut(gone);
    town.progress(60).await;
    network.restore(gone);
    // Each for itself: nobody has a majority, all of them answer.
    town.progress(60).await;
    for host in 0..3 {
        network.cut_inner(host);
    }
    town.goes_blind().await;
    for host in 0..3 {
        network.restore(host);
    }
    town.sees_again().await;
    town.progress(60).await;
    town.end().await;
}
