//! Updates the mark and its journal while the system runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_domain::ids::HolderId;
use citycode_event_store::follow::Progress;
use citycode_event_store::{EventStore, LogId, LogPosition};
use citycode_scan_records::embedded::{EmbeddedScanRecords, Extent};
use citycode_service_kit::files::{self, FileError};
use tokio::sync::Mutex;

use super::loss_journal::{self, Entry, Recorder, Sealing};
use super::marks::Mark;
use crate::wiring::StartError;
use crate::wiring::snapshots::Snapshot;

/// Period of the updates: a mark may be this much behind after a crash, and the disk is written at most this often.
const EVERY: Duration = Duration::from_secs(1);

/// The files of the mark and the journal of one log.
#[derive(Clone, Debug)]
pub(super) struct MarkFiles {
    pub(super) mark: PathBuf,
    pub(super) journal: PathBuf,
}

impl MarkFiles {
    /// The files of a log in a folder of marks, which is created if absent.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn open(folder: &Path, log_id: LogId) -> Result<Self, FileError> {
        files::create_private_dir(folder)?;
        Ok(Self {
            mark: folder.join(log_id.to_string()),
            journal: folder.join(format!("{log_id}.journal")),
        })
    }
}

/// The mark of a running system.
pub(super) struct MarkKeeper {
    pub(super) files: MarkFiles,
    pub(super) recorder: Arc<Recorder>,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) progress: Progress,
    pub(super) records: Arc<EmbeddedScanRecords>,
    state: Mutex<State>,
}

/// The current content of the files.
struct State {
    /// The log position of the mark.
    written: LogPosition,
    /// The extent of scan records in the mark.
    scans: Extent,
    /// The seal of the journal; none after a failed append, which may have written a part of its lines.
    sealing: Option<Sealing>,
}

/// Computes the seal of the journal from its file.
fn sealing_of(files: &MarkFiles) -> std::io::Result<Sealing> {
    let mut sealing = Sealing::default();
    sealing.add(&loss_journal::read(&files.journal)?);
    Ok(sealing)
}

impl MarkKeeper {
    /// Adds missing entries of the log to the journal, and writes the mark.
    ///
    /// # Errors
    /// [`StartError`]; a system that cannot write a mark must not appear to have one.
    pub(super) async fn establish(
        files: MarkFiles,
        recorder: Arc<Recorder>,
        store: &Arc<dyn EventStore>,
        records: &Arc<EmbeddedScanRecords>,
        progress: &Progress,
        erased: Vec<HolderId>,
    ) -> Result<Arc<Self>, StartError> {
        let position = progress.position();
        let scans = records
            .extent()
            .map_err(|error| StartError::Verifier(error.to_string()))?;
        let failed = |error: std::io::Error| StartError::Log(format!("{}: {error}", files.journal.display()));
        let written = loss_journal::read(&files.journal).map_err(failed)?;
        let mut sealing = Sealing::default();
        sealing.add(&written);
        let written: BTreeSet<Entry> = written.into_iter().collect();
        let recorded = recorder.take().into_iter();
        let recorded = recorded.chain(erased.into_iter().map(|holder| Entry::Erased(holder.0)));
        let missing: BTreeSet<Entry> = recorded.filter(|entry| !written.contains(entry)).collect();
        let missing: Vec<Entry> = missing.into_iter().collect();
        loss_journal::append(&files.journal, &missing).map_err(failed)?;
        sealing.add(&missing);
        let mut mark = Mark::at(&**store, &position).await?;
        mark.journal = Some(sealing.seal());
        mark.scans = Some(scans);
        mark.write(&files.mark)?;
        Ok(Arc::new(Self {
            files,
            recorder,
            store: Arc::clone(store),
            progress: progress.clone(),
            records: Arc::clone(records),
            state: Mutex::new(State {
                written: position,
                scans,
                sealing: Some(sealing),
            }),
        }))
    }

    /// Updates the mark once a second while the log or the scan records advance, forever. Drop the future to stop.
    pub(super) async fn keep_saving(self: Arc<Self>) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.save().await;
        }
    }

    async fn advance_to(&self, position: LogPosition, scans: Extent, state: &mut State) -> Result<(), String> {
        let mark = Mark::at(&*self.store, &position).await;
        let mut mark = mark.map_err(|error| error.to_string())?;
        let (files, recorder, sealing) = (self.files.clone(), Arc::clone(&self.recorder), state.sealing.take());
        let written = tokio::task::spawn_blocking(move || {
            let mut sealing = match sealing {
                Some(sealing) => sealing,
                None => sealing_of(&files).map_err(|error| error.to_string())?,
            };
            // The journal is written first, so that the mark is never ahead of it.
            let entries = recorder.take();
            if let Err(error) = loss_journal::append(&files.journal, &entries) {
                recorder.put_back(entries);
                return Err(error.to_string());
            }
            sealing.add(&entries);
            mark.journal = Some(sealing.seal());
            mark.scans = Some(scans);
            mark.write(&files.mark).map_err(|error| error.to_string())?;
            Ok(sealing)
        });
        state.sealing = Some(written.await.map_err(|error| error.to_string())??);
        state.written = position;
        state.scans = scans;
        Ok(())
    }
}

#[async_trait]
impl Snapshot for MarkKeeper {
    async fn save(&self) {
        let mut state = self.state.lock().await;
        // Folded commits are durable, and the recorder received their entries before the position advanced.
        let position = self.progress.position();
        let advanced = match self.records.extent() {
            Ok(scans) if state.written == position && state.scans == scans => return,
            Ok(scans) => self.advance_to(position, scans, &mut state).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = advanced {
            tracing::warn!(%error, "the mark of the log was not updated; the restore of an older copy may go undetected");
        }
    }
}
