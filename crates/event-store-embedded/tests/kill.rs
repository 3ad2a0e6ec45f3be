//! `kill -9` at many moments: what was acknowledged is there, whole and in order, and the log goes on.
//!
//! The test starts itself again as the process to kill: the child appends and says every acknowledged command on
//! its standard output; the parent kills it after a number of lines that differs from round to round.
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
/// Numbers that one child may use before the next begins with its own.
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

/// The child's part: does nothing unless a parent started it.
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
                    // One write a line, so that no line is torn; the parent may be gone.
                    let _ = std::io::stdout().write_all(format!("acknowledged {number}\n").as_bytes());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Runs a child until it has said so many acknowledgements, kills it, and gives all that it said.
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
    let mut said = Vec::new();
    while let Some(line) = from_child.next_line().await.unwrap() {
        // The harness's own lines stand between ours.
        if let Some((_, number)) = line.split_once("acknowledged ")
            && let Ok(number) = number.parse()
        {
            said.push(number);
        }
        if said.len() as u64 == lines {
            // Lines that stand in the pipe already are still read.
            child.take().unwrap().kill_9();
        }
    }
    assert!(
        said.len() as u64 >= lines,
        "the child was killed, it did not end by itself"
    );
    said
}

async fn check(store: &EmbeddedEventStore, acknowledged: &[u64]) {
    let mut subscription = store.subscribe_to_all(LogPosition::start(4)).await.unwrap();
    let mut there = std::collections::HashSet::new();
    while let SubscriptionBatch::Commits(commits) = subscription.next_batch().await.unwrap() {
        there.extend(commits.iter().map(|commit| commit.commit.command_id));
    }
    for number in acknowledged {
        assert!(
            there.contains(&commit(*number).command_id),
            "acknowledged {number} is gone"
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
    assert_eq!(in_buckets, there.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_many_moments_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        // From the first acknowledgement to some hundreds, unevenly.
        let lines = 1 + (round * round * 37) % 700;
        let said = run_and_kill(folder.path(), round * NUMBERS_PER_ROUND, lines).await;
        let store = open(folder.path());
        // A retry of what was acknowledged last is a duplicate.
        let last = *said.last().unwrap();
        let again = store.append_to_stream(commit(last), StreamState::Any).await.unwrap();
        assert!(
            matches!(again, AppendOutcome::Appended { duplicate: true, .. }),
            "{again:?}"
        );
        acknowledged.extend(said);
        check(&store, &acknowledged).await;
        store.close();
    }
}
