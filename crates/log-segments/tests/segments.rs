//! Segments over a real server: they deliver what the log delivers, and any other object is refused.

use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::conformance::sample_commit;
use citycode_event_store::history::{HistorySource as _, LogWithHistory};
use citycode_event_store::{
    EventStore, Layout, LogId, LogPosition, Partition, RecordedCommit, StreamName, SubscriptionMessage,
};
use citycode_event_store_jetstream::{Config, Durability, JetStreamEventStore, NewLog};
use citycode_log_segments::segment::SEGMENT_COMMITS;
use citycode_log_segments::{BUCKET, LogSegments, Publisher, ReadSegmentError, Refusal, provision};
use citycode_service_kit::clock::SystemClock;
use citycode_service_kit::entropy::OsEntropy;
use citycode_testkit::{NatsServer, append_all, eventually, eventually_some};
use citycode_token::SigningKey;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);
const LOG_ID: LogId = LogId([5; 16]);
/// Two complete segments, and a tail that does not fill one.
const COMMITS: u64 = 2 * SEGMENT_COMMITS + 100;

struct City {
    config: Config,
    log: Arc<JetStreamEventStore>,
    client: async_nats::Client,
    _server: NatsServer,
}

impl City {
    /// A server with a log of one partition and [`COMMITS`] commits, and an empty bucket of segments.
    async fn start() -> Self {
        let server = NatsServer::start().await;
        let config = Config {
            replicas: 1,
            ..Config::new(vec![server.url()], "test", Durability::Unproven)
        };
        let new = NewLog::new(LOG_ID, Layout::new(1, 4_096).expect("a layout"));
        eventually_some("the log is created", PATIENCE, || async {
            citycode_event_store_jetstream::provision(&config, &new).await.ok()
        })
        .await;
        provision(&config.connection, 1).await.expect("the bucket is created");
        let log = JetStreamEventStore::open(&config).await.expect("the log opens");
        let commits = (0..COMMITS).map(|number| {
            let stream = StreamName::new(&format!("stream-{number}")).expect("a name");
            sample_commit(stream, number, vec![7; 300])
        });
        append_all(&log, commits.collect()).await;
        Self {
            client: async_nats::connect(server.url()).await.expect("a connection"),
            log: Arc::new(log),
            config,
            _server: server,
        }
    }

    fn segments(&self, signers: &[[u8; 32]]) -> LogSegments {
        let log = (LOG_ID, self.log.layout());
        LogSegments::new(self.config.connection.clone(), log, signers)
    }

    fn publish(&self, key: &SigningKey) -> Aborted {
        let publisher = Publisher {
            connection: self.config.connection.clone(),
            signing: key.clone(),
            signers: vec![key.public_key()],
            log: self.log.clone(),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
            every: Duration::from_millis(200),
        };
        Aborted(tokio::spawn(publisher.run()))
    }

    /// Waits until a publisher has written both segments.
    async fn published(&self, key: &SigningKey) {
        let segments = self.segments(&[key.public_key()]);
        let publisher = self.publish(key);
        eventually("both segments are written", PATIENCE, || async {
            matches!(segments.read(Partition(0), 1).await, Ok(Some(_)))
        })
        .await;
        drop(publisher);
    }

    async fn ask(&self, verb: &str, body: Value) {
        let request = format!("$JS.API.{verb}.OBJ_{BUCKET}");
        let answer = self
            .client
            .request(request, body.to_string().into())
            .await
            .expect("an answer");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert!(answer.get("error").is_none(), "{answer}");
    }
}

/// A task that ends with its handle.
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

async fn read(log: &dyn EventStore) -> Vec<Arc<RecordedCommit>> {
    let mut subscription = log.subscribe_to_all(LogPosition::start(1)).await.expect("it starts");
    let mut commits = Vec::new();
    loop {
        match subscription.next().await.expect("a message") {
            SubscriptionMessage::EventAppeared(commit) => commits.push(commit),
            SubscriptionMessage::CaughtUp(_) => return commits,
            SubscriptionMessage::FellBehind(_) => {}
        }
    }
}

