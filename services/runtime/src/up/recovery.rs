//! Detects lost data at startup, and makes the loss safe before calls are served.

use std::path::PathBuf;
use std::sync::Arc;

use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Progress;
use citycode_event_store::{LogId, LogPosition, Sequence};
use citycode_holder_log::HolderLog;
use citycode_issuer::unknown_holders::{AffectedPeople, End, codes_to_end, end_codes};
use citycode_issuer::vault_age;

use super::PartError;
use super::dependencies::Dependencies;
use super::folder_manifest::Part;
use super::loss_journal::{self, Recorder};
use super::losses::{self, Closing, Loss};
use super::mark_keeper::{MarkFiles, MarkKeeper};
use super::marks::{self, Mark};
use super::settings::Settings;
use crate::wiring::{Environment, StartError};

/// The findings before the log is folded.
pub(super) struct Findings {
    /// The log whose loss the operator accepts.
    accepted: Option<LogId>,
    /// The accepted loss of the log.
    log_loss: Option<Loss>,
    /// Whether scan records are older than the mark and this is accepted.
    scans_lost: bool,
    /// The files of the mark; none if there is no folder for it.
    marks: Option<MarkFiles>,
}

/// The running parts with which a loss is made safe.
pub(super) struct Live<'a> {
    pub(super) dependencies: &'a mut Dependencies,
    pub(super) log: &'a HolderLog,
    pub(super) progress: &'a Progress,
    pub(super) recorder: Arc<Recorder>,
    pub(super) environment: &'a Environment,
}

/// Compares the log with its mark and with the positions of the vault and snapshots, and the scan records with the
/// mark.
///
/// # Errors
/// [`PartError::Older`] if changes are missing and the operator did not accept that; [`StartError`].
pub(super) async fn inspect(dependencies: &Dependencies, settings: &Settings) -> Result<Findings, StartError> {
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
        _ => tracing::warn!("there is no mark of this log: a restore from an older copy cannot be detected"),
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
        losses::discard_state_ahead(&dependencies.folder, &*dependencies.store, &*dependencies.vault).await?;
        // Digests of scan records may be among the lost changes.
        let forgotten = dependencies.records.forget_recorded();
        forgotten.map_err(|error| StartError::Verifier(error.to_string()))?;
    }
    let marked = mark.as_ref().and_then(|mark| mark.scans);
    // Recreated records are behind the mark until it is written again.
    let marked = marked.filter(|_| !dependencies.manifest.is_beginning(Part::Scans));
    let lost = match (marked, &files) {
        (Some(marked), Some(files)) => {
            let found = dependencies.records.extent();
            let found = found.map_err(|error| StartError::Verifier(error.to_string()))?;
            losses::scans_below_mark(found, marked, newer(files))
        }
        _ => None,
    };
    if let Some(lost) = &lost {
        if accepted.is_none() {
            return Err(lost.clone().refusal(Part::Scans, log_id).into());
        }
        tracing::warn!(than = %lost.newer, what = %lost.what, "SCAN RECORDS ARE OLDER, and the loss is accepted by --accept-loss: missing records are lost");
    }
    Ok(Findings {
        accepted,
        log_loss: loss,
        scans_lost: lost.is_some(),
        marks: files,
    })
}

/// Refuses to accept a loss without the journal of erasures and leases in the lost period.
fn check_journal(files: &MarkFiles, mark: &Mark) -> Result<(), StartError> {
    let file = files.journal.display();
    let journal = loss_journal::read(&files.journal).map_err(|error| StartError::Log(format!("{file}: {error}")))?;
    let Some(seal) = mark.journal.filter(|seal| !seal.is_prefix_of(&journal)) else {
        return Ok(());
    };
    Err(StartError::Log(format!(
        "nothing was changed: the journal {file} does not match its mark: it must begin with {} lines that the mark \
         recorded, and has {} lines. It records the erased people and the used indices of status lists in the lost \
         period: without it, erased people would reappear. Restore the journal; if it cannot be recovered, remove the \
         mark too, start, and repeat the erasures since the backup",
        seal.lines,
        journal.len()
    )))
}

