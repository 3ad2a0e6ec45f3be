//! The status of every code for publishing status lists, in a process without a verifier.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Continuity, Fold};
use citycode_event_store::{BucketId, Layout, LogPosition, RecordedCommit};
use citycode_log_folds::{FoldedStatus, folded_events, projected};
use citycode_projection::LogIdentity;
use citycode_projection::status::{FingerprintKey, StatusReader};
use citycode_service_kit::clock::Clock;
use citycode_shared_snapshot::SnapshotFile;

use super::snapshots::{Snapshot, save_blocking};

/// The status of every code and its file.
#[derive(Clone)]
pub(crate) struct StatusSnapshot {
    file: PathBuf,
    status: Arc<FoldedStatus>,
    clock: Arc<dyn Clock>,
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl StatusSnapshot {
    /// From its file, or empty. `with_trees` says whether its snapshots contain the trees of the log.
    pub(crate) fn open(
        file: PathBuf,
        identity: LogIdentity,
        key: FingerprintKey,
        (layout, with_trees): (Layout, bool),
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let now = Timestamp(clock.now().0);
        let open = if with_trees {
            FoldedStatus::open_with_trees
        } else {
            FoldedStatus::open
        };
        Self {
            status: Arc::new(open(Some(&file), identity, key, now, layout)),
            file,
            clock: Arc::clone(clock),
            writing: Arc::default(),
        }
    }

    pub(crate) fn reader(&self) -> &StatusReader {
        self.status.reader()
    }

    /// Up to where the log is folded.
    pub(crate) fn reaches(&self) -> LogPosition {
        self.status.reaches()
    }

    pub(crate) fn fold(&self) -> impl Fold + 'static {
        StatusFold(Arc::clone(&self.status))
    }
}

#[async_trait]
impl Snapshot for StatusSnapshot {
    async fn save(&self) {
        let this = self.clone();
        save_blocking("status of codes", &self.writing, move || {
            this.status.save(&this.file, this.clock.reading())
        })
        .await;
    }
}

#[async_trait]
impl SnapshotFile for StatusSnapshot {
    async fn write(&self) {
        self.save().await;
    }

    fn path(&self) -> &Path {
        &self.file
    }
}

struct StatusFold(Arc<FoldedStatus>);

impl Fold for StatusFold {
    fn received(&mut self, message: &RecordedCommit) -> Result<(), String> {
        self.0.received(message)
    }

    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        self.0.continuity(commit)
    }

    fn confined(&self) -> Vec<BucketId> {
        self.0.confined_buckets()
    }

    fn confine(&mut self, bucket: BucketId, commits: &[RecordedCommit]) -> Result<(), String> {
        self.0.confine(bucket, commits)
    }

    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        if commit.foreign.is_some() {
            return self.0.fold_foreign(commit);
        }
        let events = folded_events(commit).map_err(|error| error.to_string())?;
        for alarm in self.0.fold(commit, &projected(commit, &events))?.into_iter().flatten() {
            metrics::counter!("citycode_revocation_alarms_total").increment(1);
            tracing::error!(?alarm, position = %commit.position, "ALARM: protocol violation in the event log");
        }
        Ok(())
    }
}
