//! `roles`: the cost of a subject that contains the writer's role, with which the servers could prevent an issuer's
//! credential from writing standings (docs/decisions/0014).
//!
//! It compares publishes like the log's, to `<bucket>` with an expectation of that subject, with publishes to
//! `<bucket>.<role>` with an expectation of `<bucket>.*`, which all roles must share. Each bucket is written twice,
//! first by one role and then by the other, which expects the first one's write.

use std::time::Instant;

use anyhow::{Context as _, Result};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use citycode_testkit::{NatsCluster, NatsServer, NatsSync};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::Scale;
use crate::report::{Figure, Report};
use crate::store::{ask, median};

/// Buckets of a round, each written twice.
const BUCKETS: u64 = 5_000;
const ROUNDS: u64 = 3;
const IN_FLIGHT: usize = 1_000;
const PARTITIONS: u64 = 16;
/// Bytes of an ordinary commit.
const PAYLOAD_BYTES: usize = 480;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = NatsServer::start_with(NatsSync::Always).await;
        measure(
            report,
            scale,
            vec![server.url()],
            1,
            ["role_first_1_always", "role_second_1_always"],
        )
        .await?;
        drop(server);
        let cluster = NatsCluster::start_with(NatsSync::Always).await;
        measure(
            report,
            scale,
            cluster.urls(),
            3,
            ["role_first_3_always", "role_second_3_always"],
        )
        .await
    })
}

async fn measure(
    report: &mut Report,
    scale: Scale,
    servers: Vec<String>,
    replicas: u8,
    names: [&'static str; 2],
) -> Result<()> {
    let client = async_nats::connect(servers).await?;
    for partition in 0..PARTITIONS {
        for (stream, subjects) in [
            ("PLAIN", format!("plain.{partition}.*")),
            ("ROLE", format!("role.{partition}.*.*")),
        ] {
            let config = json!({
                "name": format!("{stream}_{partition}"), "subjects": [subjects], "num_replicas": replicas,
                "storage": "file", "discard": "new", "deny_delete": true, "deny_purge": true, "allow_direct": true,
                "allow_atomic": true,
            });
            ask(&client, &format!("STREAM.CREATE.{stream}_{partition}"), &config).await?;
        }
    }
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    let buckets = scale.of(BUCKETS);
    for round in 0..ROUNDS {
        let buckets: Vec<u64> = (round * buckets..(round + 1) * buckets).collect();
        for (with_roles, rates) in rates.iter_mut().enumerate() {
            let mut last = vec![0; buckets.len()];
            for (turn, rates) in rates.iter_mut().enumerate() {
                let role = (with_roles == 1).then_some(["i", "r"][turn]);
                let (rate, written) = publish(&client, &buckets, &last, role).await?;
                rates.push(rate);
                last = written;
            }
        }
    }
    let [plain, roles] = rates;
    for ((name, plain), roles) in names.into_iter().zip(plain).zip(roles) {
        report.push(Figure::new(name, median(roles), "1/s").reference(median(plain)));
    }
    Ok(())
}

/// Writes one commit to each bucket after its last one; returns commits per second, and the new end of each bucket.
async fn publish(client: &Client, buckets: &[u64], last: &[u64], role: Option<&str>) -> Result<(f64, Vec<u64>)> {
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let started = Instant::now();
    let answers = futures::stream::iter(buckets.iter().zip(last))
        .map(|(bucket, last)| {
            let payload = payload.clone();
            async move {
                let (partition, number) = (bucket % PARTITIONS, bucket / PARTITIONS);
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Msg-Id", format!("{bucket}-{last}-{role:?}").as_str());
                headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
                let subject = match role {
                    None => format!("plain.{partition}.{number:04x}"),
                    Some(role) => {
                        let all = format!("role.{partition}.{number:04x}.*");
                        headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", all);
                        format!("role.{partition}.{number:04x}.{role}")
                    }
                };
                let answer = client.request_with_headers(subject, headers, payload).await?;
                let answer: Value = serde_json::from_slice(&answer.payload)?;
                answer["seq"]
                    .as_u64()
                    .with_context(|| format!("the message was not stored: {answer}"))
            }
        })
        .buffered(IN_FLIGHT);
    let written: Vec<Result<u64>> = answers.collect().await;
    let written: Vec<u64> = written.into_iter().collect::<Result<_>>()?;
    Ok((buckets.len() as f64 / started.elapsed().as_secs_f64(), written))
}
