//! After a full disk, a failed sync or a torn write no acknowledged commit is lost, further appends are refused, reads
//! continue, and the next start finds a complete log.
#![expect(clippy::unwrap_used, reason = "a test")]

mod fixture;

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, Layout, LogId, LogPosition, NewCommit, Position,
    Revision, SubscriptionBatch,
};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog};
use redb::StorageBackend;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Writes beyond the budget fail.
    DiskFull,
    /// The first write beyond the budget is half done and fails.
    TornWrite,
    /// Writes succeed, but syncs after the budget is spent fail.
    FailedSync,
}

/// A file that fails once its budget of written bytes is spent.
#[derive(Debug)]
struct Faulty {
    inner: Box<dyn StorageBackend>,
    fault: Fault,
    budget: Arc<AtomicI64>,
}

impl StorageBackend for Faulty {
    fn len(&self) -> Result<u64, Error> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        if self.fault == Fault::DiskFull && self.budget.load(Ordering::SeqCst) < 0 {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> Result<(), Error> {
        if self.fault == Fault::FailedSync && self.budget.load(Ordering::SeqCst) < 0 {
            return Err(Error::other("sync failed"));
        }
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let bytes = i64::try_from(data.len()).unwrap();
        let left = self.budget.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        match self.fault {
            _ if left >= 0 => {}
            Fault::FailedSync => {}
            Fault::DiskFull => return Err(Error::from(ErrorKind::StorageFull)),
            Fault::TornWrite => {
                self.inner.write(offset, &data[..data.len() / 2])?;
                return Err(Error::other("torn"));
            }
        }
        self.inner.write(offset, data)
    }
}

fn config() -> Config {
    let new = NewLog::new(LogId([3; 16]), Layout::new(4, 64).unwrap());
    // A small cache, so that reads after the fault must access the file.
    Config {
        create: Some(new),
        cache_bytes: 64 * 1024,
        ..Config::default()
    }
}

fn open_faulty(folder: &Path, fault: Fault, budget: &Arc<AtomicI64>) -> EmbeddedEventStore {
    let wrap = |inner| {
        Box::new(Faulty {
            inner,
            fault,
            budget: Arc::clone(budget),
        }) as Box<dyn StorageBackend>
    };
    EmbeddedEventStore::open_with(folder, &config(), &wrap).unwrap()
}

fn commit(number: u64) -> NewCommit {
    fixture::commit(number, 40, vec![7; 700])
}

async fn append(store: &EmbeddedEventStore, number: u64) -> Result<AppendOutcome, AppendError> {
    let bucket = store.layout().bucket_of(&commit(number).stream);
    let tail = store.bucket_tail(bucket).await.unwrap();
    store.append_at(commit(number), tail).await
}

/// Reads everything through a subscription.
async fn replay(store: &EmbeddedEventStore) -> Vec<Position> {
    let mut subscription = store.subscribe_to_all(LogPosition::start(4)).await.unwrap();
    let mut seen = Vec::new();
    while let SubscriptionBatch::Commits(commits) = subscription.next_batch().await.unwrap() {
        seen.extend(commits.iter().map(|commit| commit.position));
    }
    seen
}

async fn check_buckets(store: &EmbeddedEventStore) -> usize {
    let mut count = 0;
    for partition in store.layout().all_partitions() {
        for bucket in 0..64 {
            let bucket = BucketId { partition, bucket };
            let commits = store.read_bucket(bucket, Revision::EMPTY).await.unwrap();
            let tail = commits.last().map_or(BucketTail::EMPTY, |last| last.tail());
            assert_eq!(store.bucket_tail(bucket).await.unwrap(), tail);
            count += commits.len();
        }
    }
    count
}

async fn survives(fault: Fault, budget_bytes: i64) {
    let folder = tempfile::tempdir().unwrap();
    let budget = Arc::new(AtomicI64::new(i64::MAX));
    let store = open_faulty(folder.path(), fault, &budget);
    let mut acknowledged = Vec::new();
    for number in 0..300 {
        let Ok(AppendOutcome::Appended { position, .. }) = append(&store, number).await else {
            panic!("healthy")
        };
        acknowledged.push(position);
    }
    budget.store(budget_bytes, Ordering::SeqCst);
    let mut number = 300;
    let failed = loop {
        match append(&store, number).await {
            Ok(AppendOutcome::Appended { position, .. }) => acknowledged.push(position),
            other => break other,
        }
        number += 1;
    };
    let is_failure = matches!(failed, Ok(AppendOutcome::Unknown) | Err(AppendError::Unavailable(_)));
    assert!(is_failure, "{fault:?}: {failed:?}");

    // Even after the cause is removed this process cannot trust the file: it refuses appends but continues to read.
    budget.store(i64::MAX, Ordering::SeqCst);
    for number in number..number + 3 {
        let refused = append(&store, number).await;
        assert!(
            matches!(refused, Err(AppendError::Unavailable(_))),
            "{fault:?}: {refused:?}"
        );
    }
    assert_eq!(replay(&store).await.len(), acknowledged.len(), "{fault:?}");
    assert_eq!(check_buckets(&store).await, acknowledged.len(), "{fault:?}");
    for position in &acknowledged {
        assert!(store.read_at(*position).await.unwrap().is_some());
    }
    store.close();

    let store = EmbeddedEventStore::open(folder.path(), &config()).unwrap();
    let recovered = replay(&store).await;
    assert!(
        acknowledged.iter().all(|position| recovered.contains(position)),
        "{fault:?}"
    );
    assert!(
        recovered.len() <= acknowledged.len() + 1,
        "only the commit with the unknown outcome may exist in addition"
    );
    assert_eq!(check_buckets(&store).await, recovered.len());
    // Repeating the append with the unknown outcome resolves it in either case.
    let repeated = append(&store, number).await.unwrap();
    let was_written = recovered.len() == acknowledged.len() + 1;
    assert!(
        matches!(repeated, AppendOutcome::Appended { duplicate, .. } if duplicate == was_written),
        "{repeated:?}"
    );
}

#[tokio::test]
async fn a_full_disk_loses_no_acknowledged_commit_and_reads_continue() {
    for budget in [0, 5_000, 30_001, 200_000] {
        survives(Fault::DiskFull, budget).await;
    }
}

#[tokio::test]
async fn a_torn_write_loses_no_acknowledged_commit_and_reads_continue() {
    for budget in [0, 5_000, 30_001, 200_000] {
        survives(Fault::TornWrite, budget).await;
    }
}

#[tokio::test]
async fn a_failed_sync_is_never_retried_and_reads_continue() {
    for budget in [0, 5_000, 200_000] {
        survives(Fault::FailedSync, budget).await;
    }
}
