//! `replay`: a verifier without a snapshot reads the whole log from JetStream, compared with a client that drains the
//! same streams without processing.
//!
//! Both read all partitions over one connection: the reference with push consumers without acknowledgements under the
//! server's flow control; the verifier with batches of direct gets, from the log's own account and from a reader's, and
//! from segments of the log's history, with the end of the log by direct gets. The verifier decodes each commit, checks
//! that none is missing, hashes it, and folds it into the status projection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::{Client, StatusCode};
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::history::LogWithHistory;
use citycode_event_store::{EventStore, Layout, LogId, LogPosition, Partition, Sequence};
use citycode_event_store_jetstream::{self as jetstream, Durability, JetStreamEventStore};
use citycode_jetstream::api;
use citycode_log_segments::segment::SEGMENT_COMMITS;
use citycode_log_segments::{self as log_segments, LogSegments};
use citycode_projection::status::{self, FingerprintKey};
use citycode_service_kit::clock::SystemClock;
use citycode_service_kit::entropy::OsEntropy;
use citycode_testkit::NatsServer;
use citycode_token::SigningKey;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::Scale;
use crate::replay::{CityCommits, StatusFold, write_city};
use crate::report::{Figure, Goal, Report};

/// Three commits and four events each.
const HOLDERS: u64 = 100_000;
const ROUNDS: usize = 5;
/// The seed of the user in [`ACCOUNTS`], which is valid on this server only.
const READER: &str = "SUAENZB4XIYPLWNIJNIWSLUDQ6RCMD5KKNFYOFY4M6GEDJ7BGQWYNILPJE";
/// The limit of pending bytes, the log's account and a reader's, with the exports of `citycode secrets`.
const ACCOUNTS: &str = r#"
# The drained streams are more than a server keeps for a slow client by default, 64 MB.
max_pending: 1GB
no_auth_user: log
accounts {
  LOG {
    jetstream: enabled
    users: [ { user: log, password: bench } ]
    exports: [
      { service: "$JS.API.STREAM.INFO.*" }
      { service: "$JS.API.STREAM.MSG.GET.*" }
      { service: "$JS.API.DIRECT.GET.*", response_type: stream }
      { stream: "cc.tail.v1.*" }
    ]
  }
  READER {
    users: [ { nkey: UC2U7X7CUGRIWCUWJA7Q7YMXG3MKLN6KS6XFODVCSAUU7SYCFBN3EII3 } ]
    imports: [
      { service: { account: LOG, subject: "$JS.API.STREAM.INFO.*" }, to: "cc.log.STREAM.INFO.*" }
      { service: { account: LOG, subject: "$JS.API.STREAM.MSG.GET.*" }, to: "cc.log.STREAM.MSG.GET.*" }
      { service: { account: LOG, subject: "$JS.API.DIRECT.GET.*" }, to: "cc.log.DIRECT.GET.*" }
      { stream: { account: LOG, subject: "cc.tail.v1.*" } }
    ]
  }
}
"#;
/// The header in which a heartbeat names the subject that the consumer's flow control waits for.
const STALLED: &str = "Nats-Consumer-Stalled";
const NANOS: u64 = 1_000_000_000;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(report, scale))
}

