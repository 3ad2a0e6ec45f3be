//! The engine of a city, on real servers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_access_records::jetstream::{
    Environment, JetStreamRecords, Limits, OpenError, RecordsConfig, provision, stream_name,
};
use citycode_access_records::{AccessRecords, Entry, Table};
use citycode_jetstream::Connection;
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_service_kit::entropy::{Entropy as _, OsEntropy};
use citycode_testkit::{NatsCluster, NatsProxy, NatsServer, Traffic, eventually};
use serde_json::{Value, json};

use crate::conformance::{self, Engine};

const KEY: [u8; 32] = [7; 32];
const PATIENCE: Duration = Duration::from_secs(60);

fn config(urls: Vec<String>, replicas: u8) -> RecordsConfig {
    RecordsConfig {
        connection: Connection::new(urls, "test"),
        replicas,
    }
}

fn environment() -> Environment {
    let clock = Arc::new(SystemClock::new());
    let monotonic = Arc::clone(&clock);
    Environment {
        now: Arc::new(move || clock.now().0),
        monotonic: Arc::new(move || monotonic.monotonic()),
        fill_random: Arc::new(|bytes| OsEntropy.fill(bytes)),
    }
}

fn now() -> i64 {
    SystemClock::new().now().0
}

fn until(expires_at: i64) -> Entry<'static> {
    Entry {
        value: b"value",
        expires_at,
    }
}

async fn provisioned() -> NatsServer {
    let server = NatsServer::start().await;
    provision(&config(vec![server.url()], 1), &KEY, [1; 16]).await.unwrap();
    server
}

async fn opened(url: String) -> JetStreamRecords {
    let opened = JetStreamRecords::open(&config(vec![url], 1), &KEY, environment()).await;
    opened.unwrap()
}

/// For servers that do not answer.
async fn impatient(config: &RecordsConfig) -> JetStreamRecords {
    let limits = Limits {
        read_within: Duration::from_secs(1),
        write_within: Duration::from_secs(1),
        ..Limits::default()
    };
    let opened = JetStreamRecords::with_limits(config, &KEY, environment(), limits).await;
    opened.unwrap()
}

/// A server with records that it keeps for no time after their expiry.
struct City {
    server: NatsServer,
}

impl City {
    async fn opened(&self, most: Option<u64>) -> Arc<dyn AccessRecords> {
        let limits = Limits {
            most,
            kept_after_expiry: Duration::ZERO,
            ..Limits::default()
        };
        let config = config(vec![self.server.url()], 1);
        let opened = JetStreamRecords::with_limits(&config, &KEY, environment(), limits).await;
        Arc::new(opened.unwrap())
    }
}

#[async_trait]
impl Engine for City {
    async fn open(&self) -> Arc<dyn AccessRecords> {
        Arc::new(opened(self.server.url()).await)
    }

    async fn limited(&self, most: u64) -> Arc<dyn AccessRecords> {
        self.opened(Some(most)).await
    }

    async fn restart(&mut self) {
        self.server.restart().await;
    }

