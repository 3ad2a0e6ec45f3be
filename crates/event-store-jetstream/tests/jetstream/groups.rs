//! Group commit: concurrent appends to one partition are published in atomic batches, and each gets its own answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, Layout, LogId, MessageId, NewCommit, Partition,
    Position, RequestDigest, Sequence, StreamName,
};
use citycode_event_store_jetstream::{Config, Durability, JetStreamEventStore, NewLog};
use citycode_testkit::{NatsCluster, NatsServer, eventually_some};
use data_encoding::BASE64;
use futures::future::join_all;

use crate::faults::progress;
use crate::fixture::{PATIENCE, alone, ask, client, cluster, commit, opened};

/// Concurrent appends: more than are published singly, and enough for several batches.
const CROWD: u64 = 400;
/// Pause between two commits of one writer.
const PAUSE: Duration = Duration::from_millis(250);

async fn open(config: &Config) -> Arc<JetStreamEventStore> {
    let new = NewLog::new(LogId([4; 16]), Layout::new(1, 4096).unwrap());
    opened(config, &new).await
}

/// `count` commits to different buckets.
fn crowd(layout: Layout, count: u64) -> Vec<NewCommit> {
    let mut used = BTreeSet::<BucketId>::new();
    let fresh = |number: &u64| {
        let stream = StreamName::new(&format!("holder-{number}")).unwrap();
        used.insert(layout.bucket_of(&stream))
    };
    let numbers = (0..).filter(fresh).take(usize::try_from(count).unwrap());
    numbers
        .map(|number| commit(&format!("holder-{number}"), number))
        .collect()
}

/// The number of messages of the only partition that were written by batches.
async fn in_batches(config: &Config, head: Sequence) -> usize {
    let client = client(config).await;
    let mut grouped = 0;
    for sequence in 1..=head.0 {
        let found = ask(&client, "STREAM.MSG.GET.CC_EV_00", &format!("{{\"seq\":{sequence}}}")).await;
        let headers = found["message"]["hdrs"].as_str().unwrap();
        let headers = BASE64.decode(headers.as_bytes()).unwrap();
        grouped += usize::from(String::from_utf8(headers).unwrap().contains("Nats-Batch-Id"));
    }
    grouped
}

