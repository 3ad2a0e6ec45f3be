//! The order in which a start finds out what is lost, and makes it safe before anybody is served.

use std::path::PathBuf;
use std::sync::Arc;

use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Progress;
use citycode_event_store::{LogId, LogPosition, Sequence};
use citycode_holder_log::HolderLog;

use super::PartError;
use super::dependencies::Dependencies;
use super::folder_manifest::Part;
use super::loss_journal::{self, Recorder};
use super::losses::{self, Closing, Loss};
use super::marks::{self, Mark};
use super::settings::Settings;
use super::watch::{MarkFiles, MarkKeeper};
use crate::wiring::unknown_holders::{End, Whose, codes_to_end, end_codes};
use crate::wiring::{StartError, Surroundings, vault_age};

/// What is known before anything is folded.
pub(super) struct Found {
    /// The log of which the operator gives up what was lost.
    accepted: Option<LogId>,
    /// What the log lost, accepted.
    log_loss: Option<Loss>,
    /// Scan records are older than the mark, accepted.
    scans_lost: bool,
    /// Where the mark is kept; none where there is no folder for it.
    marks: Option<MarkFiles>,
}

/// What runs by the time that a loss is made safe.
pub(super) struct Live<'a> {
    pub(super) dependencies: &'a mut Dependencies,
    pub(super) log: &'a HolderLog,
    pub(super) progress: &'a Progress,
    pub(super) recorder: Arc<Recorder>,
    pub(super) surroundings: &'a Surroundings,
}

/// Compares the log with its mark, and with what vault and snapshots have seen of it.
///
/// # Errors
/// [`PartError::Older`] where it lacks something and the operator did not accept that; [`StartError`].
pub(super) async fn look(dependencies: &Dependencies, settings: &Settings) -> Result<Found, StartError> {
    let log_id = dependencies.store.log_id();
    let accepted = settings.once.accept_loss;
    if let Some(named) = accepted.filter(|named| *named != log_id) {
        let why = format!("{named} is not the log of this data folder, which is {log_id}");
        return Err(PartError::NothingLost(why).into());
    }
    let files = mark_files(settings.marks.as_ref(), log_id)?;
    let mark = files.as_ref().and_then(|files| Mark::read(&files.mark, log_id));
    let newer = |files: &MarkFiles| format!("the mark {}", files.mark.display());
    let mut loss = None;
    match (&mark, &files) {
        (Some(mark), Some(files)) => {
            loss = losses::below_mark(&*dependencies.store, mark, newer(files)).await?;
        }
        _ if dependencies.first => {}
        _ => tracing::warn!(
            "there is no mark of how far this log reached: whether it was restored from an older copy cannot be told"
        ),
    }
    if loss.is_none() {
        loss = losses::below_neighbours(
            &dependencies.folder,
            &dependencies.identity,
            &*dependencies.store,
            &*dependencies.vault,
        )
        .await?;
    }
    if let Some(loss) = &loss {
        if accepted.is_none() {
            return Err(loss.clone().refusal(Part::Log, log_id).into());
        }
        if let (Some(files), Some(mark)) = (&files, &mark) {
            check_journal(files, mark)?;
        }
        tracing::warn!(than = %loss.newer, what = %loss.what, "THE LOG IS OLDER, and the loss is accepted by --accept-loss");
        losses::forget_what_was_lost(&dependencies.folder, &*dependencies.store, &*dependencies.vault).await?;
    }
    let known = mark.as_ref().and_then(|mark| mark.scans);
    // Records that are begun anew have less than the mark knows until it is written again.
    let known = known.filter(|_| !dependencies.manifest.is_beginning(Part::Scans));
    let lost = match (known, &files) {
        (Some(known), Some(files)) => {
            let there = dependencies.records.extent();
            let there = there.map_err(|error| StartError::Verifier(error.to_string()))?;
            losses::scans_below_mark(there, known, newer(files))
        }
        _ => None,
    };
    if let Some(lost) = &lost {
        if accepted.is_none() {
            return Err(lost.clone().refusal(Part::Scans, log_id).into());
        }
        tracing::warn!(than = %lost.newer, what = %lost.what, "SCAN RECORDS ARE OLDER, and the loss is accepted by --accept-loss: the records that are missing are gone");
    }
    Ok(Found {
        accepted,
        log_loss: loss,
        scans_lost: lost.is_some(),
        marks: files,
    })
}

/// Refuses to accept a loss without the journal that says who was erased and what was leased in the lost period.
fn check_journal(files: &MarkFiles, mark: &Mark) -> Result<(), StartError> {
    let file = files.journal.display();
    let journal = loss_journal::read(&files.journal).map_err(|error| StartError::Log(format!("{file}: {error}")))?;
    let Some(seal) = mark.journal.filter(|seal| !seal.is_kept_by(&journal)) else {
        return Ok(());
    };
    Err(StartError::Log(format!(
        "nothing was changed: the journal {file} is not the one that the mark beside it knows: it should begin with {} \
         certain lines and has {}. It says who was erased and which list places were used in the lost period: without it, \
         erased people would come back. Bring it back as it was; if it is lost for good, remove the mark too, start, and \
         erase by hand whoever was erased since the backup",
        seal.lines,
        journal.len()
    )))
}

