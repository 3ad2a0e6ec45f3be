//! `kill -9` at many moments loses no acknowledged commit, and the log stays consistent and usable.
//!
//! The test starts itself again as the process to kill. The child appends and prints every acknowledged command on its
//! standard output; the parent kills it after a number of lines that differs from round to round.
#![expect(clippy::unwrap_used, reason = "a test")]

mod fixture;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use citycode_event_store::{
    AppendOutcome, BucketId, BucketTail, EventStore, Layout, LogId, LogPosition, NewCommit, Revision, StreamState,
    SubscriptionBatch,
};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog};
use citycode_testkit::Process;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const FOLDER: &str = "CITYCODE_TEST_KILL_FOLDER";
const FIRST: &str = "CITYCODE_TEST_KILL_FIRST";
const ROUNDS: u64 = 25;
const WRITERS: u64 = 16;
/// The range of numbers that each child may use.
const NUMBERS_PER_ROUND: u64 = 1_000_000;

fn open(folder: &Path) -> EmbeddedEventStore {
    let new = NewLog::new(LogId([4; 16]), Layout::new(4, 64).unwrap());
    EmbeddedEventStore::open(
        folder,
        &Config {
            create: Some(new),
            ..Config::default()
        },
    )
    .unwrap()
}

fn commit(number: u64) -> NewCommit {
    fixture::commit(number, 1_000, vec![1; 300])
}

/// The child process; does nothing unless the parent test started it.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = Arc::new(open(Path::new(&folder)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in (first + writer..).step_by(usize::try_from(WRITERS).unwrap()) {
                    let answer = store.append_to_stream(commit(number), StreamState::Any).await;
                    assert!(
                        matches!(answer, Ok(AppendOutcome::Appended { duplicate: false, .. })),
                        "{answer:?}"
                    );
                    // One write for each line, so that no line is torn. The parent may have closed the pipe.
                    let _ = std::io::stdout().write_all(format!("acknowledged {number}\n").as_bytes());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Runs a child until it has printed this many acknowledgements, kills it, and returns all that it printed.
async fn run_and_kill(folder: &Path, first: u64, lines: u64) -> Vec<u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "victim", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped());
    let mut child = Process::start(&mut command).unwrap();
    let mut from_child = BufReader::new(child.stdout()).lines();
    let mut child = Some(child);
    let mut printed = Vec::new();
    while let Some(line) = from_child.next_line().await.unwrap() {
        // The test harness also prints lines.
        if let Some((_, number)) = line.split_once("acknowledged ")
            && let Ok(number) = number.parse()
        {
            printed.push(number);
        }
        if printed.len() as u64 == lines {
            // Lines that are already in the pipe are still read.
            child.take().unwrap().kill_9();
        }
    }
    assert!(
        printed.len() as u64 >= lines,
        "the child was killed and did not exit on its own"
    );
    printed
}

async fn check(store: &EmbeddedEventStore, acknowledged: &[u64]) {
    let mut subscription = store.subscribe_to_all(LogPosition::start(4)).await.unwrap();
    let mut recovered = std::collections::HashSet::new();
    while let SubscriptionBatch::Commits(commits) = subscription.next_batch().await.unwrap() {
        recovered.extend(commits.iter().map(|commit| commit.commit.command_id));
    }
    for number in acknowledged {
        assert!(
            recovered.contains(&commit(*number).command_id),
            "acknowledged commit {number} was lost"
        );
    }
    let mut in_buckets = 0;
    for partition in store.layout().all_partitions() {
        for bucket in 0..64 {
            let bucket = BucketId { partition, bucket };
            let commits = store.read_bucket(bucket, Revision::EMPTY).await.unwrap();
            assert_eq!(
                store.bucket_tail(bucket).await.unwrap(),
                commits.last().map_or(BucketTail::EMPTY, |last| last.tail())
            );
            in_buckets += commits.len();
        }
    }
    assert_eq!(in_buckets, recovered.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_many_moments_loses_no_acknowledged_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        // Between one and several hundred acknowledgements, unevenly spaced.
        let lines = 1 + (round * round * 37) % 700;
        let printed = run_and_kill(folder.path(), round * NUMBERS_PER_ROUND, lines).await;
        let store = open(folder.path());
        // A retry of the last acknowledged append is a duplicate.
        let last = *printed.last().unwrap();
        let again = store.append_to_stream(commit(last), StreamState::Any).await.unwrap();
        assert!(
            matches!(again, AppendOutcome::Appended { duplicate: true, .. }),
            "{again:?}"
        );
        acknowledged.extend(printed);
        check(&store, &acknowledged).await;
        store.close();
    }
}
