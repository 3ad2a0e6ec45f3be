//! Measures the append and replay rates of the embedded engine, and for comparison redb's own rate for the same bytes
//! in the same number of transactions: `cargo run --release -p citycode-event-store-embedded --example append_rate
//! [COMMITS] [FOLDER]`. The folder should be on the disk to be measured; the default is the system's temporary folder.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring tool"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use citycode_event_store::conformance::sample_commit;
use citycode_event_store::{
    AppendOutcome, BucketTail, EventStore, Layout, LogId, LogPosition, NewCommit, StreamName, SubscriptionBatch,
};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog};

const IN_FLIGHT: u64 = 1_000;

fn commit(number: u64, payload_bytes: usize) -> NewCommit {
    let stream = StreamName::new(&format!(
        "holder-{:032x}",
        u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    ));
    let stream = stream.unwrap();
    sample_commit(stream, number, vec![u8::try_from(number % 251).unwrap(); payload_bytes])
}

async fn append_all(store: &Arc<EmbeddedEventStore>, commits: u64, payload_bytes: usize) -> f64 {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let writers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (store, next) = (Arc::clone(store), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= commits {
                        return;
                    }
                    let mut expected = BucketTail::EMPTY;
                    loop {
                        match store.append_at(commit(number, payload_bytes), expected).await.unwrap() {
                            AppendOutcome::Appended { duplicate: false, .. } => break,
                            AppendOutcome::WrongExpectedVersion { .. } => {
                                let bucket = store.layout().bucket_of(&commit(number, 0).stream);
                                expected = store.bucket_tail(bucket).await.unwrap();
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    commits as f64 / start.elapsed().as_secs_f64()
}

/// Appends like an import: a few calls in flight, each with many commits.
async fn append_groups(store: &Arc<EmbeddedEventStore>, commits: u64, payload_bytes: usize) -> f64 {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let importers: Vec<_> = (0..4)
        .map(|_| {
            let (store, next) = (Arc::clone(store), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let first = next.fetch_add(IN_FLIGHT, Ordering::Relaxed);
                    if first >= commits {
                        return;
                    }
                    let mut pending: Vec<u64> = (first..commits.min(first + IN_FLIGHT)).collect();
                    while !pending.is_empty() {
                        let mut group = Vec::with_capacity(pending.len());
                        for number in &pending {
                            let commit = commit(*number, payload_bytes);
                            let bucket = store.layout().bucket_of(&commit.stream);
                            group.push((commit, store.bucket_tail(bucket).await.unwrap()));
                        }
                        let mut answers = store.append_many(group).await.into_iter();
                        pending.retain(|_| !matches!(answers.next(), Some(Ok(AppendOutcome::Appended { .. }))));
                    }
                }
            })
        })
        .collect();
    for importer in importers {
        importer.await.unwrap();
    }
    commits as f64 / start.elapsed().as_secs_f64()
}

async fn replay(store: &EmbeddedEventStore) -> f64 {
    let start = Instant::now();
    let mut subscription = store.subscribe_to_all(LogPosition::start(16)).await.unwrap();
    let (mut commits, mut bytes) = (0u64, 0usize);
    loop {
        match subscription.next_batch().await.unwrap() {
            SubscriptionBatch::Commits(batch) => {
                commits += batch.len() as u64;
                bytes += batch
                    .iter()
                    .map(|commit| commit.commit.events[0].payload.len())
                    .sum::<usize>();
            }
            SubscriptionBatch::CaughtUp(_) => break,
            SubscriptionBatch::FellBehind(_) => {}
        }
    }
    assert!(bytes > 0);
    commits as f64 / start.elapsed().as_secs_f64()
}

/// redb alone: one table, the same number of rows of the same length, and a durable transaction for each group of rows.
fn bare_redb(path: &Path, commits: u64, row_bytes: usize) -> f64 {
    const TABLE: redb::TableDefinition<'static, u64, &'static [u8]> = redb::TableDefinition::new("bare");
    let database = redb::Database::create(path).unwrap();
    let row = vec![7u8; row_bytes];
    let start = Instant::now();
    let mut next = 0u64;
    while next < commits {
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(TABLE).unwrap();
            for number in next..commits.min(next + IN_FLIGHT) {
                table.insert(number, row.as_slice()).unwrap();
            }
        }
        transaction.commit().unwrap();
        next += IN_FLIGHT;
    }
    commits as f64 / start.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let commits: u64 = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let parent = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    for payload_bytes in [320, 100] {
        let folder = tempfile::tempdir_in(&parent).unwrap();
        let row_bytes = 180 + payload_bytes;
        let config = Config {
            create: Some(NewLog::new(LogId([1; 16]), Layout::default())),
            ..Config::default()
        };
        let store = Arc::new(EmbeddedEventStore::open(folder.path(), &config).unwrap());
        let ours = append_all(&store, commits, payload_bytes).await;
        let second = tempfile::tempdir_in(&parent).unwrap();
        let import_store = Arc::new(EmbeddedEventStore::open(second.path(), &config).unwrap());
        let import = append_groups(&import_store, commits, payload_bytes).await;
        drop(import_store);
        let bare = bare_redb(&folder.path().join("bare.redb"), commits, row_bytes);
        let warm = replay(&store).await;
        drop(store);
        let start = Instant::now();
        let store = EmbeddedEventStore::open(folder.path(), &Config::default()).unwrap();
        let opened = start.elapsed();
        let reopened = replay(&store).await;
        println!("{commits} commits of about {row_bytes} bytes, {IN_FLIGHT} in flight");
        println!(
            "  appends/s          {ours:>10.0}   redb bare {bare:.0}   ratio {:.2}",
            ours / bare
        );
        println!("  in groups of 1,000 {import:>10.0}   ratio {:.2}", import / bare);
        println!("  replay commits/s   {warm:>10.0}   after reopening {reopened:.0} (open took {opened:?})");
    }
}
