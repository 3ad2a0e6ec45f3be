//! `store`: appends on JetStream with our client, compared with bare publishes of the same bytes on the same servers.
//!
//! Both have the same number in flight, send a message id and an expectation with every publish, and read the server's
//! answer. Our client also locks the bucket, hashes the commit, and classifies the answer. The two alternate round by
//! round; each figure is the median round.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, HeaderMap};
use citycode_event_store::conformance::sample_commit;
use citycode_event_store::{
    AppendOutcome, BucketTail, CommitHash, EventStore as _, Layout, LogId, NewCommit, StreamName, codec,
};
use citycode_event_store_jetstream::{Config, Durability, JetStreamEventStore, NewLog, provision};
use citycode_testkit::{NatsCluster, NatsServer, NatsSync};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::Scale;
use crate::report::{Figure, Goal, Report};

/// Appends of a round.
const APPENDS: u64 = 10_000;
const ROUNDS: u64 = 3;
const IN_FLIGHT: usize = 1_000;
/// Sequential publishes of a round.
const SINGLE: u64 = 500;
/// Bytes of a paper code's event, including the sealed token.
const PAYLOAD_BYTES: usize = 280;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for (sync, names) in [
            (NatsSync::EveryTwoMinutes, ["append_1", "append_1_beside_single"]),
            (NatsSync::Always, ["append_1_always", "append_1_always_beside_single"]),
        ] {
            let server = NatsServer::start_with(sync).await;
            measure(report, scale, vec![server.url()], 1, names).await?;
        }
        for (sync, names) in [
            (NatsSync::EveryTwoMinutes, ["append_3", "append_3_beside_single"]),
            (NatsSync::Always, ["append_3_always", "append_3_always_beside_single"]),
        ] {
            let cluster = NatsCluster::start_with(sync).await;
            measure(report, scale, cluster.urls(), 3, names).await?;
        }
        Ok(())
    })
}

async fn measure(
    report: &mut Report,
    scale: Scale,
    servers: Vec<String>,
    replicas: u8,
    names: [&'static str; 2],
) -> Result<()> {
    let config = Config {
        replicas,
        ..Config::new(servers.clone(), "bench", Durability::Unproven)
    };
    let layout = Layout::default();
    let log_id = LogId([1; 16]);
    provision(&config, &NewLog::new(log_id, layout)).await?;
    let store = JetStreamEventStore::open(&config).await?;
    let client = async_nats::connect(servers).await?;
    make_bare_streams(&client, layout).await?;
    let mut commits = Commits::new(layout);
    let (mut ours, mut bare, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let round = commits.draw(scale.of(APPENDS));
        bare.push(publish(&client, layout, &round, IN_FLIGHT).await?);
        ours.push(append(&store, round).await?);
        single.push(publish(&client, layout, &commits.draw(scale.of(SINGLE)), 1).await?);
    }
    let (ours, bare, single) = (median(ours), median(bare), median(single));
    let figure = Figure::new(names[0], ours, "1/s")
        .reference(bare)
        .goal(Goal::RatioAtLeast(0.7));
    report.push(figure);
    let single = Figure::new(names[1], ours, "1/s").reference(single);
    // Group commit is measured on a single server only.
    report.push(if names[0] == "append_1_always" {
        single.goal(Goal::RatioAtLeast(3.0))
    } else {
        single
    });
    Ok(())
}

/// Commits to unused buckets, so that waiting for a bucket's lock is not measured.
struct Commits {
    layout: Layout,
    used: HashSet<citycode_event_store::BucketId>,
    next: u64,
}

impl Commits {
    fn new(layout: Layout) -> Self {
        Self {
            layout,
            used: HashSet::new(),
            next: 0,
        }
    }

    fn draw(&mut self, count: u64) -> Vec<NewCommit> {
        let mut drawn = Vec::new();
        while (drawn.len() as u64) < count {
            self.next += 1;
            let stream = StreamName::new(&format!("holder-{:032x}", self.next)).expect("a name of the alphabet");
            if self.used.insert(self.layout.bucket_of(&stream)) {
                drawn.push(commit(stream, self.next));
            }
        }
        drawn
    }
}

fn commit(stream: StreamName, number: u64) -> NewCommit {
    NewCommit {
        actor: "channel:app;import;0123abcd".into(),
        ..sample_commit(stream, number, vec![7; PAYLOAD_BYTES])
    }
}

async fn append(store: &JetStreamEventStore, commits: Vec<NewCommit>) -> Result<f64> {
    let count = commits.len() as f64;
    let started = Instant::now();
    let mut answers = futures::stream::iter(commits)
        .map(|commit| store.append_at(commit, BucketTail::EMPTY))
        .buffer_unordered(IN_FLIGHT);
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        ensure!(
            matches!(answer, AppendOutcome::Appended { .. }),
            "an append was answered {answer:?}"
        );
    }
    Ok(count / started.elapsed().as_secs_f64())
}

/// Creates streams with the settings of the log's streams and other names.
async fn make_bare_streams(client: &Client, layout: Layout) -> Result<()> {
    for partition in layout.all_partitions() {
        let info = ask(client, &format!("STREAM.INFO.CC_EV_{:02}", partition.0), &json!({})).await?;
        let mut config = info["config"].clone();
        config["name"] = json!(format!("BARE_{:02}", partition.0));
        config["subjects"] = json!([format!("bare.{:02}.*", partition.0)]);
        config["metadata"] = json!({});
        // They do not republish, which is part of our client's cost only.
        config["republish"] = Value::Null;
        let name = format!("STREAM.CREATE.BARE_{:02}", partition.0);
        ask(client, &name, &config).await?;
    }
    Ok(())
}

pub(crate) async fn ask(client: &Client, verb: &str, body: &Value) -> Result<Value> {
    let answer = client
        .request(format!("$JS.API.{verb}"), body.to_string().into())
        .await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    ensure!(answer.get("error").is_none(), "{verb}: {answer}");
    Ok(answer)
}

/// Publishes the same bytes with a message id and an expectation.
async fn publish(client: &Client, layout: Layout, commits: &[NewCommit], in_flight: usize) -> Result<f64> {
    let started = Instant::now();
    let mut answers = futures::stream::iter(commits)
        .map(|commit| async move {
            let (bytes, _) = codec::encode(commit, &CommitHash::NONE)?;
            let bucket = layout.bucket_of(&commit.stream);
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{:?}", commit.command_id).as_str());
            headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
            let subject = format!("bare.{:02}.{:04x}", bucket.partition.0, bucket.bucket);
            let answer = client.request_with_headers(subject, headers, bytes).await?;
            let answer: Value = serde_json::from_slice(&answer.payload)?;
            anyhow::Ok(answer["seq"].as_u64().context("the message was not stored")?)
        })
        .buffer_unordered(in_flight);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(commits.len() as f64 / started.elapsed().as_secs_f64())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