    fn now(&self) -> i64 {
        now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_of_a_city_conforms() {
    let server = provisioned().await;
    conformance::run(City { server }).await;
}

/// A request of the servers' API, as their administrator.
async fn admin(server: &NatsServer, request: &str, body: &Value) -> Value {
    let client = async_nats::connect(server.url()).await.unwrap();
    let answer = client
        .request(format!("$JS.API.{request}"), body.to_string().into())
        .await;
    serde_json::from_slice(&answer.unwrap().payload).unwrap()
}

async fn delete_all(server: &NatsServer) {
    for table in Table::ALL {
        let deleted = admin(server, &format!("STREAM.DELETE.{}", stream_name(table)), &json!({})).await;
        assert_eq!(deleted["success"], true, "{deleted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_missing_mixed_or_of_another_key_are_not_used() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    let open = async |key: &[u8; 32]| JetStreamRecords::open(&config, key, environment()).await.map(drop);
    assert!(matches!(open(&KEY).await, Err(OpenError::NoStream(_))));
    provision(&config, &KEY, [1; 16]).await.unwrap();
    assert!(matches!(open(&[8; 32]).await, Err(OpenError::OtherKey)));
    let again = provision(&config, &[8; 32], [2; 16]).await;
    assert!(matches!(again, Err(OpenError::OtherKey)));
    // An interrupted run is completed with the id of the existing streams.
    let pairings = stream_name(Table::Pairing);
    admin(&server, &format!("STREAM.DELETE.{pairings}"), &json!({})).await;
    assert!(matches!(open(&KEY).await, Err(OpenError::NoStream(name)) if name == pairings));
    provision(&config, &KEY, [2; 16]).await.unwrap();
    open(&KEY).await.unwrap();
    // A stream of other records.
    let info = admin(&server, &format!("STREAM.INFO.{pairings}"), &json!({})).await;
    let mut settings = info["config"].clone();
    settings["metadata"]["citycode.access.id"] = json!("02".repeat(16));
    admin(&server, &format!("STREAM.UPDATE.{pairings}"), &settings).await;
    assert!(matches!(open(&KEY).await, Err(OpenError::Mixed(name)) if name == pairings));
    // A stream that forgets.
    let mut settings = info["config"].clone();
    settings["max_age"] = json!(120_000_000_000_u64);
    admin(&server, &format!("STREAM.UPDATE.{pairings}"), &settings).await;
    assert!(matches!(open(&KEY).await, Err(OpenError::WrongSettings { stream, .. }) if stream == pairings));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_lost_make_every_earlier_session_invalid_and_a_running_portal_notices() {
    let server = provisioned().await;
    let running = impatient(&config(vec![server.url()], 1)).await;
    let before = running.session_key(&KEY);
    let patient = opened(server.url()).await;
    assert!(
        patient
            .create(Table::EndedSession, b"s", until(now() + 100), now())
            .await
            .unwrap()
    );
    delete_all(&server).await;
    provision(&config(vec![server.url()], 1), &KEY, [2; 16]).await.unwrap();
    assert_ne!(*opened(server.url()).await.session_key(&KEY), *before);
    // The last proof of the running portal counts for a second.
    eventually("the running portal does not know", PATIENCE, || async {
        running.get(Table::EndedSession, b"s", now()).await.is_err()
    })
    .await;
    running
        .create(Table::EndedSession, b"t", until(now() + 100), now())
        .await
        .unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_server_nothing_is_known_and_a_restart_keeps_every_record() {
    let mut server = provisioned().await;
    let (patient, records) = (
        opened(server.url()).await,
        impatient(&config(vec![server.url()], 1)).await,
    );
    assert!(
        patient
            .create(Table::EndedSession, b"s", until(now() + 1_000), now())
            .await
            .unwrap()
    );
    server.kill9().await;
    records.get(Table::EndedSession, b"absent", now()).await.unwrap_err();
    let created = records.create(Table::EndedSession, b"t", until(now() + 1_000), now());
    created.await.unwrap_err();
    records.list(Table::EndedSession, now()).await.unwrap_err();
    server.restart().await;
    eventually("it answers again", PATIENCE, || async {
        records
            .get(Table::EndedSession, b"s", now())
            .await
            .is_ok_and(|record| record.is_some())
    })
    .await;
}

/// The leader that is left alone answers reads for up to some 20 s as if nothing had happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_the_other_servers_is_not_believed() {
    let mut cluster = NatsCluster::start().await;
    let config = config(cluster.urls(), 3);
    eventually("the records are made", PATIENCE, || async {
        provision(&config, &KEY, [1; 16]).await.is_ok()
    })
    .await;
    let table = Table::EndedSession;
    let patient = JetStreamRecords::open(&config, &KEY, environment()).await.unwrap();
    let records = impatient(&config).await;
    assert!(patient.create(table, b"s", until(now() + 1_000), now()).await.unwrap());
    assert!(patient.get(table, b"s", now()).await.unwrap().is_some());
    let client = async_nats::connect(cluster.urls()).await.unwrap();
    let info = client
        .request(format!("$JS.API.STREAM.INFO.{}", stream_name(table)), "".into())
        .await;
    let info: Value = serde_json::from_slice(&info.unwrap().payload).unwrap();
    let leader = info["cluster"]["leader"].as_str().unwrap().to_owned();
    let left = cluster.servers().iter().find(|server| server.name() == leader).unwrap();
    let alone = async_nats::connect(left.url()).await.unwrap();
    for server in cluster.servers_mut() {
        if server.name() != leader {
            server.kill9().await;
        }
    }
    // The leader still answers that there is no such record, until it steps down: then it reports that it has no leader,
    // or nothing at all.
    let request = format!("$JS.API.STREAM.MSG.GET.{}", stream_name(table));
    let body = json!({ "last_by_subj": format!("cc.access.v1.{}.ended_sessions.61", "01".repeat(16)) });
    if let Ok(told) = alone.request(request, body.to_string().into()).await {
        let told: Value = serde_json::from_slice(&told.payload).unwrap();
        let code = told["error"]["err_code"].as_u64();
        assert!(
            code.is_some_and(|code| [10_037, 10_008, 10_009].contains(&code)),
            "{told}"
        );
    }
    // It is not believed in either state. The last proof counts for a second.
    eventually("what is not recorded is not known", PATIENCE, || async {
        records.get(table, b"absent", now()).await.is_err()
    })
    .await;
    records
        .create(table, b"t", until(now() + 1_000), now())
        .await
        .unwrap_err();
    for server in cluster.servers_mut() {
        if server.name() != leader {
            server.restart().await;
        }
    }
    eventually("they answer again", 2 * PATIENCE, || async {
        records
            .get(table, b"s", now())
            .await
            .is_ok_and(|record| record.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_answer_was_lost_recognises_its_own_record() {
    let server = provisioned().await;
    // The proxy holds this record's messages, and no proofs of freshness.
    let subject = format!("cc.access.v1.{}.devices.6b", "01".repeat(16));
    let proxy = NatsProxy::to(&server.url(), &subject).await;
    let (records, other) = (opened(proxy.address().to_owned()).await, opened(server.url()).await);
    proxy.set(Traffic::Hold);
    let creating = tokio::spawn({
        let records = records.clone();
        async move { records.create(Table::Device, b"k", until(now() + 1_000), now()).await }
    });
    eventually("it is sent a second time", PATIENCE, || async {
        proxy.held().await >= 2
    })
    .await;
    proxy.set(Traffic::Forward);
    proxy.release().await;
    assert!(creating.await.unwrap().unwrap());
    assert!(other.get(Table::Device, b"k", now()).await.unwrap().is_some());
}
