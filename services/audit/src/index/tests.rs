//! Failing writes, with a simulated disk in memory that can be full.

use std::sync::atomic::{AtomicBool, Ordering};

use citycode_domain::event::HolderRegistered;
use citycode_event_store::follow::{FollowError, FollowState, Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{Layout, LogId, StreamState};
use citycode_log_folds::holder_stream;
use citycode_testkit::commit_of;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::*;

const WANG: HolderId = HolderId([1; 16]);

#[derive(Debug)]
struct Disk {
    bytes: InMemoryBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check_space(&self) -> std::io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check_space()?;
        self.bytes.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.check_space()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check_space()?;
        self.bytes.write(offset, data)
    }
}

#[tokio::test]
async fn entries_that_could_not_be_written_stay_pending_and_progress_excludes_them() {
    let store = MemoryEventStore::new(LogId([1; 16]), Layout::new(2, 64).expect("a layout"));
    let registered = Event::HolderRegistered(HolderRegistered { holder: WANG });
    let commit = commit_of(holder_stream(WANG), &registered, 1, 1_661_904_000);
    let appended = store.append_to_stream(commit, StreamState::Any).await;
    appended.expect("appended");

    let full = Arc::new(AtomicBool::new(false));
    let disk = Disk {
        bytes: InMemoryBackend::new(),
        full: Arc::clone(&full),
    };
    let database = Database::builder().create_with_backend(disk).expect("a database");
    let transaction = database.begin_write().expect("begun");
    create_tables(&transaction, &store).expect("tables");
    transaction.commit().expect("committed");
    let start = LogPosition::start(2);
    let mut index = AuditIndex {
        database: Arc::new(database),
        position: start.clone(),
        codes: Vec::new(),
        commits: Vec::new(),
        journal: Journal::default(),
        since_write: 0,
        // The next write must be synced.
        since_sync: DURABLE_EVERY,
        ends: HashMap::new(),
    };
    let progress = Progress::new(&start);

    full.store(true, Ordering::Relaxed);
    let error = follow(&store, &mut index, &progress).await;
    assert!(matches!(error, FollowError::Fold { .. }), "{error}");
    assert_eq!(progress.state(), FollowState::Stopped(error));
    assert_eq!(progress.position(), start, "the progress excludes the commit");
    assert!(
        progress.catch_up(&store).await.is_err(),
        "a history is not answered without the commit"
    );
    assert_eq!(index.commits.len(), 1, "the commit is still pending");
    assert!(stored(&index.database, "position").is_none());
}