fn refusal(read: Result<Option<Vec<Arc<RecordedCommit>>>, ReadSegmentError>) -> Refusal {
    match read {
        Err(ReadSegmentError::Refused(why)) => why,
        other => panic!(
            "it was not refused: {:?}",
            other.map(|read| read.map(|commits| commits.len()))
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_a_publisher_deliver_what_the_log_delivers() {
    let city = City::start().await;
    let from_log = read(&*city.log).await;
    assert_eq!(from_log.len() as u64, COMMITS);
    city.published(&key()).await;
    let segments = city.segments(&[key().public_key()]);
    for number in 0..2 {
        let first = usize::try_from(number * SEGMENT_COMMITS).unwrap();
        let read = segments.read(Partition(0), number).await.unwrap().unwrap();
        assert!(read == from_log[first..first + read.len()], "segment {number}");
    }
    assert!(
        segments.read(Partition(0), 2).await.unwrap().is_none(),
        "it is not complete"
    );
    let log = LogWithHistory::new(city.log.clone(), Arc::new(segments));
    assert!(read(&log).await == from_log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_another_key_is_refused_and_the_log_is_read_and_a_publisher_replaces_it() {
    let city = City::start().await;
    city.published(&SigningKey::from_seed([9; 32])).await;
    let segments = city.segments(&[key().public_key()]);
    assert_eq!(refusal(segments.read(Partition(0), 0).await), Refusal::NotSigned);
    let log = LogWithHistory::new(city.log.clone(), Arc::new(segments));
    assert_eq!(read(&log).await.len() as u64, COMMITS);
    city.published(&key()).await;
    let segments = city.segments(&[key().public_key()]);
    for number in 0..2 {
        assert!(
            segments.segment(Partition(0), number).await.is_some(),
            "segment {number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_and_missing_chunks_and_a_segment_under_another_name_are_refused() {
    let city = City::start().await;
    city.published(&key()).await;
    let segments = city.segments(&[key().public_key()]);
    // The signed object of segment 1 as the object of segment 0.
    let meta = |number: u64| {
        let name = data_encoding::BASE64URL.encode(format!("00/{number}").as_bytes());
        format!("$O.{BUCKET}.M.{name}")
    };
    let last = city.client.request(
        format!("$JS.API.STREAM.MSG.GET.OBJ_{BUCKET}"),
        json!({ "last_by_subj": meta(1) }).to_string().into(),
    );
    let last: Value = serde_json::from_slice(&last.await.unwrap().payload).unwrap();
    let info = data_encoding::BASE64
        .decode(last["message"]["data"].as_str().unwrap().as_bytes())
        .unwrap();
    let mut info: Value = serde_json::from_slice(&info).unwrap();
    let chunks = format!("$O.{BUCKET}.C.{}", info["nuid"].as_str().unwrap());
    info["name"] = json!("00/0");
    let stored = city.client.request(meta(0), info.to_string().into()).await.unwrap();
    assert!(String::from_utf8_lossy(&stored.payload).contains("\"seq\""));
    assert_eq!(refusal(segments.read(Partition(0), 0).await), Refusal::OtherSegment);
    // Another chunk after the last one is not read, and a missing one is noticed.
    city.client.request(chunks.clone(), "more".into()).await.unwrap();
    assert!(segments.read(Partition(0), 1).await.unwrap().is_some());
    city.ask("STREAM.PURGE", json!({ "filter": chunks })).await;
    assert_eq!(refusal(segments.read(Partition(0), 1).await), Refusal::OtherBytes);
    // Other bytes of the same length.
    let length = info["size"].as_u64().unwrap();
    let mut rest = usize::try_from(length).unwrap();
    while rest > 0 {
        let chunk = vec![0_u8; rest.min(128 * 1024)];
        rest -= chunk.len();
        city.client.request(chunks.clone(), chunk.into()).await.unwrap();
    }
    assert_eq!(refusal(segments.read(Partition(0), 1).await), Refusal::OtherBytes);
    let log = LogWithHistory::new(city.log.clone(), Arc::new(segments));
    assert_eq!(read(&log).await.len() as u64, COMMITS, "the log is read instead");
    // A publisher that starts replaces the refused segment; it notices missing chunks, not changed ones.
    city.ask("STREAM.PURGE", json!({ "filter": chunks })).await;
    city.published(&key()).await;
    let segments = city.segments(&[key().public_key()]);
    assert!(segments.segment(Partition(0), 0).await.is_some());
}