/// Suspends living codes; how many.
async fn suspend(log: &HolderLog, whose: Whose<'_>, surroundings: &Surroundings) -> Result<u64, StartError> {
    let codes = codes_to_end(log, whose, End::Suspended, Timestamp(surroundings.clock.now().0));
    end_codes(log, codes, End::Suspended, surroundings).await
}

/// A folder that is configured must be there; without the standard one the system runs, and says so.
fn mark_files(configured: Option<&PathBuf>, log_id: LogId) -> Result<Option<MarkFiles>, StartError> {
    if let Some(folder) = configured {
        return Ok(Some(MarkFiles::open(folder, log_id)?));
    }
    let Some(folder) = marks::default_folder() else {
        tracing::warn!("there is no home folder: no mark of how far the log reaches is kept; name a folder in `marks`");
        return Ok(None);
    };
    match MarkFiles::open(&folder, log_id) {
        Ok(files) => Ok(Some(files)),
        Err(error) => {
            tracing::warn!(%error, "no mark of how far the log reaches is kept; name another folder in `marks`");
            Ok(None)
        }
    }
}

impl Found {
    /// Makes safe what was lost, once everything is folded; the mark is kept from then on.
    ///
    /// # Errors
    /// [`PartError`] where the vault is older and that is not accepted, or nothing was lost; [`StartError`].
    pub(super) async fn finish(self, live: Live<'_>) -> Result<Option<Arc<MarkKeeper>>, StartError> {
        let lost_people = self.compare_vault(&live).await?;
        if self.log_loss.is_some() {
            self.close(&live).await?;
        } else if self.accepted.is_some() && !lost_people && !self.scans_lost {
            return Err(PartError::NothingLost("nothing is lost".into()).into());
        }
        let Live {
            dependencies,
            log,
            progress,
            recorder,
            ..
        } = live;
        let keeper = match self.marks {
            Some(files) => {
                let erased = log.register().erased();
                let (store, records) = (&dependencies.store, &dependencies.records);
                Some(MarkKeeper::establish(files, recorder, store, records, progress, erased).await?)
            }
            None => None,
        };
        if !dependencies.manifest.beginning.is_empty() {
            dependencies.manifest.beginning.clear();
            dependencies
                .manifest
                .write(dependencies.folder.path())
                .map_err(PartError::from)?;
        }
        Ok(keeper)
    }

    /// Suspends the codes of people whom the vault does not know: all, where it was begun anew; else those who registered
    /// after what it holds. Whether there were such people.
    async fn compare_vault(&self, live: &Live<'_>) -> Result<bool, StartError> {
        let Live { dependencies, log, .. } = live;
        if dependencies.manifest.is_beginning(Part::Vault) {
            let suspended = suspend(log, Whose::All, live.surroundings).await?;
            tracing::warn!(
                suspended,
                "the vault was begun anew: every code that lived is suspended"
            );
            return Ok(false);
        }
        // A vault without a mark was just made or taken over, and is believed.
        let Some(marked) = dependencies.vault.erased_up_to().await? else {
            return Ok(false);
        };
        let mark = LogPosition::from_sequences(marked.into_iter().map(Sequence).collect());
        let known = live.progress.position();
        let unknown = vault_age::compare(&*dependencies.store, &*dependencies.vault, mark, &known).await?;
        let Some(what) = unknown.what() else {
            return Ok(false);
        };
        let newer = "the log".into();
        let loss = Loss { newer, what };
        if self.accepted.is_none() {
            return Err(loss.refusal(Part::Vault, dependencies.store.log_id()).into());
        }
        let people = unknown.holders.into_iter().collect();
        let suspended = suspend(log, Whose::Of(&people), live.surroundings).await?;
        tracing::warn!(
            suspended,
            what = %loss.what,
            "THE VAULT IS OLDER than the log, and the loss is accepted: codes of people whom it does not know are suspended"
        );
        Ok(true)
    }

    async fn close(&self, live: &Live<'_>) -> Result<(), StartError> {
        let journal = match &self.marks {
            Some(files) => loss_journal::read(&files.journal)
                .map_err(|error| StartError::Log(format!("{}: {error}", files.journal.display())))?
                .into_iter()
                .collect(),
            None => std::collections::BTreeSet::new(),
        };
        if journal.is_empty() {
            tracing::warn!(
                "nothing beside the mark says which status lists were used in the lost period: codes of lists that began in \
                 it may share their places with new ones"
            );
        }
        let in_log = live.recorder.take();
        let closing = Closing {
            log: live.log,
            vault: &live.dependencies.vault,
            keyring: &live.dependencies.signing.keyring(),
            surroundings: live.surroundings,
        };
        let closed = closing.close(&in_log, &journal).await;
        live.recorder.put_back(in_log);
        let closed = closed?;
        tracing::warn!(
            lists = closed.lists,
            erased = closed.erased,
            keys = closed.keys,
            "what was lost is made safe: codes born in it are revoked, people erased in it are erased again"
        );
        Ok(())
    }
}
