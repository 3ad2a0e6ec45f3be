//! The fold of the log into the status of every code.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Continuity;
use citycode_event_store::{BucketId, Layout, LogPosition, RecordedCommit, Sequence, foreign};
use citycode_projection::status::{self, Alarm, FingerprintKey, StatusReader, StatusWriter};
use citycode_projection::{ApplyError, Commit, LogIdentity};
use citycode_service_kit::clock::{ClockReading, ClockTrust};
use citycode_service_kit::files;
use parking_lot::Mutex;

use crate::confined::{Confined, confined_buckets, fold_foreign, status_continuity};
use crate::snapshot::BUFFER_BYTES;

/// The status of codes, of which any number of threads read while one task folds. Lookups take no lock.
pub struct FoldedStatus {
    reader: StatusReader,
    writer: Mutex<StatusWriter>,
    confined: ArcSwap<Confined>,
    identity: LogIdentity,
    layout: Layout,
}

impl FoldedStatus {
    /// Loads the status from a snapshot file. It is empty, with the fingerprint key `key`, if there is no file, or if
    /// the file is damaged, is of another log, or was saved after a clock ahead of `now` had retired lists.
    #[must_use]
    pub fn open(
        snapshot: Option<&Path>,
        identity: LogIdentity,
        key: FingerprintKey,
        now: Timestamp,
        layout: Layout,
    ) -> Self {
        let (writer, reader) = snapshot
            .and_then(|path| load(path, &identity, now))
            .unwrap_or_else(|| status::new(identity.partitions, key));
        Self {
            reader,
            writer: Mutex::new(writer),
            confined: ArcSwap::default(),
            identity,
            layout,
        }
    }

    /// A reader for lookups.
    #[must_use]
    pub fn reader(&self) -> &StatusReader {
        &self.reader
    }

    /// The codes that cannot be checked because of foreign messages.
    #[must_use]
    pub fn uncertain(&self) -> Guard<Arc<Confined>> {
        self.confined.load()
    }

    /// The position up to which the log is folded.
    #[must_use]
    pub fn reaches(&self) -> LogPosition {
        let points = self.reader.points();
        LogPosition::from_sequences(points.iter().map(|point| Sequence(point.sequence)).collect())
    }

    /// Writes a snapshot to a temporary file, which then replaces the previous snapshot. Folding waits meanwhile,
    /// lookups do not. Lists whose codes expired long ago are retired first if the clock is trusted, because retired
    /// lists cannot be recovered. Blocks its thread.
    ///
    /// # Errors
    /// The error of the file system; the previous snapshot then remains.
    pub fn save(&self, path: &Path, clock: ClockReading) -> io::Result<()> {
        files::stream_private(path, |out| {
            let mut writer = self.writer.lock();
            if clock.trust == ClockTrust::Trusted {
                let retired = writer.retire_long_expired(Timestamp(clock.now.0));
                if !retired.is_empty() {
                    tracing::info!(
                        lists = retired.len(),
                        "status lists of codes that expired long ago retired"
                    );
                }
            }
            writer.save(&self.identity, out).map_err(io::Error::other)
        })
    }

    /// As [`citycode_event_store::follow::Fold::continuity`].
    #[must_use]
    pub fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        status_continuity(&self.writer.lock(), commit)
    }

    /// As [`citycode_event_store::follow::Fold::confined`].
    #[must_use]
    pub fn confined_buckets(&self) -> Vec<BucketId> {
        confined_buckets(&self.writer.lock())
    }

    /// As [`citycode_event_store::follow::Fold::confine`].
    ///
    /// # Errors
    /// Why an event of a commit cannot be decoded, in one sentence.
    pub fn confine(&self, bucket: BucketId, commits: &[RecordedCommit]) -> Result<(), String> {
        let next = self.confined.load().with(bucket, commits, &self.layout)?;
        self.set_confined(next);
        Ok(())
    }

    /// Folds the foreign message at the position of `recorded`, if there is one.
    ///
    /// # Errors
    /// Why it cannot be folded, in one sentence; the follower must stop then.
    pub fn fold_foreign(&self, recorded: &RecordedCommit) -> Result<(), String> {
        fold_foreign(&mut self.writer.lock(), recorded)
    }

    /// Folds a commit: `commit` is the result of [`crate::projected`] for `recorded`. Returns the alarms that it
    /// raised, or
    /// `None` if it was folded before.
    ///
    /// # Errors
    /// Why it cannot be folded, in one sentence; the follower must stop then.
    pub fn fold(&self, recorded: &RecordedCommit, commit: &Commit<'_>) -> Result<Option<Vec<Alarm>>, String> {
        let applied = self.writer.lock().apply(commit);
        match applied {
            Ok(alarms) => {
                if foreign::is_declarations(&recorded.commit.stream) {
                    self.release_declared();
                }
                Ok(Some(alarms))
            }
            Err(ApplyError::AlreadyApplied { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Releases the codes of buckets whose foreign messages were all declared.
    fn release_declared(&self) {
        let still = confined_buckets(&self.writer.lock());
        let next = self.confined.load().only(&still, &self.layout);
        self.set_confined(next);
    }

    fn set_confined(&self, next: Confined) {
        self.writer.lock().set_uncertain(next.codes());
        self.confined.store(Arc::new(next));
    }
}

fn load(path: &Path, identity: &LogIdentity, now: Timestamp) -> Option<(StatusWriter, StatusReader)> {
    let file = File::open(path).ok()?;
    match status::load(identity, BufReader::with_capacity(BUFFER_BYTES, file)) {
        Ok((writer, _)) if writer.retired_through() > now => {
            tracing::error!(file = %path.display(), "SNAPSHOT THROWN AWAY: lists retired in it by a clock that was ahead");
            None
        }
        Ok(loaded) => Some(loaded),
        Err(error) => {
            tracing::warn!(%error, file = %path.display(), "SNAPSHOT THROWN AWAY: the status of codes is rebuilt from the log");
            None
        }
    }
}
