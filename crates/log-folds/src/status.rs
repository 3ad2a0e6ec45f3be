//! The fold of the log into the status of every code.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use citycode_domain::event::Event;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Continuity;
use citycode_event_store::{BucketId, CommitHash, Layout, LogPosition, RecordedCommit, Sequence, foreign};
use citycode_log_tree::FoldedTrees;
use citycode_projection::status::{self, Alarm, FingerprintKey, SavedTrees, StatusReader, StatusWriter};
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
    /// The trees of what was folded, where the log is compared with witnessed checkpoints.
    trees: Option<Arc<FoldedTrees>>,
    confined: ArcSwap<Confined>,
    identity: LogIdentity,
    layout: Layout,
}

/// A status as it is loaded, with the trees if they are wanted.
type Loaded = ((StatusWriter, StatusReader), Option<FoldedTrees>);

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
        let loaded = snapshot.and_then(|path| load(path, &identity, now));
        let status = loaded.map_or_else(|| status::new(identity.partitions, key), |(status, _)| status);
        Self::of((status, None), identity, layout)
    }

    /// As [`Self::open`], with the trees of the log: folding computes the leaves of every message, and snapshots contain
    /// the trees. A snapshot without them is not used, because nothing else connects its state with the log's trees.
    #[must_use]
    pub fn open_with_trees(
        snapshot: Option<&Path>,
        identity: LogIdentity,
        key: FingerprintKey,
        now: Timestamp,
        layout: Layout,
    ) -> Self {
        let loaded = snapshot.and_then(|path| {
            let (status, saved) = load(path, &identity, now)?;
            let trees = trees_of(&status.1, saved, path)?;
            Some((status, Some(trees)))
        });
        let empty = || {
            let trees = FoldedTrees::new(identity.partitions);
            (status::new(identity.partitions, key), Some(trees))
        };
        Self::of(loaded.unwrap_or_else(empty), identity, layout)
    }

    fn of(((writer, reader), trees): Loaded, identity: LogIdentity, layout: Layout) -> Self {
        Self {
            reader,
            writer: Mutex::new(writer),
            trees: trees.map(Arc::new),
            confined: ArcSwap::default(),
            identity,
            layout,
        }
    }

    /// The trees of what was folded, if it was opened with them.
    #[must_use]
    pub fn trees(&self) -> Option<&Arc<FoldedTrees>> {
        self.trees.as_ref()
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
        position_of(&self.reader)
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
            // The fold changes both under the lock of the writer, so they have the same position.
            let trees = self.trees.as_ref().map(|trees| {
                let trees = trees.to_bytes(&self.reaches());
                trees.ok_or_else(|| io::Error::other("the trees are at another position than the status"))
            });
            let saved = writer.save_with_trees(&self.identity, trees.transpose()?.as_deref(), out);
            saved.map_err(io::Error::other)
        })
    }

    /// As [`citycode_event_store::follow::Fold::received`].
    ///
    /// # Errors
    /// Why the message has no leaves, in one sentence.
    pub fn received(&self, message: &RecordedCommit) -> Result<(), String> {
        self.trees.as_ref().map_or(Ok(()), |trees| trees.receive(message))
    }

    /// As [`citycode_event_store::follow::Fold::continuity`].
    #[must_use]
    pub fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        status_continuity(&self.writer.lock(), commit)
    }

    /// Whether a bucket ends with the commit of this hash at the folded position; [`CommitHash::NONE`] is an empty
    /// bucket.
    #[must_use]
    pub fn ends_with(&self, bucket: BucketId, hash: &CommitHash) -> bool {
        let writer = self.writer.lock();
        writer.ends_with(bucket.partition.0, bucket.bucket, &hash.0) == Some(true)
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
        let mut writer = self.writer.lock();
        if let Some(trees) = &self.trees {
            trees.fold(recorded.position, None)?;
        }
        fold_foreign(&mut writer, recorded)
    }

    /// Folds a commit: `commit` is the result of [`crate::projected`] for `recorded`. Returns the alarms that it
    /// raised, or
    /// `None` if it was folded before.
    ///
    /// # Errors
    /// Why it cannot be folded, in one sentence; the follower must stop then.
    pub fn fold(&self, recorded: &RecordedCommit, commit: &Commit<'_>) -> Result<Option<Vec<Alarm>>, String> {
        let applied = {
            let mut writer = self.writer.lock();
            if let Some(trees) = &self.trees {
                // Before the births become visible: see `FoldedTrees`.
                trees.fold(recorded.position, earliest_birth(commit.events))?;
            }
            writer.apply(commit)
        };
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

fn position_of(reader: &StatusReader) -> LogPosition {
    let points = reader.points();
    LogPosition::from_sequences(points.iter().map(|point| Sequence(point.sequence)).collect())
}

/// The earliest time of issue among the codes that are issued, in Unix seconds.
fn earliest_birth(events: &[Event]) -> Option<i64> {
    let births = events.iter().filter_map(|event| match event {
        Event::CodeIssued(issued) => Some(issued.issued_at.0),
        _ => None,
    });
    births.min()
}

/// The trees of a snapshot, if they can be continued.
fn trees_of(reader: &StatusReader, saved: SavedTrees, path: &Path) -> Option<FoldedTrees> {
    let file = path.display();
    let Some(saved) = saved else {
        tracing::warn!(%file, "SNAPSHOT NOT USED: it has no trees to compare with witnessed checkpoints; the log is replayed");
        return None;
    };
    match FoldedTrees::parse(&saved, &position_of(reader)) {
        Ok(trees) => Some(trees),
        Err(error) => {
            tracing::warn!(%error, %file, "SNAPSHOT THROWN AWAY: its trees cannot be continued; the log is replayed");
            None
        }
    }
}

fn load(path: &Path, identity: &LogIdentity, now: Timestamp) -> Option<((StatusWriter, StatusReader), SavedTrees)> {
    let file = File::open(path).ok()?;
    match status::load_with_trees(identity, BufReader::with_capacity(BUFFER_BYTES, file)) {
        Ok(((writer, _), _)) if writer.retired_through() > now => {
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
