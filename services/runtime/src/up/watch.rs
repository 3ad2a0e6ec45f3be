//! Retention the mark and the journal beside it while the system runs.

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

/// Between two looks whether the log has moved: what a mark may lack after a crash, and how often the disk is bothered.
const EVERY: Duration = Duration::from_secs(1);

/// Where the mark and the journal of one log stand.
#[derive(Clone, Debug)]
pub(super) struct MarkFiles {
    pub(super) mark: PathBuf,
    pub(super) journal: PathBuf,
}

impl MarkFiles {
    /// Those of a log in a folder of marks; the folder is made.
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

/// What stands in the files by now.
struct State {
    /// How far the mark says that the log reaches.
    written: LogPosition,
    /// How far it says that scan records were written.
    scans: Extent,
    /// Of the journal; none where an append failed, of which nobody knows how much was written.
    sealing: Option<Sealing>,
}

/// The seal of a journal as it stands in its file.
fn sealing_of(files: &MarkFiles) -> std::io::Result<Sealing> {
    let mut sealing = Sealing::default();
    sealing.add(&loss_journal::read(&files.journal)?);
    Ok(sealing)
}

impl MarkKeeper {
    /// Adds to the journal what it lacks of what the log holds, and writes the mark. From then on they are moved on.
    ///
    /// # Errors
    /// [`StartError`]: a system that keeps no mark must not seem to keep one.
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
        let said = |error: std::io::Error| StartError::Log(format!("{}: {error}", files.journal.display()));
        let written = loss_journal::read(&files.journal).map_err(said)?;
        let mut sealing = Sealing::default();
        sealing.add(&written);
        let known: BTreeSet<Entry> = written.into_iter().collect();
        let gathered = recorder.take().into_iter();
        let gathered = gathered.chain(erased.into_iter().map(|holder| Entry::Erased(holder.0)));
        let lacking: BTreeSet<Entry> = gathered.filter(|entry| !known.contains(entry)).collect();
        let lacking: Vec<Entry> = lacking.into_iter().collect();
        loss_journal::append(&files.journal, &lacking).map_err(said)?;
        sealing.add(&lacking);
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

    /// Moves the mark once a second while the log or the scan records move, for ever. Drop the future to stop.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.save().await;
        }
    }

    async fn move_to(&self, position: LogPosition, scans: Extent, state: &mut State) -> Result<(), String> {
        let mark = Mark::at(&*self.store, &position).await;
        let mut mark = mark.map_err(|error| error.to_string())?;
        let (files, recorder, sealing) = (self.files.clone(), Arc::clone(&self.recorder), state.sealing.take());
        let written = tokio::task::spawn_blocking(move || {
            let mut sealing = match sealing {
                Some(sealing) => sealing,
                None => sealing_of(&files).map_err(|error| error.to_string())?,
            };
            // The journal first: a mark never says more than the journal beside it.
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
        // What is folded is durable, and what was folded up to there was gathered before.
        let position = self.progress.position();
        let moved = match self.records.extent() {
            Ok(scans) if state.written == position && state.scans == scans => return,
            Ok(scans) => self.move_to(position, scans, &mut state).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = moved {
            tracing::warn!(%error, "the mark of how far the log reaches was not moved; a restore may go unnoticed");
        }
    }
}