async fn measure(report: &mut Report, scale: Scale) -> Result<()> {
    let server = NatsServer::start_configured(ACCOUNTS).await;
    let config = jetstream::Config {
        replicas: 1,
        ..jetstream::Config::new(vec![server.url()], "bench", Durability::Unproven)
    };
    let mut reader_account = config.clone();
    reader_account.connection.api = "cc.log".to_owned();
    reader_account.connection.credentials = jetstream::Credentials::NkeySeed(READER.to_owned().into());
    let layout = Layout::default();
    let log_id = LogId([1; 16]);
    jetstream::provision(&config, &jetstream::NewLog::new(log_id, layout)).await?;
    let store = JetStreamEventStore::open(&config).await?;
    write_city(&store, &mut CityCommits::new(layout), 0..scale.of(HOLDERS)).await?;
    let heads = store.heads().await?;
    eprintln!("citycode-bench: replay: {} commits are written", heads.commits());
    write_segments(&config, &heads).await?;
    eprintln!("citycode-bench: replay: their segments are written");
    let commits = heads.commits() as f64;
    let (mut ours, mut ours_as_reader, mut segments, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        eprintln!("citycode-bench: replay: draining");
        bare.push(commits / drain(&config, &heads).await?);
        eprintln!("citycode-bench: replay: a verifier reads the log");
        ours.push(commits / replay(open(&config).await?, &heads).await?);
        eprintln!("citycode-bench: replay: a verifier with a reader's account reads the log");
        ours_as_reader.push(commits / replay(open(&reader_account).await?, &heads).await?);
        eprintln!("citycode-bench: replay: a verifier reads segments");
        segments.push(commits / replay(open_with_segments(&reader_account).await?, &heads).await?);
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let bare = median(&mut bare);
    for (name, mut rates) in [("replay_verifier", ours), ("replay_verifier_apart", ours_as_reader)] {
        let figure = Figure::new(name, median(&mut rates), "commits/s").reference(bare);
        report.push(figure.goal(Goal::RatioAtLeast(0.6)));
    }
    let figure = Figure::new("replay_verifier_segments", median(&mut segments), "commits/s").reference(bare);
    report.push(figure.goal(Goal::RatioAtLeast(1.5)));
    report.note(format!(
        "{commits} commits of four events for three, tokens of 280 sealed bytes, in 16 partitions"
    ));
    Ok(())
}

async fn open(config: &jetstream::Config) -> Result<Arc<dyn EventStore>> {
    Ok(Arc::new(JetStreamEventStore::open(config).await?))
}

async fn open_with_segments(config: &jetstream::Config) -> Result<Arc<dyn EventStore>> {
    let store = open(config).await?;
    let segments = segments(config, &*store);
    Ok(Arc::new(LogWithHistory::new(store, Arc::new(segments))))
}

fn segments(config: &jetstream::Config, store: &dyn EventStore) -> LogSegments {
    let log = (store.log_id(), store.layout());
    LogSegments::new(config.connection.clone(), log, &[signing().public_key()])
}

fn signing() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

/// Writes every complete segment, as a revocation service does.
async fn write_segments(config: &jetstream::Config, heads: &LogPosition) -> Result<()> {
    log_segments::provision(&config.connection, 1).await?;
    let store = open(config).await?;
    let written = segments(config, &*store);
    let publisher = log_segments::Publisher {
        connection: config.connection.clone(),
        signing: signing(),
        signers: vec![signing().public_key()],
        log: store,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
        every: Duration::from_millis(200),
    };
    let publisher = tokio::spawn(publisher.run());
    for (partition, head) in heads.iter() {
        let Some(last) = (head.0 / SEGMENT_COMMITS).checked_sub(1) else {
            continue;
        };
        while written.read(partition, last).await?.is_none() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    publisher.abort();
    Ok(())
}

/// Returns the seconds until a new projection has folded everything.
async fn replay(store: Arc<dyn EventStore>, heads: &LogPosition) -> Result<f64> {
    let partitions = store.layout().partitions();
    let (writer, _reader) = status::new(partitions, FingerprintKey([7; 16]));
    let progress = Progress::new(&LogPosition::start(partitions));
    let from = Instant::now();
    let following = progress.clone();
    let task = tokio::spawn(async move {
        let mut fold = StatusFold(writer);
        drop(follow(&*store, &mut fold, &following).await);
    });
    progress.wait_for_all(heads).await?;
    let seconds = from.elapsed().as_secs_f64();
    task.abort();
    Ok(seconds)
}

/// Returns the seconds until every message has arrived.
async fn drain(config: &jetstream::Config, heads: &LogPosition) -> Result<f64> {
    let client = async_nats::connect(&config.connection.servers).await?;
    let from = Instant::now();
    let partitions = heads
        .iter()
        .map(|(partition, head)| drain_one(client.clone(), partition, head));
    for drained in futures::future::join_all(partitions).await {
        drained?;
    }
    Ok(from.elapsed().as_secs_f64())
}

async fn drain_one(client: Client, partition: Partition, head: Sequence) -> Result<()> {
    let stream = format!("CC_EV_{partition}");
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await?;
    let request = json!({
        "stream_name": stream,
        "config": {
            "deliver_subject": inbox,
            "deliver_policy": "all",
            "ack_policy": "none",
            "flow_control": true,
            "idle_heartbeat": NANOS,
            "mem_storage": true,
        },
    });
    let _: Value = api::ask(&client, &format!("CONSUMER.CREATE.{stream}"), &request).await?;
    let mut left = head.0;
    while left > 0 {
        let message = messages.next().await.context("the subscription ended")?;
        if message.status == Some(StatusCode::IDLE_HEARTBEAT) {
            // A heartbeat of a consumer whose flow control waits names the subject on which it waits.
            let stalled = message.headers.as_ref().and_then(|headers| headers.get(STALLED));
            let stalled = stalled.map(|subject| async_nats::Subject::from(subject.as_str()));
            if let Some(reply) = message.reply.or(stalled) {
                client.publish(reply, bytes::Bytes::new()).await?;
            }
        } else {
            left -= 1;
        }
    }
    Ok(())
}
