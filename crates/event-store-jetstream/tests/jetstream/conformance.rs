//! The engine passes the conformance suite on a single server and on a cluster of three, which behave differently.
use std::sync::Arc;

use async_trait::async_trait;
use citycode_event_store::conformance::{self, EngineFactory};
use citycode_event_store::{EventStore, Layout, LogId, ReaderVersion};
use citycode_event_store_jetstream::{Config, JetStreamEventStore, NewLog};
use citycode_testkit::{NatsCluster, NatsServer};

use crate::fixture;

struct JetStream {
    config: Config,
}

#[async_trait]
impl EngineFactory for JetStream {
    async fn create_at(&self, layout: Layout, minimum_reader: ReaderVersion) -> Arc<dyn EventStore> {
        fixture::delete_all_partitions(&self.config).await;
        let new = NewLog {
            minimum_reader,
            ..NewLog::new(LogId([5; 16]), layout)
        };
        fixture::opened(&self.config, &new).await
    }

    async fn restart(&self, store: Arc<dyn EventStore>) -> Option<Arc<dyn EventStore>> {
        let config = Config {
            expected_log_id: Some(store.log_id()),
            seen: Some(store.heads().await.unwrap()),
            ..self.config.clone()
        };
        drop(store);
        Some(Arc::new(JetStreamEventStore::open(&config).await.unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jetstream_engine_conforms_on_one_server() {
    let server = NatsServer::start().await;
    let config = fixture::alone(&server);
    conformance::run_all(&JetStream { config }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jetstream_engine_conforms_on_three_servers() {
    let cluster = NatsCluster::start().await;
    let config = fixture::cluster(&cluster);
    conformance::run_all(&JetStream { config }).await;
}
