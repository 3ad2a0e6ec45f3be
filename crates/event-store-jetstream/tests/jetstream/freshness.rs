//! A reader proves its freshness by a nonce that returns through the log: in heartbeats if the log is idle, in ordinary
//! commits under load. Without a majority of the servers there is no proof, and afterwards proofs resume automatically.
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::{
    AppendOutcome, BucketTail, EventStore, Layout, LogId, LogPosition, Partition, Position, ReaderVersion,
};
use citycode_event_store_jetstream::{Config, JetStreamEventStore, NewLog, ProbeAnswers};
use citycode_testkit::{NatsCluster, NatsServer, eventually_some};

use crate::fixture::{PATIENCE, alone, cluster, commit, opened};

async fn open(config: &Config) -> Arc<JetStreamEventStore> {
    open_at(config, ReaderVersion::CURRENT).await
}

async fn open_at(config: &Config, minimum_reader: ReaderVersion) -> Arc<JetStreamEventStore> {
    let new = NewLog {
        minimum_reader,
        ..NewLog::new(LogId([3; 16]), Layout::new(4, 64).unwrap())
    };
    let store = opened(config, &new).await;
    let mut subscription = store.subscribe_to_all(LogPosition::start(4)).await.unwrap();
    tokio::spawn(async move { while subscription.next_batch().await.is_ok() {} });
    store
}

/// Sends probes until one is proved: a probe that is sent before a writer has subscribed is lost.
async fn prove(reader: &JetStreamEventStore) -> LogPosition {
    eventually_some("a proof arrives", PATIENCE, || async {
        let proof = tokio::time::timeout(Duration::from_secs(2), reader.proved_heads()).await;
        proof.ok().and_then(Result::ok)
    })
    .await
}

/// Sends a probe each half second like a verifier, even while earlier ones are in flight.
async fn prove_by_overlapping_probes(reader: &JetStreamEventStore) {
    let mut probes = futures::stream::FuturesUnordered::new();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let proving = async {
        loop {
            tokio::select! {
                _ = tick.tick() => probes.push(reader.proved_heads()),
                Some(Ok(_)) = futures::StreamExt::next(&mut probes) => return,
            }
        }
    };
    tokio::time::timeout(PATIENCE, proving).await.expect("a proof arrives");
}

fn answer(store: &Arc<JetStreamEventStore>, heartbeat_every: Duration) {
    let store = Arc::clone(store);
    let answers = ProbeAnswers {
        heartbeat_every,
        patience: Duration::from_millis(20),
        now: Box::new(|| 1),
    };
    tokio::spawn(async move { store.answer_probes(answers).await });
}

async fn append(store: &JetStreamEventStore, number: u64) -> Position {
    let new = commit(&format!("holder-{number}"), number);
    match store.append_at(new, BucketTail::EMPTY).await.unwrap() {
        AppendOutcome::Appended { position, .. } => position,
        other => panic!("{other:?}"),
    }
}

async fn heartbeats(store: &JetStreamEventStore) -> usize {
    let mut count = 0;
    for partition in (0..4).map(Partition) {
        let bucket = store.layout().heartbeat_bucket(partition);
        count += store
            .read_bucket(bucket, citycode_event_store::Revision::EMPTY)
            .await
            .unwrap()
            .len();
    }
    count
}

