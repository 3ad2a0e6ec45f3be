//! A reader proves what it knows by a number that comes back through the log: on an idle log by watermarks, under
//! load by ordinary commits; never past a majority that is gone, and by itself once it is back.
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::{AppendOutcome, BucketTail, EventStore, Layout, LogId, LogPosition, Partition, Position};
use citycode_event_store_jetstream::{Config, EchoAnswers, JetStreamEventStore, NewLog};
use citycode_testkit::{NatsCluster, NatsServer, eventually_some};

use crate::fixture::{PATIENCE, alone, cluster, commit, opened};

async fn open(config: &Config) -> Arc<JetStreamEventStore> {
    let new = NewLog::new(LogId([3; 16]), Layout::new(4, 64).unwrap());
    let store = opened(config, &new).await;
    let mut subscription = store.subscribe_to_all(LogPosition::start(4)).await.unwrap();
    tokio::spawn(async move { while subscription.next_batch().await.is_ok() {} });
    store
}

/// A proof, by asking until one comes: a question on its way to a writer that does not listen yet is lost.
async fn prove(reader: &JetStreamEventStore) -> LogPosition {
    eventually_some("a proof comes", PATIENCE, || async {
        let proof = tokio::time::timeout(Duration::from_secs(2), reader.proved_heads()).await;
        proof.ok().and_then(Result::ok)
    })
    .await
}

fn answer(store: &Arc<JetStreamEventStore>, watermark_every: Duration) {
    let store = Arc::clone(store);
    let answers = EchoAnswers {
        watermark_every,
        patience: Duration::from_millis(20),
        now: Box::new(|| 1),
    };
    tokio::spawn(async move { store.answer_echoes(answers).await });
}

async fn append(store: &JetStreamEventStore, number: u64) -> Position {
    let new = commit(&format!("holder-{number}"), number);
    match store.append_at(new, BucketTail::EMPTY).await.unwrap() {
        AppendOutcome::Appended { position, .. } => position,
        other => panic!("{other:?}"),
    }
}

async fn watermarks(store: &JetStreamEventStore) -> usize {
    let mut count = 0;
    for partition in (0..4).map(Partition) {
        let bucket = store.layout().watermark_bucket(partition);
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
    reason = "how long it took bounds how much may be written"
)]
#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_an_idle_log_get_their_proof_from_few_watermarks() {
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
    let asked = readers.iter().map(|reader| async move {
        let mut last = None;
        for _ in 0..3 {
            let proof = prove(reader).await;
            assert!(proof.sequence(before.partition) >= before.sequence);
            last = Some(proof);
        }
        last
    });
    let proofs = futures::future::join_all(asked).await;
    assert_eq!(proofs.len(), 6);
    let written = watermarks(&first).await;
    assert!(written >= 4, "each of four partitions has one at least: {written}");
    // Eighteen proofs, one for each would be 72. Each of two writers writes one a second in each partition at most.
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(
        written <= 2 * 4 * (seconds + 1),
        "{written} watermarks within {seconds} s"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_partition_needs_no_watermark() {
    let server = NatsServer::start().await;
    let store = open(&alone(&server)).await;
    // So patient that only ordinary commits can answer.
    let writer = Arc::clone(&store);
    tokio::spawn(async move {
        let answers = EchoAnswers {
            watermark_every: PATIENCE,
            patience: 2 * PATIENCE,
            now: Box::new(|| 1),
        };
        writer.answer_echoes(answers).await
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
    assert_eq!(watermarks(&store).await, 0);
}

async fn append_after_all(store: &JetStreamEventStore, number: u64) {
    let new = commit(&format!("holder-{}", number % 32), number);
    let tail = store.bucket_tail(store.layout().bucket_of(&new.stream)).await.unwrap();
    store.append_at(new, tail).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proof_comes_from_a_leader_without_a_majority_and_it_heals_by_itself() {
    let servers = NatsCluster::start().await;
    let config = cluster(&servers);
    let (writer, reader) = (open(&config).await, open(&config).await);
    answer(&writer, Duration::from_millis(200));
    prove(&reader).await;
    for frozen in 1..3 {
        servers.servers()[frozen].sigstop().await;
    }
    // One server is left, which may still think that it leads; three times the watermarks' interval pass, and more.
    let proof = tokio::time::timeout(Duration::from_secs(3), reader.proved_heads()).await;
    assert!(proof.is_err(), "a minority proved {proof:?}");
    for frozen in 1..3 {
        servers.servers()[frozen].sigcont().await;
    }
    prove(&reader).await;
}

/// A stream that takes no appends stands for a partition that has lost its leader: nothing comes back through it.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_in_which_nothing_can_be_written_holds_up_the_proof_of_no_other() {
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
    // What was asked for before this may be on its way back.
    eventually_some("all others are proved, and it is not", PATIENCE, || async {
        let (proved, mut heads) = tokio::sync::mpsc::unbounded_channel();
        let asked = tokio::time::timeout(Duration::from_secs(2), reader.prove_heads(proved)).await;
        let mut told = std::collections::BTreeSet::new();
        while let Ok(head) = heads.try_recv() {
            told.insert(head.partition);
        }
        let others = (0..4).map(Partition).filter(|partition| *partition != silent);
        (asked.is_err() && told == others.collect()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_writer_there_is_no_proof_and_garbage_is_no_number() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    let reader = open(&config).await;
    let unanswered = tokio::time::timeout(Duration::from_millis(500), reader.proved_heads()).await;
    assert!(unanswered.is_err());
    let writer = open(&config).await;
    answer(&writer, Duration::from_millis(100));
    let stranger = crate::fixture::client(&config).await;
    for garbage in ["", ".", "a.", "a,b", "x.1\r\nNats-Rollup: all", &"a.1".repeat(20)] {
        stranger.publish("cc.echo.v1", garbage.to_owned().into()).await.unwrap();
    }
    stranger.flush().await.unwrap();
    prove(&reader).await;
    let client = crate::fixture::client(&config).await;
    for partition in 0..4 {
        let stored =
            crate::fixture::ask(&client, &format!("STREAM.MSG.GET.CC_EV_{partition:02}"), r#"{"seq":1}"#).await;
        let headers = stored["message"]["hdrs"].as_str().unwrap();
        let headers = data_encoding::BASE64.decode(headers.as_bytes()).unwrap();
        let headers = String::from_utf8(headers).unwrap();
        let numbers = headers.lines().find_map(|line| line.strip_prefix("CC-Echo: ")).unwrap();
        assert_eq!(numbers.split(',').count(), 1, "{numbers}");
    }
}
