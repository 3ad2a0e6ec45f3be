//! The log, folded into what scans look at.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use citycode_domain::event::Event;
use citycode_domain::ids::{CommitPosition, HolderId};
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Continuity, Fold};
use citycode_event_store::{BucketId, Layout, LogPosition, RecordedCommit, Sequence, StreamName, foreign};
use citycode_projection::status::{self, FingerprintKey, StatusReader, StatusWriter};
use citycode_projection::{ApplyError, BucketTail, Commit, LogIdentity};
use citycode_service_kit::clock::{ClockReading, ClockTrust};
use citycode_service_kit::files;
use citycode_service_kit::telemetry::set_parent_from;
use citycode_token::Keyring;
use citycode_wire::event;
use parking_lot::Mutex;

use crate::confined::{Confined, confined_buckets, fold_foreign, status_continuity};
use crate::memory::Memory;

/// Start of every holder's stream.
pub(crate) const HOLDER_PREFIX: &str = "holder-";
const BUFFER_BYTES: usize = 1 << 20;

/// What scans and the fold share.
pub(crate) struct Folded {
    pub(crate) status: StatusReader,
    pub(crate) memory: Memory,
    keyring: ArcSwap<Keyring>,
    writer: Mutex<StatusWriter>,
    /// What cannot be checked because a foreign message stands in the log.
    pub(crate) confined: ArcSwap<Confined>,
    layout: Layout,
}

impl Folded {
    /// From a snapshot file, or empty where there is none that can be used; and where to follow on.
    pub(crate) fn open(
        snapshot: Option<&Path>,
        identity: &LogIdentity,
        key: FingerprintKey,
        now: Timestamp,
        layout: Layout,
    ) -> (Self, LogPosition) {
        let (writer, reader) = snapshot
            .and_then(|path| load(path, identity, now))
            .unwrap_or_else(|| status::new(identity.partitions, key));
        let points = reader.points();
        let from = LogPosition::from_sequences(points.iter().map(|point| Sequence(point.sequence)).collect());
        let folded = Self {
            status: reader,
            memory: Memory::new(),
            keyring: ArcSwap::from_pointee(Keyring::new()),
            writer: Mutex::new(writer),
            confined: ArcSwap::default(),
            layout,
        };
        (folded, from)
    }

    /// Writes a snapshot beside the old one and then in its place; folding waits meanwhile, scans do not. Lists of codes
    /// that expired long ago go first, unless the clock is not believed.
    pub(crate) fn save(&self, path: &Path, identity: &LogIdentity, clock: ClockReading) -> std::io::Result<()> {
        files::stream_private(path, |out| {
            let mut writer = self.writer.lock();
            if clock.trust == ClockTrust::Trusted {
                let gone = writer.retire_long_expired(Timestamp(clock.now.0));
                if !gone.is_empty() {
                    tracing::info!(
                        lists = gone.len(),
                        "status lists of codes that expired long ago retired"
                    );
                }
            }
            writer.save(identity, out).map_err(std::io::Error::other)
        })
    }

    pub(crate) fn fold_key_event(&self, event: &Event) -> Result<(), String> {
        let keyring = self.keyring.load();
        let next = keyring.apply(event).map_err(|error| error.to_string())?;
        if !next.is_same(&keyring) {
            self.memory.change_keyring(next.clone());
            self.keyring.store(Arc::new(next));
        }
        Ok(())
    }
}

fn load(path: &Path, identity: &LogIdentity, now: Timestamp) -> Option<(StatusWriter, StatusReader)> {
    let file = std::fs::File::open(path).ok()?;
    match status::load(identity, std::io::BufReader::with_capacity(BUFFER_BYTES, file)) {
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

/// Folds commits into a verifier's projection.
pub struct VerifierFold {
    folded: Arc<Folded>,
    /// The head was reached: what is folded now happened just now, and belongs into the trace of who asked for it.
    live: bool,
}

impl VerifierFold {
    pub(crate) fn new(folded: Arc<Folded>) -> Self {
        Self { folded, live: false }
    }
}

impl VerifierFold {
    /// A declaration was folded: what is confined no more can be checked again.
    fn lift(&self) {
        let still = confined_buckets(&self.folded.writer.lock());
        let next = self.folded.confined.load().only(&still, &self.folded.layout);
        self.folded.writer.lock().doubt(next.codes());
        self.folded.confined.store(Arc::new(next));
    }
}

impl Fold for VerifierFold {
    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        status_continuity(&self.folded.writer.lock(), commit)
    }

    fn confined(&self) -> Vec<BucketId> {
        confined_buckets(&self.folded.writer.lock())
    }

    fn confine(&mut self, bucket: BucketId, commits: &[RecordedCommit]) -> Result<(), String> {
        let next = self.folded.confined.load().with(bucket, commits, &self.folded.layout)?;
        self.folded.writer.lock().doubt(next.codes());
        self.folded.confined.store(Arc::new(next));
        Ok(())
    }

    fn caught_up(&mut self, _position: &citycode_event_store::LogPosition) {
        self.live = true;
    }

    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        if commit.foreign.is_some() {
            return fold_foreign(&mut self.folded.writer.lock(), commit);
        }
        let trace = commit.commit.trace_context.as_deref().filter(|_| self.live);
        let _traced = trace.map(|parent| {
            let span = tracing::info_span!("fold", position = %commit.position).entered();
            set_parent_from(parent);
            span
        });
        let decode = |data: &citycode_event_store::EventData| {
            event::decode_for_projection(&data.event_type, data.version, &data.payload)
        };
        let events: Vec<Event> = commit
            .commit
            .facts()
            .iter()
            .map(decode)
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let holder = holder_of(&commit.commit.stream);
        if holder.is_none() {
            events.iter().try_for_each(|event| self.folded.fold_key_event(event))?;
        }
        let applied = self.folded.writer.lock().apply(&Commit {
            position: CommitPosition {
                partition: commit.position.partition.0,
                sequence: commit.position.sequence.0,
            },
            decided_at: Timestamp(commit.commit.decided_at),
            holder,
            bucket: commit.bucket.bucket,
            tail: BucketTail {
                revision: commit.revision.to_raw(),
                hash: commit.hash.0,
            },
            message_id_prefix: 0,
            events: &events,
        });
        match applied {
            Ok(alarms) => {
                for alarm in alarms {
                    metrics::counter!("citycode_verifier_alarms_total").increment(1);
                    tracing::error!(?alarm, position = %commit.position, "ALARM: the log holds what no honest writer writes");
                }
                if foreign::is_declarations(&commit.commit.stream) {
                    self.lift();
                }
                metrics::counter!("citycode_verifier_folded_events_total").increment(events.len() as u64);
                Ok(())
            }
            Err(ApplyError::AlreadyApplied { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn holder_of(stream: &StreamName) -> Option<HolderId> {
    stream.as_str().strip_prefix(HOLDER_PREFIX).and_then(HolderId::from_hex)
}
