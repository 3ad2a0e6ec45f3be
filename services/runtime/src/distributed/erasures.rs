//! Erasures and the vault's mark: a vault that was restored from a backup has people in it whom the log calls erased, and
//! names that were corrected since. What is said of erasures below holds for those names too.
//!
//! The vault notes up to where in the log erasures were applied to it, and the note comes back with a backup. An issuer
//! that knows the log further than its vault says, from its own snapshot, reads the log's erasures in between again and
//! applies them before it serves anybody. While it runs it moves the mark on with each snapshot, and only from where it
//! left it: where the mark stands before that, somebody put an older vault in place, and the same is done at once.
//!
//! People whom the log registered since the mark and the vault does not know would register again and hold two valid codes.
//! No issuer serves beside such a vault, and one that finds it while it runs ends. A vault that was begun anew because the
//! one before was lost knows nobody; the first issuer suspends every living code and then moves the mark.
//! An issuer that runs and opened the one before writes nothing into it, and ends at its next snapshot.
//!
//! A crash between applying and noting leaves the mark behind what was applied: the next start applies some erasures
//! again, which changes nothing.

use std::sync::Arc;

use async_trait::async_trait;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Progress;
use citycode_event_store::{EventStore, LogPosition, Sequence};
use citycode_holder_log::HolderLog;
use citycode_issuer::ErasureQueue;
use citycode_vault::jetstream::{JetStreamVault, Origin};
use citycode_vault::{Vault, VaultError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::wiring::snapshots::Snapshot;
use crate::wiring::unknown_holders::{self, End, Whose};
use crate::wiring::{StartError, Surroundings, vault_age};

/// What an issuer finds out about its vault before it folds the log.
pub(super) enum VaultAge {
    /// It was begun anew, and no issuer has suspended the living codes yet.
    BegunAnew,
    /// Whoever the log erased up to here is erased in it, and whoever it registered is known.
    Marked(LogPosition),
}

impl VaultAge {
    /// Looks at the vault, and brings it to where this issuer's snapshot of the log is.
    ///
    /// # Errors
    /// [`StartError::VaultOlder`], [`StartError`].
    pub(super) async fn find(
        vault: &Arc<JetStreamVault>,
        log: &Arc<dyn EventStore>,
        known: &LogPosition,
    ) -> Result<Self, StartError> {
        if vault.origin() == Origin::BegunAnew && vault.erased_up_to().await?.is_none() {
            return Ok(Self::BegunAnew);
        }
        let vault: Arc<dyn Vault> = vault.clone();
        apply_again(&vault, log, known).await.map(Self::Marked)
    }

    /// Compares the vault with what was folded since, before anybody is served; where the mark is then.
    ///
    /// # Errors
    /// [`StartError::VaultOlder`], [`StartError`].
    pub(super) async fn settle(
        &self,
        vault: &dyn Vault,
        log: &HolderLog,
        folded: &LogPosition,
        surroundings: &Surroundings,
    ) -> Result<LogPosition, StartError> {
        let Self::Marked(left) = self else {
            return suspend_living_codes(vault, log, folded, surroundings).await;
        };
        refuse_older(&**log.store(), vault, left.clone(), folded).await?;
        Ok(left.clone())
    }
}

/// Suspends every living code of people whom the vault does not know. Another issuer may do the same meanwhile, or serve
/// already: who registered there is known.
async fn suspend_living_codes(
    vault: &dyn Vault,
    log: &HolderLog,
    folded: &LogPosition,
    surroundings: &Surroundings,
) -> Result<LogPosition, StartError> {
    let now = Timestamp(surroundings.clock.now().0);
    tracing::warn!("THE VAULT WAS BEGUN ANEW: every code that lives is suspended before anybody is served");
    let people = unknown_holders::unknown_people(vault, log, now).await?;
    let codes = unknown_holders::codes_to_end(log, Whose::Of(&people), End::Suspended, now);
    let suspended = unknown_holders::end_codes(log, codes, End::Suspended, surroundings).await?;
    tracing::warn!(suspended, "every code that lived when the vault was lost is suspended");
    if vault.note_erased_up_to(None, &sequences(folded)).await? {
        return Ok(folded.clone());
    }
    let noted = vault.erased_up_to().await?;
    position(noted.as_deref(), folded)
}

/// Applies again what the log erased after the vault's mark and up to `known`, and moves the mark there; where it then
/// stands.
///
/// # Errors
/// [`StartError`]: neither log nor vault may be unreachable for this, since nobody is served before.
async fn apply_again(
    vault: &Arc<dyn Vault>,
    log: &Arc<dyn EventStore>,
    known: &LogPosition,
) -> Result<LogPosition, StartError> {
    loop {
        let noted = vault.erased_up_to().await.map_err(StartError::Vault)?;
        let mark = position(noted.as_deref(), known)?;
        if !mark.reaches(known) {
            tracing::warn!(
                "THE VAULT IS OLDER than this service's knowledge of the log: erasures since are applied again"
            );
            refuse_older(&**log, &**vault, mark.clone(), known).await?;
        }
        let reached = later_of(&mark, known);
        let moved = vault.note_erased_up_to(noted.as_deref(), &sequences(&reached)).await;
        if moved.map_err(StartError::Vault)? {
            return Ok(reached);
        }
        // Another issuer moved it meanwhile: what it says now is looked at.
    }
}

/// Applies erasures of the log between `mark` and `known` to the vault, and refuses one that lacks people whom the log
/// registered there: they would register again and hold two valid codes.
///
/// # Errors
/// [`StartError::VaultOlder`], [`StartError`].
async fn refuse_older(
    log: &dyn EventStore,
    vault: &dyn Vault,
    mark: LogPosition,
    known: &LogPosition,
) -> Result<(), StartError> {
    let unknown = vault_age::compare(log, vault, mark, known).await?;
    unknown.what().map_or(Ok(()), |what| Err(StartError::VaultOlder(what)))
}

/// Moves the vault's mark on; taken like a snapshot, before the register's, which so never says more than the mark.
pub(super) struct ErasureMark {
    pub(super) vault: Arc<dyn Vault>,
    /// The same vault, for what it alone can tell.
    pub(super) on_servers: Arc<JetStreamVault>,
    pub(super) log: Arc<dyn EventStore>,
    pub(super) queue: Arc<ErasureQueue>,
    pub(super) progress: Progress,
    /// Where this issuer left it.
    pub(super) left: Mutex<LogPosition>,
    /// Ends the service where the vault lacks people of the log, or is another one.
    pub(super) end: Mutex<Option<oneshot::Sender<StartError>>>,
}

#[async_trait]
impl Snapshot for ErasureMark {
    async fn save(&self) {
        match self.check_and_move_on().await {
            Ok(()) => {}
            Err(error) if is_for_good(&error) => {
                tracing::error!(%error, "ANOTHER VAULT WAS PUT IN PLACE: this service ends");
                if let Some(end) = self.end.lock().take() {
                    // Nobody listens where it ends already.
                    let _ = end.send(error);
                }
            }
            Err(error) => tracing::warn!(%error, "the vault's mark of erasures stays where it was"),
        }
    }
}

/// Whether what stands is not the vault that this service opened, or not as new: no other attempt mends that.
fn is_for_good(error: &StartError) -> bool {
    use VaultError::{Damaged, OtherKey, OtherVault};
    matches!(
        error,
        StartError::VaultOlder(_) | StartError::Vault(Damaged(_) | OtherKey | OtherVault)
    )
}

impl ErasureMark {
    /// First, whether the vault is the one that was opened: an erasure that waits for another one never is done.
    async fn check_and_move_on(&self) -> Result<(), StartError> {
        self.on_servers.check_identity().await.map_err(StartError::Vault)?;
        // In this order: what was folded up to there is in the queue, or was.
        let folded = self.progress.position();
        if !self.queue.is_done() {
            return Ok(());
        }
        let left = self.left.lock().clone();
        if folded != left {
            let reached = self.move_on(&left, &folded).await?;
            *self.left.lock() = reached;
        }
        Ok(())
    }

    async fn move_on(&self, left: &LogPosition, folded: &LogPosition) -> Result<LogPosition, StartError> {
        let reached = later_of(left, folded);
        let moved = self
            .vault
            .note_erased_up_to(Some(&sequences(left)), &sequences(&reached))
            .await;
        if moved.map_err(StartError::Vault)? {
            return Ok(reached);
        }
        let noted = self.vault.erased_up_to().await.map_err(StartError::Vault)?;
        let mark = position(noted.as_deref(), folded)?;
        if mark.reaches(left) {
            // Another issuer moved it on.
            let reached = later_of(&mark, folded);
            let moved = self
                .vault
                .note_erased_up_to(noted.as_deref(), &sequences(&reached))
                .await;
            return Ok(if moved.map_err(StartError::Vault)? {
                reached
            } else {
                mark
            });
        }
        apply_again(&self.vault, &self.log, folded).await
    }
}

/// A mark as a point of this log; none is its beginning.
fn position(noted: Option<&[u64]>, known: &LogPosition) -> Result<LogPosition, StartError> {
    let partitions = known.partitions();
    let sequences = match noted {
        None => vec![Sequence::START; partitions],
        Some(noted) if noted.len() == partitions => noted.iter().copied().map(Sequence).collect(),
        Some(_) => {
            let other = "its mark of erasures is of a log with other partitions";
            return Err(StartError::Vault(VaultError::Damaged(other.into())));
        }
    };
    Ok(LogPosition::from_sequences(sequences))
}

fn sequences(position: &LogPosition) -> Vec<u64> {
    position.iter().map(|(_, sequence)| sequence.0).collect()
}

fn later_of(one: &LogPosition, other: &LogPosition) -> LogPosition {
    let later = one
        .iter()
        .map(|(partition, sequence)| sequence.max(other.sequence(partition)));
    LogPosition::from_sequences(later.collect())
}
