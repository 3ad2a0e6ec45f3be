//! Faults made from outside, and the checker that reads the whole log afterwards: what was acknowledged stands there
//! exactly once, at the place that was said, in a chain without a break; what is unknown is settled by the same bytes
//! again; a subscriber that lived through it has everything once and in order. Towns under load, whose writers decide
//! by the rules, and other faults stand in `tests/faults`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use citycode_event_store::{
    AppendOutcome, BucketTail, EventStore, Layout, LogId, LogPosition, MessageId, NewCommit, Position,
    SubscriptionBatch,
};
use citycode_event_store_jetstream::{Config, JetStreamEventStore, NewLog};
use citycode_testkit::checker::{self, Answer, Attempt, Command, Moment, Run, WholeLog};
use citycode_testkit::{NatsCluster, NatsServer, eventually_some};

use crate::fixture::{PATIENCE, alone, cluster, commit, opened};

const WRITERS: u64 = 4;

async fn open(config: &Config) -> Arc<JetStreamEventStore> {
    let new = NewLog::new(LogId([9; 16]), Layout::new(2, 64).unwrap());
    opened(config, &new).await
}

/// What happened before what, among all writers: a moment is a count.
#[derive(Clone, Default)]
struct Order(Arc<AtomicU64>);

impl Order {
    fn next(&self) -> Moment {
        Duration::from_nanos(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// Writes to streams of its own until it is told to stop. A commit whose fate is unknown or that was not taken is
/// sent again, the very same bytes, until an answer comes: nothing is ever decided anew over it.
async fn write(store: Arc<JetStreamEventStore>, writer: u64, stop: Arc<AtomicBool>, order: Order) -> Vec<Command> {
    let mut acknowledged = Vec::new();
    let mut tails = BTreeMap::<u64, BucketTail>::new();
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let stream = writer * 4 + number % 4;
        let new = commit(&format!("holder-{stream}"), writer << 32 | number);
        let mut command = Command::new(new.command_id);
        let invoked_at = order.next();
        let (position, tail) = settle(&store, new, tails.get(&stream).copied()).await;
        command.attempts.push(Attempt {
            invoked_at,
            answered_at: order.next(),
            answer: Answer::Done {
                position: Some(position),
                code_id: None,
            },
        });
        acknowledged.push(command);
        tails.insert(stream, tail);
    }
    acknowledged
}

/// Appends after the bucket's tail as it is known, until it is acknowledged.
async fn settle(store: &JetStreamEventStore, new: NewCommit, known: Option<BucketTail>) -> (Position, BucketTail) {
    let bucket = store.layout().bucket_of(&new.stream);
    let mut expected = known.unwrap_or(BucketTail::EMPTY);
    loop {
        let outcome = eventually_some("an append is answered", PATIENCE, || async {
            match store.append_at(new.clone(), expected).await {
                Ok(AppendOutcome::Unknown) | Err(_) => None,
                Ok(outcome) => Some(outcome),
            }
        });
        match outcome.await {
            AppendOutcome::Appended {
                position,
                revision,
                hash,
                ..
            } => return (position, BucketTail { revision, hash }),
            // Two writers may share a bucket: the other one wrote in between.
            _ => {
                expected = eventually_some("the bucket's tail is read", PATIENCE, || async {
                    store.bucket_tail(bucket).await.ok()
                })
                .await;
            }
        }
    }
}

/// Follows the whole log through everything, until it is told where to end.
async fn follow(store: Arc<JetStreamEventStore>, end: tokio::sync::oneshot::Receiver<LogPosition>) -> Vec<MessageId> {
    let mut subscription = store.subscribe_to_all(LogPosition::start(2)).await.unwrap();
    let mut told = Vec::new();
    let (mut end, mut target) = (std::pin::pin!(end), None);
    let mut position = LogPosition::start(2);
    loop {
        tokio::select! {
            point = &mut end, if target.is_none() => target = Some(point.unwrap()),
            batch = subscription.next_batch() => if let SubscriptionBatch::Commits(commits) = batch.unwrap() {
                for commit in commits {
                    let last = position.sequence(commit.position.partition);
                    assert_eq!(commit.position.sequence.0, last.0 + 1, "in order, each once");
                    position.set(commit.position.partition, commit.position.sequence);
                    told.push(commit.commit.message_id);
                }
            },
        }
        if target.as_ref().is_some_and(|target| position.reaches(target)) {
            return told;
        }
    }
}

/// Reads everything anew and lets the checker compare it with what writers were told; then the subscriber with both.
async fn check(config: &Config, acknowledged: Vec<Command>, told: &[MessageId]) {
    let store = open(config).await;
    let log = WholeLog::read(&*store).await.unwrap();
    let mut there: Vec<_> = log.commits.iter().map(|commit| commit.commit.message_id).collect();
    there.sort();
    assert!(acknowledged.len() > 40, "writers wrote only {}", acknowledged.len());
    assert_eq!(
        there.len(),
        acknowledged.len(),
        "every commit was acknowledged in the end"
    );
    let run = Run {
        log,
        commands: acknowledged,
        verdicts: Vec::new(),
        projections: Vec::new(),
    };
    assert_eq!(checker::check(&run), Vec::new());
    let mut told = told.to_vec();
    told.sort();
    assert_eq!(told, there, "the subscriber has everything once");
}

/// Writers and a subscriber live through `faults`; then everything is checked.
async fn live_through<F: AsyncFnOnce()>(config: &Config, faults: F) {
    let store = open(config).await;
    let stop = Arc::new(AtomicBool::new(false));
    let order = Order::default();
    let (end, ends) = tokio::sync::oneshot::channel();
    let follower = tokio::spawn(follow(Arc::clone(&store), ends));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        writers.push(tokio::spawn(write(
            Arc::clone(&store),
            writer,
            Arc::clone(&stop),
            order.clone(),
        )));
    }
    faults().await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    end.send(store.heads().await.unwrap()).expect("the follower lives");
    let told = tokio::time::timeout(PATIENCE, follower)
        .await
        .expect("it reaches the end")
        .unwrap();
    check(config, acknowledged, &told).await;
}

/// Until so many more commits stand in the log, seen by a client of its own.
pub(crate) async fn progress(config: &Config, commits: u64) {
    let store = eventually_some("the log opens", PATIENCE, || async {
        JetStreamEventStore::open(config).await.ok()
    })
    .await;
    let before = eventually_some("heads", PATIENCE, || async { store.heads().await.ok() }).await;
    let wanted = before.commits() + commits;
    eventually_some("writing goes on", PATIENCE, || async {
        let heads = store.heads().await.ok()?;
        (heads.commits() >= wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_killed_under_load_loses_nothing_and_repeats_are_one_commit() {
    let mut server = NatsServer::start().await;
    let config = alone(&server);
    live_through(&config, async || {
        for _ in 0..3 {
            progress(&config, 200).await;
            server.kill9().await;
            server.restart().await;
        }
        progress(&config, 200).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_outlive_the_death_of_each_in_turn_and_a_pause() {
    let mut servers = NatsCluster::start().await;
    let config = cluster(&servers);
    live_through(&config, async || {
        for number in 0..3 {
            progress(&config, 100).await;
            servers.servers_mut()[number].kill9().await;
            // Its durability cannot be asked while it is dead: whoever looks meanwhile does so unproven.
            let unproven = Config {
                durability: citycode_event_store_jetstream::Durability::Unproven,
                ..config.clone()
            };
            progress(&unproven, 100).await;
            servers.servers_mut()[number].restart().await;
        }
        servers.servers()[0].sigstop().await;
        let unproven = Config {
            durability: citycode_event_store_jetstream::Durability::Unproven,
            connection: citycode_event_store_jetstream::Connection {
                servers: servers.urls()[1..].to_vec(),
                ..config.connection.clone()
            },
            ..config.clone()
        };
        progress(&unproven, 100).await;
        servers.servers()[0].sigcont().await;
        progress(&config, 100).await;
    })
    .await;
}

/// The server takes the commit and its answer comes too late: unknown, never "not done"; the same bytes again are the
/// same commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_does_not_come_is_unknown_and_the_same_bytes_settle_it() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    let store = open(&config).await;
    let first = commit("holder-1", 1);
    store.append_at(first, BucketTail::EMPTY).await.unwrap();
    let tail = store
        .bucket_tail(store.layout().bucket_of(&commit("holder-1", 2).stream))
        .await
        .unwrap();
    server.sigstop().await;
    let outcome = store.append_at(commit("holder-1", 2), tail).await;
    assert!(matches!(outcome, Ok(AppendOutcome::Unknown)), "{outcome:?}");
    server.sigcont().await;
    let (position, _) = settle(&store, commit("holder-1", 2), Some(tail)).await;
    assert_eq!(
        store.heads().await.unwrap().commits(),
        2,
        "once, whichever attempt it was"
    );
    assert_eq!(position.sequence.0, 2);
}