/// Suspends valid codes, and returns their number.
async fn suspend(log: &HolderLog, people: AffectedPeople<'_>, environment: &Environment) -> Result<u64, StartError> {
    let codes = codes_to_end(log, people, End::Suspended, Timestamp(environment.clock.now().0));
    let (clock, entropy) = (&*environment.clock, &*environment.entropy);
    Ok(end_codes(log, codes, End::Suspended, clock, entropy).await?)
}

/// The files of the mark. A configured folder must be usable; without the default folder the system runs without a
/// mark, and logs a warning.
fn mark_files(configured: Option<&PathBuf>, log_id: LogId) -> Result<Option<MarkFiles>, StartError> {
    if let Some(folder) = configured {
        return Ok(Some(MarkFiles::open(folder, log_id)?));
    }
    let Some(folder) = marks::default_folder() else {
        tracing::warn!("there is no home folder: no mark of the log is written; name a folder in `marks`");
        return Ok(None);
    };
    match MarkFiles::open(&folder, log_id) {
        Ok(files) => Ok(Some(files)),
        Err(error) => {
            tracing::warn!(%error, "no mark of the log is written; name another folder in `marks`");
            Ok(None)
        }
    }
}

impl Findings {
    /// Makes a loss safe once everything is folded, and writes the mark.
    ///
    /// # Errors
    /// [`PartError`] if the vault is older and this is not accepted, or if a loss is accepted and nothing is lost;
    /// [`StartError`].
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

    /// Suspends the codes of people who are not in the vault: all people if it was recreated, else those who registered
    /// after its mark. Returns whether there were any of the latter.
    async fn compare_vault(&self, live: &Live<'_>) -> Result<bool, StartError> {
        let Live { dependencies, log, .. } = live;
        if dependencies.manifest.is_beginning(Part::Vault) {
            let suspended = suspend(log, AffectedPeople::All, live.environment).await?;
            tracing::warn!(
                suspended,
                "the vault was recreated after a loss: every valid code is suspended"
            );
            return Ok(false);
        }
        // A vault without a mark was just created or adopted from an earlier release, and is trusted.
        let Some(marked) = dependencies.vault.erased_up_to().await? else {
            return Ok(false);
        };
        let mark = LogPosition::from_sequences(marked.into_iter().map(Sequence).collect());
        let folded = live.progress.position();
        let unknown = vault_age::compare(&*dependencies.store, &*dependencies.vault, mark, &folded).await?;
        let Some(what) = unknown.what() else {
            return Ok(false);
        };
        let newer = "the log".into();
        let loss = Loss { newer, what };
        if self.accepted.is_none() {
            return Err(loss.refusal(Part::Vault, dependencies.store.log_id()).into());
        }
        let people = unknown.holders.into_iter().collect();
        let suspended = suspend(log, AffectedPeople::Of(&people), live.environment).await?;
        tracing::warn!(
            suspended,
            what = %loss.what,
            "THE VAULT IS OLDER than the log, and the loss is accepted: codes of people who are not in it are suspended"
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
                "there is no journal of the status lists used in the lost period: codes of lists that began in it may share \
                 their indices with new codes"
            );
        }
        let in_log = live.recorder.take();
        let closing = Closing {
            log: live.log,
            vault: &live.dependencies.vault,
            keyring: &live.dependencies.signing.keyring(),
            environment: live.environment,
        };
        let closed = closing.close(&in_log, &journal).await;
        live.recorder.put_back(in_log);
        let closed = closed?;
        tracing::warn!(
            lists = closed.lists,
            erased = closed.erased,
            keys = closed.keys,
            "the loss is made safe: codes issued in the lost period are revoked, people erased in it are erased again"
        );
        Ok(())
    }
}