#[expect(
    clippy::disallowed_methods,
    reason = "the elapsed time limits the number of heartbeats"
)]
#[tokio::test(flavor = "multi_thread")]
async fn few_heartbeats_prove_the_freshness_of_many_readers_of_an_idle_log() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    let (first, second) = (open(&config).await, open(&config).await);
    for writer in [&first, &second] {
        answer(writer, Duration::from_secs(1));
    }
    let began = std::time::Instant::now();
    let before = append(&first, 1).await;
    let mut readers = Vec::new();
    for _ in 0..6 {
        readers.push(open(&config).await);
    }
    let proving = readers.iter().map(|reader| async move {
        let mut last = None;
        for _ in 0..3 {
            let proof = prove(reader).await;
            assert!(proof.sequence(before.partition) >= before.sequence);
            last = Some(proof);
        }
        last
    });
    let proofs = futures::future::join_all(proving).await;
    assert_eq!(proofs.len(), 6);
    let written = heartbeats(&first).await;
    assert!(written >= 4, "each of four partitions has at least one: {written}");
    // Separate heartbeats for 18 proofs would be 72. Each of two writers writes at most one a second in each partition.
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(
        written <= 2 * 4 * (seconds + 1),
        "{written} heartbeats within {seconds} s"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_partition_needs_no_heartbeat() {
    let server = NatsServer::start().await;
    let store = open(&alone(&server)).await;
    // With this patience only ordinary commits can answer.
    let writer = Arc::clone(&store);
    tokio::spawn(async move {
        let answers = ProbeAnswers {
            heartbeat_every: PATIENCE,
            patience: 2 * PATIENCE,
            now: Box::new(|| 1),
        };
        writer.answer_probes(answers).await
    });
    let writing = Arc::clone(&store);
    let writer = tokio::spawn(async move {
        for number in 0.. {
            append_after_all(&writing, number).await;
        }
    });
    let reader = open(&alone(&server)).await;
    let proof = prove(&reader).await;
    assert!(proof.iter().all(|(_, sequence)| sequence.0 > 0));
    writer.abort();
    assert_eq!(heartbeats(&store).await, 0);
}

async fn append_after_all(store: &JetStreamEventStore, number: u64) {
    let new = commit(&format!("holder-{}", number % 32), number);
    let tail = store.bucket_tail(store.layout().bucket_of(&new.stream)).await.unwrap();
    store.append_at(new, tail).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_proves_nothing_and_proofs_resume_afterwards() {
    let servers = NatsCluster::start().await;
    let config = cluster(&servers);
    let (writer, reader) = (open(&config).await, open(&config).await);
    answer(&writer, Duration::from_millis(200));
    prove(&reader).await;
    for frozen in 1..3 {
        servers.servers()[frozen].sigstop().await;
    }
    // The remaining server may still consider itself the leader. The wait is much longer than the heartbeat interval.
    let proof = tokio::time::timeout(Duration::from_secs(3), reader.proved_heads()).await;
    assert!(proof.is_err(), "a minority proved {proof:?}");
    for frozen in 1..3 {
        servers.servers()[frozen].sigcont().await;
    }
    prove(&reader).await;
}

/// A stream that refuses appends simulates a partition without a leader: no nonce returns through it.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_accepts_no_appends_delays_the_proof_of_no_other() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    let (writer, reader) = (open(&config).await, open(&config).await);
    answer(&writer, Duration::from_millis(100));
    prove(&reader).await;
    let silent = Partition(2);
    let stream = format!("CC_EV_{:02}", silent.0);
    let client = crate::fixture::client(&config).await;
    let info = crate::fixture::ask(&client, &format!("STREAM.INFO.{stream}"), "").await;
    let mut settings = info["config"].clone();
    settings["max_msg_size"] = 1.into();
    let updated = crate::fixture::ask(&client, &format!("STREAM.UPDATE.{stream}"), &settings.to_string()).await;
    assert!(updated["error"].is_null(), "{updated}");
    // An answer from before the change may still be in flight.
    eventually_some(
        "all other partitions are proved, and this one is not",
        PATIENCE,
        || async {
            let (proved, mut heads) = tokio::sync::mpsc::unbounded_channel();
            let proving = tokio::time::timeout(Duration::from_secs(2), reader.prove_heads(proved)).await;
            let mut partitions = std::collections::BTreeSet::new();
            while let Ok(head) = heads.try_recv() {
                partitions.insert(head.partition);
            }
            let others = (0..4).map(Partition).filter(|partition| *partition != silent);
            (proving.is_err() && partitions == others.collect()).then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_writer_there_is_no_proof_and_invalid_probes_are_ignored() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    let reader = open(&config).await;
    let unanswered = tokio::time::timeout(Duration::from_millis(500), reader.proved_heads()).await;
    assert!(unanswered.is_err());
    let writer = open(&config).await;
    answer(&writer, Duration::from_millis(100));
    let stranger = crate::fixture::client(&config).await;
    let mut lists = stranger.subscribe("cc.echoed.v2").await.unwrap();
    for garbage in ["", ".", "a.", "a,b", "x.1\r\nNats-Rollup: all", &"a.1".repeat(20)] {
        for subject in ["cc.echo.v1", "cc.echo.v2.verifier.X", "cc.echoed.v2"] {
            stranger.publish(subject, garbage.to_owned().into()).await.unwrap();
        }
    }
    for subject in ["cc.echo.v2.mayor.X", "cc.echo.v2.verifier"] {
        stranger
            .publish(subject, "a question of 24 bytes..".into())
            .await
            .unwrap();
    }
    stranger.flush().await.unwrap();
    prove(&reader).await;
    for partition in 0..4 {
        for headers in headers(&stranger, partition).await {
            assert!(
                headers.contains("\r\nCC-Echo-Digest: ") && !headers.contains("CC-Echo: "),
                "{headers}"
            );
        }
    }
    let received = async {
        loop {
            let list = futures::StreamExt::next(&mut lists).await.unwrap().payload;
            if list.len() % 16 == 0 && !list.is_empty() {
                return list;
            }
        }
    };
    let list = tokio::time::timeout(PATIENCE, received)
        .await
        .expect("a list is published");
    assert_eq!(list.len(), 16, "one reader sent probes: {list:?}");
}

/// The headers of each of a partition's messages as text.
async fn headers(client: &async_nats::Client, partition: u16) -> Vec<String> {
    let mut all = Vec::new();
    for sequence in 1.. {
        let question = format!("STREAM.MSG.GET.CC_EV_{partition:02}");
        let stored = crate::fixture::ask(client, &question, &format!("{{\"seq\":{sequence}}}")).await;
        let Some(headers) = stored["message"]["hdrs"].as_str() else {
            return all;
        };
        let headers = data_encoding::BASE64.decode(headers.as_bytes()).unwrap();
        all.push(String::from_utf8(headers).unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_a_commit_do_not_grow_with_the_number_of_readers() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    let writer = open(&config).await;
    answer(&writer, Duration::from_millis(200));
    let mut readers = Vec::new();
    for _ in 0..40 {
        readers.push(open(&config).await);
    }
    futures::future::join_all(readers.iter().map(|reader| prove(reader))).await;
    let client = crate::fixture::client(&config).await;
    let before = headers(&client, 0).await.len();
    for _ in 0..3 {
        futures::future::join_all(readers.iter().map(|reader| prove(reader))).await;
    }
    let after = headers(&client, 0).await;
    assert!(after.len() > before);
    for headers in &after[before..] {
        assert!(headers.len() < 300, "{} bytes: {headers}", headers.len());
        assert!(headers.contains("CC-Echo-Digest: "), "{headers}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the duration of proofs is printed, not asserted"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_two_hundred_readers_and_a_flood_by_another_role_prevent_no_proof() {
    let server = NatsServer::start().await;
    let config = Config {
        role: "verifier",
        ..alone(&server)
    };
    let (first, second) = (open(&config).await, open(&config).await);
    for writer in [&first, &second] {
        answer(writer, Duration::from_secs(1));
    }
    let mut readers = Vec::new();
    for _ in 0..200 {
        readers.push(open(&config).await);
    }
    let round = async || {
        let began = std::time::Instant::now();
        let proving = readers.iter().map(|reader| async move {
            prove_by_overlapping_probes(reader).await;
            began.elapsed()
        });
        futures::future::join_all(proving)
            .await
            .into_iter()
            .max()
            .unwrap_or_default()
    };
    round().await;
    let quiet = [round().await, round().await, round().await];
    let mut flood = tokio::task::JoinSet::new();
    for thief in 0..400_u64 {
        let client = crate::fixture::client(&config).await;
        flood.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(500));
            for number in 0.. {
                tick.tick().await;
                let reader = (thief << 32) + number;
                let probe = [&reader.to_be_bytes()[..], &[0; 8], &reader.to_be_bytes()].concat();
                for (subject, bytes) in [
                    ("cc.echo.v2.archive.THIEF", probe),
                    ("cc.echo.v1", format!("t{thief}x{number}.1").into_bytes()),
                ] {
                    client.publish(subject, bytes.into()).await.unwrap();
                }
            }
        });
    }
    let flooded = [round().await, round().await, round().await];
    assert!(!flood.is_empty());
    eprintln!("200 readers, last proof after {quiet:?} normally, {flooded:?} during a flood by 400 connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_writers_of_the_previous_release_prove_freshness_with_those_of_this_one() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    // A reader of the previous release with a writer of this one: its nonce returns in a commit.
    let writer = open_at(&config, ReaderVersion(1)).await;
    let answering = Arc::clone(&writer);
    let answers = ProbeAnswers {
        heartbeat_every: Duration::from_millis(100),
        patience: Duration::from_millis(20),
        now: Box::new(|| 1),
    };
    let answering = tokio::spawn(async move { answering.answer_probes(answers).await });
    let client = crate::fixture::client(&config).await;
    eventually_some("each partition carries the old reader's nonce", PATIENCE, || async {
        client.publish("cc.echo.v1", "beforehand12.1".into()).await.unwrap();
        for partition in 0..4 {
            let carried = headers(&client, partition).await;
            carried
                .iter()
                .find(|headers| headers.contains("\r\nCC-Echo: beforehand12.1"))?;
        }
        Some(())
    })
    .await;
    // A single writer of the previous release with a reader of this one: it copies version 1 nonces into commits.
    answering.abort();
    let mut nonces = client.subscribe("cc.echo.v1").await.unwrap();
    let publisher = client.clone();
    let old = tokio::spawn(async move {
        while let Some(nonce) = futures::StreamExt::next(&mut nonces).await {
            for partition in (0..4).map(Partition) {
                let bucket = writer.layout().heartbeat_bucket(partition);
                let tail = writer.bucket_tail(bucket).await.unwrap();
                let commit = citycode_event_store::heartbeat::commit(partition, &tail, 1);
                let (bytes, _) = citycode_event_store::codec::encode(&commit, &tail.hash).unwrap();
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("CC-Echo", std::str::from_utf8(&nonce.payload).unwrap());
                // Every release sends this header; a message without it is foreign.
                let expected = tail.revision.to_raw().to_string();
                headers.insert("Nats-Expected-Last-Subject-Sequence", expected);
                let subject = format!("cc.ev.v1.{bucket}");
                let sent = publisher.request_with_headers(subject, headers, bytes);
                sent.await.unwrap();
            }
        }
    });
    let reader = open(&config).await;
    prove(&reader).await;
    old.abort();
    // Once programs of the previous release may not read the log, version 1 nonces are no longer answered.
    let writer = open(&config).await;
    writer.raise_minimum_reader(ReaderVersion::CURRENT).await.unwrap();
    answer(&writer, Duration::from_millis(100));
    let reader = open(&config).await;
    for round in 0..3 {
        client
            .publish("cc.echo.v1", format!("afterwards12.{round}").into())
            .await
            .unwrap();
        prove(&reader).await;
    }
    for partition in 0..4 {
        let carried = headers(&client, partition).await;
        assert!(
            !carried.iter().any(|headers| headers.contains("afterwards12")),
            "{carried:?}"
        );
    }
}
