//! The embedded engine passes the conformance suite including restarts, and refuses invalid folders.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use citycode_event_store::conformance::{self, EngineFactory};
use citycode_event_store::{EventStore, Layout, LogId, ReaderVersion};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog, OpenError};
use parking_lot::Mutex;
use tempfile::TempDir;

#[derive(Default)]
struct Embedded {
    /// The folders of all created logs; the last one is that of the current log.
    folders: Mutex<Vec<TempDir>>,
}

fn config(log_id: LogId, layout: Layout) -> Config {
    Config {
        create: Some(NewLog::new(log_id, layout)),
        ..Config::default()
    }
}

fn open(folder: &Path) -> Result<EmbeddedEventStore, OpenError> {
    EmbeddedEventStore::open(folder, &config(LogId([5; 16]), Layout::default()))
}

#[async_trait]
impl EngineFactory for Embedded {
    async fn create_at(&self, layout: Layout, minimum_reader: ReaderVersion) -> Arc<dyn EventStore> {
        let folder = tempfile::tempdir().unwrap();
        let new = NewLog {
            minimum_reader,
            ..NewLog::new(LogId([5; 16]), layout)
        };
        let config = Config {
            create: Some(new),
            ..Config::default()
        };
        let store = EmbeddedEventStore::open(folder.path(), &config).unwrap();
        self.folders.lock().push(folder);
        Arc::new(store)
    }

    async fn restart(&self, store: Arc<dyn EventStore>) -> Option<Arc<dyn EventStore>> {
        let path = self.folders.lock().last().unwrap().path().to_owned();
        assert_eq!(Arc::strong_count(&store), 1, "a restart closes the log");
        drop(store);
        Some(Arc::new(EmbeddedEventStore::open(&path, &Config::default()).unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_engine_conforms() {
    conformance::run_all(&Embedded::default()).await;
}

#[test]
fn a_folder_in_use_is_refused_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::AlreadyInUse)));
    store.close();
    open(folder.path()).unwrap();
}

#[test]
fn a_folder_without_a_log_is_refused_unless_creation_is_permitted() {
    let folder = tempfile::tempdir().unwrap();
    let answer = EmbeddedEventStore::open(folder.path(), &Config::default());
    assert!(matches!(answer, Err(OpenError::NoLog)));
    let missing = folder.path().join("missing");
    assert!(matches!(
        EmbeddedEventStore::open(&missing, &Config::default()),
        Err(OpenError::NoLog)
    ));
    assert!(!missing.exists());
}

#[test]
fn another_identity_or_version_is_an_error_and_leaves_the_folder_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).unwrap().close();
    let log = std::fs::read(folder.path().join("log.redb")).unwrap();
    let manifest = std::fs::read_to_string(folder.path().join("manifest")).unwrap();

    let other = Config {
        expected_log_id: Some(LogId([6; 16])),
        ..Config::default()
    };
    let answer = EmbeddedEventStore::open(folder.path(), &other);
    assert!(matches!(answer, Err(OpenError::OtherLog { .. })));

    let later = manifest.replace(
        &format!("minimum_reader {}", ReaderVersion::CURRENT),
        "minimum_reader 9",
    );
    std::fs::write(folder.path().join("manifest"), later).unwrap();
    assert!(matches!(
        open(folder.path()),
        Err(OpenError::OtherVersion {
            minimum_reader: ReaderVersion(9),
            ..
        })
    ));

    let changed = manifest.replace("partitions 16", "partitions 15");
    std::fs::write(folder.path().join("manifest"), changed).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::ManifestUnreadable(_))));

    std::fs::write(folder.path().join("manifest"), &manifest).unwrap();
    assert_eq!(std::fs::read(folder.path().join("log.redb")).unwrap(), log);
    open(folder.path()).unwrap().close();
    std::fs::remove_file(folder.path().join("log.redb")).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::LogMissing)));
}
