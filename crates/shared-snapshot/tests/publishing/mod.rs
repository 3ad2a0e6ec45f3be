//! A publisher and a start on one server, and the files of keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_event_store::conformance::sample_commit;
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, Layout, LogId, LogPosition, Sequence, StreamName, StreamState};
use citycode_jetstream::Connection;
use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::entropy::OsEntropy;
use citycode_service_kit::files;
use citycode_service_kit::health::{HealthRegistry, Probe};
use citycode_shared_snapshot::key_files::{self, KeyFileError};
use citycode_shared_snapshot::{Published, Publisher, SnapshotFile, SnapshotKeys, Starting};
use citycode_testkit::{NatsServer, eventually};
use data_encoding::HEXLOWER;

use crate::{Bucket, FULL_COMMITS, IDENTITY, KIND, PATIENCE, keys, signing, snapshot};

/// A snapshot that was written before.
struct Written(PathBuf);

#[async_trait]
impl SnapshotFile for Written {
    async fn write(&self) {}

    fn path(&self) -> &Path {
        &self.0
    }
}

/// A log that ends where the snapshot does.
async fn log() -> Arc<dyn EventStore> {
    let layout = Layout::new(IDENTITY.partitions, IDENTITY.buckets_per_partition).expect("a layout");
    let log = MemoryEventStore::new(LogId(IDENTITY.log_id), layout);
    let stream = StreamName::new("keys").expect("a name");
    for number in 1..=FULL_COMMITS {
        let appended = log.append_to_stream(sample_commit(stream, number, ""), StreamState::Any);
        appended.await.expect("appended");
    }
    Arc::new(log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_fetches_what_a_publisher_published_only_if_it_is_far_behind() {
    let server = NatsServer::start().await;
    let bucket = Bucket::at(vec![server.url()], 1).await;
    let (connection, log) = (Connection::new(vec![server.url()], "test"), log().await);
    let clock = Arc::new(ManualClock::at(UnixSeconds(1_790_000_000)));
    let written = snapshot(bucket.folder.path(), 0);
    let publisher = Publisher {
        kind: KIND,
        connection: connection.clone(),
        keys: keys(),
        signing: signing(),
        snapshot: Arc::new(Written(written.clone())),
        identity: IDENTITY,
        log: Arc::clone(&log),
        clock: clock.clone(),
        entropy: Arc::new(OsEntropy),
        every: Duration::from_secs(3_600),
    };
    let publishing = tokio::spawn(publisher.run());
    eventually("a snapshot is published", PATIENCE, || async {
        matches!(bucket.shared.current().await, Ok(Published::Signed { .. }))
    })
    .await;

    let file = bucket.folder.path().join("own");
    let reached = LogPosition::from_sequences(vec![Sequence(FULL_COMMITS)]);
    for origin in ["the snapshot shared at 2026-09-21T14:13:20Z", "its own snapshot"] {
        let health = HealthRegistry::new();
        let mut starting = Starting::begin(KIND, clock.clone(), &health);
        starting.fetch(&connection, keys(), &*log, IDENTITY, &file).await;
        let fetched = std::fs::read(&file).expect("a file");
        assert!(fetched == std::fs::read(&written).expect("a file"));
        starting.loaded(&reached);
        starting.caught_up(&reached);
        let report = health.report(Probe::Ready);
        let reason = report.components[0].reason.clone().expect("it says how it started");
        let expected = format!("started from {origin}, {FULL_COMMITS} commits, and 0 more from the log");
        assert!(reason.starts_with(&expected), "{reason}");
    }
    publishing.abort();
}

#[test]
fn keys_are_read_from_a_folder_and_other_files_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = || SnapshotKeys::read(folder.path(), ProjectionKind::Register);
    let write =
        |name: &str, bytes: &[u8]| files::write_atomic(&folder.path().join(name), bytes, 0o600).expect("a file");
    assert!(keys().expect("nothing to refuse").is_none());
    assert!(
        key_files::read_signing(folder.path())
            .expect("nothing to refuse")
            .is_none()
    );
    write(key_files::seal_file(ProjectionKind::Register), &[2; 32]);
    let signers = [signing().public_key(), [7; 32]];
    write(
        key_files::SIGNERS,
        signers.map(|key| HEXLOWER.encode(&key)).join("\n").as_bytes(),
    );
    write(key_files::SIGNING, &[1; 32]);
    let read = keys().expect("valid").expect("complete");
    assert_eq!(read.signers, signers);
    let key = key_files::read_signing(folder.path()).expect("valid").expect("a key");
    assert_eq!(key.public_key(), signers[0]);
    write(key_files::SIGNERS, b"no key");
    assert!(matches!(keys(), Err(KeyFileError::Signers(_))));
}
