//! The log folded into the status of every code, for publishing status lists where no verifier stands beside.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Continuity, Fold};
use citycode_event_store::{BucketId, Layout, LogPosition, RecordedCommit, Sequence, foreign};
use citycode_holder_log::{folded_events, projected};
use citycode_projection::status::{self, FingerprintKey, StatusReader, StatusWriter};
use citycode_projection::{ApplyError, LogIdentity};
use citycode_service_kit::clock::{Clock, ClockTrust};
use citycode_service_kit::files;
use citycode_verifier::{Confined, confined_buckets, fold_foreign, status_continuity};
use parking_lot::Mutex;

use super::snapshots::{BUFFER_BYTES, Snapshot, SnapshotFile, save_blocking};

/// The status of every code and its file.
#[derive(Clone)]
pub(crate) struct StatusSnapshot {
    file: PathBuf,
    identity: LogIdentity,
    writer: Arc<Mutex<StatusWriter>>,
    reader: StatusReader,
    clock: Arc<dyn Clock>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl StatusSnapshot {
    /// From its file, or empty.
    pub(crate) fn open(file: PathBuf, identity: LogIdentity, key: FingerprintKey, clock: &Arc<dyn Clock>) -> Self {
        let loaded = File::open(&file)
            .ok()
            .map(|opened| status::load(&identity, BufReader::with_capacity(BUFFER_BYTES, opened)));
        let (writer, reader) = match loaded {
            Some(Ok((writer, _))) if writer.retired_through() > Timestamp(clock.now().0) => {
                tracing::error!(file = %file.display(), "SNAPSHOT THROWN AWAY: lists retired in it by a clock that was ahead");
                status::new(identity.partitions, key)
            }
            Some(Ok(loaded)) => loaded,
            Some(Err(error)) => {
                tracing::warn!(%error, file = %file.display(), "SNAPSHOT THROWN AWAY: the status of codes is rebuilt from the log");
                status::new(identity.partitions, key)
            }
            None => status::new(identity.partitions, key),
        };
        Self {
            file,
            identity,
            writer: Arc::new(Mutex::new(writer)),
            reader,
            clock: Arc::clone(clock),
            turn: Arc::default(),
        }
    }

    pub(crate) fn reader(&self) -> &StatusReader {
        &self.reader
    }

    /// Everything up to here is folded.
    pub(crate) fn reaches(&self) -> LogPosition {
        let points = self.reader.points();
        LogPosition::from_sequences(points.iter().map(|point| Sequence(point.sequence)).collect())
    }

    pub(crate) fn fold(&self, layout: Layout) -> impl Fold + 'static {
        StatusFold {
            writer: Arc::clone(&self.writer),
            confined: Confined::default(),
            layout,
        }
    }
}

#[async_trait]
impl Snapshot for StatusSnapshot {
    async fn save(&self) {
        let this = self.clone();
        save_blocking("status of codes", &self.turn, move || {
            files::stream_private(&this.file, |out| {
                let mut writer = this.writer.lock();
                // A clock that is not believed makes nothing go for good.
                let clock = this.clock.reading();
                if clock.trust == ClockTrust::Trusted {
                    let gone = writer.retire_long_expired(Timestamp(clock.now.0));
                    if !gone.is_empty() {
                        tracing::info!(
                            lists = gone.len(),
                            "status lists of codes that expired long ago retired"
                        );
                    }
                }
                writer.save(&this.identity, out).map_err(std::io::Error::other)
            })
        })
        .await;
    }
}

impl SnapshotFile for StatusSnapshot {
    fn file(&self) -> &Path {
        &self.file
    }
}

struct StatusFold {
    writer: Arc<Mutex<StatusWriter>>,
    confined: Confined,
    layout: Layout,
}

impl Fold for StatusFold {
    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        status_continuity(&self.writer.lock(), commit)
    }

    fn confined(&self) -> Vec<BucketId> {
        confined_buckets(&self.writer.lock())
    }

    fn confine(&mut self, bucket: BucketId, commits: &[RecordedCommit]) -> Result<(), String> {
        self.confined = self.confined.with(bucket, commits, &self.layout)?;
        self.writer.lock().doubt(self.confined.codes());
        Ok(())
    }

    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        if commit.foreign.is_some() {
            return fold_foreign(&mut self.writer.lock(), commit);
        }
        let declares = foreign::is_declarations(&commit.commit.stream);
        let events = folded_events(commit).map_err(|error| error.to_string())?;
        let applied = self.writer.lock().apply(&projected(commit, &events));
        match applied {
            Ok(alarms) => {
                for alarm in alarms {
                    metrics::counter!("citycode_revocation_alarms_total").increment(1);
                    tracing::error!(?alarm, position = %commit.position, "ALARM: the log holds what no honest writer writes");
                }
                if declares {
                    let writer = self.writer.lock();
                    self.confined = self.confined.only(&confined_buckets(&writer), &self.layout);
                    writer.doubt(self.confined.codes());
                }
                Ok(())
            }
            Err(ApplyError::AlreadyApplied { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
