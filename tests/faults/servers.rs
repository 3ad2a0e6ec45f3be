//! Servers that crash, freeze, or lose the leadership.

use citycode_event_store_jetstream::{Config, Durability};
use citycode_testkit::{Draw, NatsCluster, NatsServer, eventually};
use serde_json::Value;

use crate::town::{PATIENCE, Town};

/// The configuration for a cluster with proved durability.
pub(crate) fn cluster(cluster: &NatsCluster) -> Config {
    let monitors = cluster.monitor_urls();
    Config::new(cluster.urls(), "test", Durability::SyncAlways { monitors })
}

/// The configuration for a single server with proved durability.
pub(crate) fn alone(server: &NatsServer) -> Config {
    let durability = Durability::SyncAlways {
        monitors: vec![server.monitor_url()],
    };
    Config {
        replicas: 1,
        ..Config::new(vec![server.url()], "test", durability)
    }
}

/// A request of the JetStream API; none if there is no answer.
pub(crate) async fn ask(config: &Config, verb: &str) -> Option<Value> {
    let client = async_nats::connect(config.connection.servers.clone()).await.ok()?;
    let answer = client.request(format!("$JS.API.{verb}"), "".into()).await.ok()?;
    serde_json::from_slice(&answer.payload).ok()
}

/// The servers in a random order.
fn shuffled(draw: &mut Draw) -> [usize; 3] {
    let mut order = [0, 1, 2];
    for last in (1..order.len()).rev() {
        let other = usize::try_from(draw.below(last as u64 + 1)).expect("small");
        order.swap(last, other);
    }
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_servers_killed_in_turn_and_two_at_once_lose_nothing() {
    let (seed, mut servers) = (21, NatsCluster::start().await);
    let mut draw = Draw::new(seed);
    let town = Town::start(&cluster(&servers), seed).await;
    for server in shuffled(&mut draw) {
        town.progress(60).await;
        servers.servers_mut()[server].kill9().await;
        town.progress(60).await;
        servers.servers_mut()[server].restart().await;
    }
    town.progress(60).await;
    let [first, second, _] = shuffled(&mut draw);
    for server in [first, second] {
        servers.servers_mut()[server].kill9().await;
    }
    town.becomes_stale().await;
    // One of two is a majority of three again.
    servers.servers_mut()[second].restart().await;
    town.becomes_fresh().await;
    town.progress(60).await;
    servers.servers_mut()[first].restart().await;
    town.progress(60).await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_servers_stopped_in_turn_and_two_at_once_lose_nothing() {
    let (seed, servers) = (22, NatsCluster::start().await);
    let mut draw = Draw::new(seed);
    let town = Town::start(&cluster(&servers), seed).await;
    for server in shuffled(&mut draw) {
        town.progress(60).await;
        servers.servers()[server].sigstop().await;
        town.progress(60).await;
        servers.servers()[server].sigcont().await;
    }
    town.progress(60).await;
    let [first, second, _] = shuffled(&mut draw);
    for server in [first, second] {
        servers.servers()[server].sigstop().await;
    }
    town.becomes_stale().await;
    for server in [first, second] {
        servers.servers()[server].sigcont().await;
    }
    town.becomes_fresh().await;
    town.progress(60).await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_leaders_that_step_down_under_load_lose_nothing() {
    let (seed, servers) = (23, NatsCluster::start().await);
    let config = cluster(&servers);
    let mut draw = Draw::new(seed);
    let town = Town::start(&config, seed).await;
    for _ in 0..8 {
        town.progress(30).await;
        let partition = draw.below(2);
        eventually("the leader steps down", PATIENCE, || async {
            let answer = ask(&config, &format!("STREAM.LEADER.STEPDOWN.CC_EV_{partition:02}")).await;
            answer.is_some_and(|answer| answer["success"] == true)
        })
        .await;
    }
    town.progress(60).await;
    town.end().await;
}
