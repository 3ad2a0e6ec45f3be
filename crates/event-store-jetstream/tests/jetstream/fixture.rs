//! Fixtures of this crate's tests.
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use citycode_event_store::conformance::sample_commit;
use citycode_event_store::{NewCommit, StreamName};
use citycode_event_store_jetstream::{Config, Durability, JetStreamEventStore, NewLog, provision};
use citycode_testkit::{NatsCluster, NatsServer, eventually_some};
use serde_json::Value;

/// Enough for elections and server starts on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The configuration for a single server, with proof of its durability.
pub(crate) fn alone(server: &NatsServer) -> Config {
    let durability = Durability::SyncAlways {
        monitors: vec![server.monitor_url()],
    };
    Config {
        replicas: 1,
        ..Config::new(vec![server.url()], "test", durability)
    }
}

/// The configuration for a cluster, with proof of its durability.
pub(crate) fn cluster(cluster: &NatsCluster) -> Config {
    let monitors = cluster.monitor_urls();
    Config::new(cluster.urls(), "test", Durability::SyncAlways { monitors })
}

/// Creates the log if there is none, and opens it; retries while the servers start.
pub(crate) async fn opened(config: &Config, new: &NewLog) -> Arc<JetStreamEventStore> {
    eventually_some("the log is created", PATIENCE, || async {
        provision(config, new).await.ok()
    })
    .await;
    let open = || async { JetStreamEventStore::open(config).await.ok() };
    Arc::new(eventually_some("the log opens", PATIENCE, open).await)
}

pub(crate) async fn client(config: &Config) -> Client {
    async_nats::connect(config.connection.servers.clone())
        .await
        .expect("a server accepts the connection")
}

/// Sends a request to the JetStream API, as an operator would.
pub(crate) async fn ask(client: &Client, verb: &str, body: &str) -> Value {
    let answer = client
        .request(format!("$JS.API.{verb}"), body.to_owned().into())
        .await
        .expect("the API answers");
    serde_json::from_slice(&answer.payload).expect("the API answers in JSON")
}

/// Deletes all streams, so that another log can be created: the names of the streams are fixed.
pub(crate) async fn delete_all_partitions(config: &Config) {
    let client = client(config).await;
    let listed = ask(&client, "STREAM.NAMES", "").await;
    for name in listed["streams"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name is text");
        let deleted = ask(&client, &format!("STREAM.DELETE.{name}"), "").await;
        assert_eq!(deleted["success"], true, "{deleted}");
    }
}

/// A commit with one event; `number` determines its payload and message id.
pub(crate) fn commit(stream: &str, number: u64) -> NewCommit {
    let stream = StreamName::new(stream).expect("a name");
    sample_commit(stream, number, number.to_be_bytes().to_vec())
}