async fn check_answers_of_a_crowd(config: &Config) {
    let store = open(config).await;
    let mut commits = crowd(store.layout(), CROWD);
    // The first bucket has another commit, and the second's and third's commits are already written.
    let other = commit(&String::from(commits[0].stream.as_str()), u64::MAX);
    for before in [other, commits[1].clone(), commits[2].clone()] {
        let outcome = store.append_at(before, BucketTail::EMPTY).await.unwrap();
        assert!(matches!(outcome, AppendOutcome::Appended { duplicate: false, .. }));
    }
    // The third has the same message id but another request digest.
    commits[2].request_digest = RequestDigest([8; 32]);
    let appends = commits
        .iter()
        .cloned()
        .map(|commit| store.append_at(commit, BucketTail::EMPTY));
    let answers = join_all(appends).await;

    assert!(
        matches!(answers[0], Ok(AppendOutcome::WrongExpectedVersion { .. })),
        "{:?}",
        answers[0]
    );
    let Ok(AppendOutcome::Appended {
        position,
        duplicate: true,
        ..
    }) = answers[1]
    else {
        panic!("{:?}", answers[1]);
    };
    assert_eq!(position.sequence, Sequence(2));
    assert!(
        matches!(answers[2], Err(AppendError::IdempotencyKeyReused { .. })),
        "{:?}",
        answers[2]
    );
    let mut sequences = BTreeSet::new();
    for (commit, answer) in commits.iter().zip(&answers).skip(3) {
        let Ok(AppendOutcome::Appended {
            position,
            hash,
            duplicate: false,
            ..
        }) = answer
        else {
            panic!("{answer:?}");
        };
        assert!(sequences.insert(position.sequence), "a sequence was assigned twice");
        let stored = store.read_at(*position).await.unwrap().unwrap();
        assert_eq!((stored.commit.message_id, stored.hash), (commit.message_id, *hash));
    }
    let head = store.head(Partition(0)).await.unwrap();
    assert_eq!(head, Sequence(3 + CROWD - 3));
    let grouped = in_batches(config, head).await;
    assert!(
        grouped * 2 > usize::try_from(CROWD).unwrap(),
        "only {grouped} of {head} were written by batches"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_appends_gets_its_own_answer_on_one_server() {
    let server = NatsServer::start().await;
    check_answers_of_a_crowd(&alone(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_appends_gets_its_own_answer_on_three_servers() {
    let servers = NatsCluster::start().await;
    check_answers_of_a_crowd(&cluster(&servers)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_append_does_not_affect_the_others() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    let store = open(&config).await;
    let commits = crowd(store.layout(), CROWD);
    let tasks: Vec<_> = commits
        .iter()
        .cloned()
        .map(|commit| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.append_at(commit, BucketTail::EMPTY).await })
        })
        .collect();
    for task in tasks.iter().step_by(3) {
        task.abort();
    }
    for (number, task) in tasks.into_iter().enumerate() {
        match task.await {
            Ok(answer) => assert!(matches!(answer, Ok(AppendOutcome::Appended { .. })), "{answer:?}"),
            Err(error) => assert!(error.is_cancelled() && number % 3 == 0, "{error}"),
        }
    }
    // The partition still accepts many concurrent appends.
    let later = crowd(store.layout(), 2 * CROWD);
    let appends = later
        .into_iter()
        .skip(commits.len())
        .map(|commit| store.append_at(commit, BucketTail::EMPTY));
    for answer in join_all(appends).await {
        assert!(
            matches!(answer, Ok(AppendOutcome::Appended { duplicate: false, .. })),
            "{answer:?}"
        );
    }
}

/// Repeatedly appends a commit to each of many buckets concurrently until `stop` is set; repeats the same bytes until
/// each append is answered.
async fn write_concurrently(store: &Arc<JetStreamEventStore>, stop: &Arc<AtomicBool>) -> Vec<(MessageId, Sequence)> {
    let writers = crowd(store.layout(), CROWD)
        .into_iter()
        .enumerate()
        .map(|(number, first)| {
            let (store, stop) = (Arc::clone(store), Arc::clone(stop));
            tokio::spawn(async move {
                let (mut tail, mut acknowledged) = (BucketTail::EMPTY, Vec::new());
                let mut pace = tokio::time::interval(PAUSE);
                for round in 0.. {
                    pace.tick().await;
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let next = commit(first.stream.as_str(), 1_000_000 * (round + 1) + number as u64);
                    let answer = eventually_some("an append is answered", PATIENCE, || async {
                        store
                            .append_at(next.clone(), tail)
                            .await
                            .ok()
                            .filter(|outcome| *outcome != AppendOutcome::Unknown)
                    });
                    let AppendOutcome::Appended {
                        position,
                        revision,
                        hash,
                        ..
                    } = answer.await
                    else {
                        panic!("this bucket has no other writer");
                    };
                    tail = BucketTail { revision, hash };
                    acknowledged.push((next.message_id, position.sequence));
                }
                acknowledged
            })
        });
    let writers: Vec<_> = writers.collect();
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.unwrap());
    }
    all
}

/// Checks that the log contains exactly the acknowledged commits, each at its acknowledged sequence.
async fn compare(store: &JetStreamEventStore, mut acknowledged: Vec<(MessageId, Sequence)>) {
    let mut recorded = Vec::new();
    let head = store.head(Partition(0)).await.unwrap();
    for sequence in (1..=head.0).map(Sequence) {
        let position = Position {
            partition: Partition(0),
            sequence,
        };
        let stored = store.read_at(position).await.unwrap().expect("no gap");
        recorded.push((stored.commit.message_id, sequence));
    }
    acknowledged.sort();
    recorded.sort();
    assert_eq!(recorded, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_during_batches_has_every_acknowledged_commit_once() {
    let mut server = NatsServer::start().await;
    let config = alone(&server);
    let store = open(&config).await;
    let (writing, stop) = (Arc::clone(&store), Arc::<AtomicBool>::default());
    let stop_writing = Arc::clone(&stop);
    let crowd = tokio::spawn(async move { write_concurrently(&writing, &stop_writing).await });
    for _ in 0..2 {
        progress(&config, 300).await;
        server.kill9().await;
        server.restart().await;
    }
    progress(&config, 300).await;
    stop.store(true, Ordering::SeqCst);
    compare(&store, crowd.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_during_batches_leaves_every_acknowledged_commit_once() {
    let mut servers = NatsCluster::start().await;
    let config = cluster(&servers);
    let store = open(&config).await;
    let (writing, stop) = (Arc::clone(&store), Arc::<AtomicBool>::default());
    let stop_writing = Arc::clone(&stop);
    let crowd = tokio::spawn(async move { write_concurrently(&writing, &stop_writing).await });
    progress(&config, 200).await;
    let info = ask(&client(&config).await, "STREAM.INFO.CC_EV_00", "").await;
    let leader = info["cluster"]["leader"].as_str().unwrap();
    let number = servers
        .servers()
        .iter()
        .position(|server| server.name() == leader)
        .unwrap();
    servers.servers_mut()[number].kill9().await;
    let unproven = Config {
        durability: Durability::Unproven,
        ..config.clone()
    };
    progress(&unproven, 300).await;
    stop.store(true, Ordering::SeqCst);
    let all = crowd.await.unwrap();
    servers.servers_mut()[number].restart().await;
    compare(&store, all).await;
}
