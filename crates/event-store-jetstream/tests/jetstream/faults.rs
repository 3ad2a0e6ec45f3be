//! Injected faults, after which the checker reads the whole log: every acknowledged commit is in the log exactly once,
//! at the acknowledged position and in an unbroken chain; an unknown outcome is resolved by repeating the same bytes; a
//! subscriber receives every commit once and in order. Tests with domain rules and further faults are in
//! `tests/faults`.

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

/// A logical clock that orders the operations of all writers.
#[derive(Clone, Default)]
struct Order(Arc<AtomicU64>);

impl Order {
    fn next(&self) -> Moment {
        Duration::from_nanos(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// Writes to the writer's own streams until `stop` is set. A commit with an unknown outcome or a temporary refusal is
/// sent again with the same bytes until it is answered.
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

/// Appends after the bucket's tail, and repeats that until the commit is acknowledged.
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
            // Another writer of the same bucket appended in between.
            _ => {
                expected = eventually_some("the bucket's tail is read", PATIENCE, || async {
                    store.bucket_tail(bucket).await.ok()
                })
                .await;
            }
        }
    }
}

/// Follows the whole log up to the position from `end`.
async fn follow(store: Arc<JetStreamEventStore>, end: tokio::sync::oneshot::Receiver<LogPosition>) -> Vec<MessageId> {
    let mut subscription = store.subscribe_to_all(LogPosition::start(2)).await.unwrap();
    let mut delivered = Vec::new();
    let (mut end, mut target) = (std::pin::pin!(end), None);
    let mut position = LogPosition::start(2);
    loop {
        tokio::select! {
            position = &mut end, if target.is_none() => target = Some(position.unwrap()),
            batch = subscription.next_batch() => if let SubscriptionBatch::Commits(commits) = batch.unwrap() {
                for commit in commits {
                    let last = position.sequence(commit.position.partition);
                    assert_eq!(commit.position.sequence.0, last.0 + 1, "in order, each once");
                    position.set(commit.position.partition, commit.position.sequence);
                    delivered.push(commit.commit.message_id);
                }
            },
        }
        if target.as_ref().is_some_and(|target| position.reaches(target)) {
            return delivered;
        }
    }
}

/// Reads the whole log and lets the checker compare it with the acknowledgements; then compares the delivered commits.
async fn check(config: &Config, acknowledged: Vec<Command>, delivered: &[MessageId]) {
    let store = open(config).await;
    let log = WholeLog::read(&*store).await.unwrap();
    let mut recorded: Vec<_> = log.commits.iter().map(|commit| commit.commit.message_id).collect();
    recorded.sort();
    assert!(acknowledged.len() > 40, "writers wrote only {}", acknowledged.len());
    assert_eq!(
        recorded.len(),
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
    let mut delivered = delivered.to_vec();
    delivered.sort();
    assert_eq!(delivered, recorded, "the subscriber received everything once");
}

/// Runs writers and a subscriber during `faults`, then checks everything.
async fn run_with_faults<F: AsyncFnOnce()>(config: &Config, faults: F) {
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
    end.send(store.heads().await.unwrap()).expect("the follower is running");
    let delivered = tokio::time::timeout(PATIENCE, follower)
        .await
        .expect("it reaches the end")
        .unwrap();
    check(config, acknowledged, &delivered).await;
}

/// Waits until the log has this many more commits, as seen by a separate client.
pub(crate) async fn progress(config: &Config, commits: u64) {
    let store = eventually_some("the log opens", PATIENCE, || async {
        JetStreamEventStore::open(config).await.ok()
    })
    .await;
    let before = eventually_some("heads", PATIENCE, || async { store.heads().await.ok() }).await;
    let wanted = before.commits() + commits;
    eventually_some("writing continues", PATIENCE, || async {
        let heads = store.heads().await.ok()?;
        (heads.commits() >= wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_server_killed_under_load_loses_nothing_and_repeats_are_one_commit() {
    let mut server = NatsServer::start().await;
    let config = alone(&server);
    run_with_faults(&config, async || {
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
async fn three_servers_survive_a_kill_of_each_in_turn_and_a_pause() {
    let mut servers = NatsCluster::start().await;
    let config = cluster(&servers);
    run_with_faults(&config, async || {
        for number in 0..3 {
            progress(&config, 100).await;
            servers.servers_mut()[number].kill9().await;
            // While a server is down its durability cannot be proved.
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

/// If the server writes the commit but answers too late, the outcome is unknown, never "not done"; repeating the same
/// bytes yields the same commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_answer_is_unknown_and_repeating_the_same_bytes_resolves_it() {
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
