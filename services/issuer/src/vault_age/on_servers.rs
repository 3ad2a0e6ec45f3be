//! The mark of a vault on servers, which several issuers use. The statements about erasures below apply to name
//! corrections too.
//!
//! If an issuer's snapshot of the log is beyond the mark at startup, the issuer reads the erasures between them again
//! and applies them before it serves calls. A running issuer advances the mark with each snapshot by compare-and-swap
//! from the mark that it wrote last. If the mark is behind that, an older vault was restored meanwhile, and the issuer
//! applies the erasures at once.
//!
//! People whom the log registered since the mark and who are not in the vault could register again and have two valid
//! codes. No issuer serves with such a vault, and a running issuer that detects it ends. A vault that was recreated
//! after a loss is empty; the first issuer suspends every valid code and then moves the mark. A running issuer that
//! opened the lost vault writes nothing into the new one, and ends at its next snapshot.
//!
//! A crash between applying erasures and moving the mark leaves the mark behind. The next start applies some erasures
//! again, which is idempotent.

use std::sync::Arc;

use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Progress;
use citycode_event_store::{EventStore, LogPosition, Sequence};
use citycode_holder_log::HolderLog;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use citycode_vault::jetstream::{JetStreamVault, Origin};
use citycode_vault::{Vault, VaultError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{VaultAgeError, compare};
use crate::ErasureQueue;
use crate::unknown_holders::{self, AffectedPeople, End};

/// The state of the vault, which an issuer determines before it folds the log.
pub enum VaultAge {
    /// The vault was recreated after a loss, and no issuer has suspended the valid codes yet.
    BegunAnew,
    /// Erasures and registrations of the log up to this position are in the vault.
    Marked(LogPosition),
}

impl VaultAge {
    /// Inspects the vault, and applies erasures up to the position of this issuer's snapshot.
    ///
    /// # Errors
    /// [`VaultAgeError`].
    pub async fn find(
        vault: &Arc<JetStreamVault>,
        log: &Arc<dyn EventStore>,
        snapshot: &LogPosition,
    ) -> Result<Self, VaultAgeError> {
        if vault.origin() == Origin::BegunAnew && vault.erased_up_to().await?.is_none() {
            return Ok(Self::BegunAnew);
        }
        let vault: Arc<dyn Vault> = vault.clone();
        apply_again(&vault, log, snapshot).await.map(Self::Marked)
    }

    /// Compares the vault with the commits folded since, before calls are served. Returns the resulting mark.
    ///
    /// # Errors
    /// [`VaultAgeError`].
    pub async fn settle(
        &self,
        vault: &dyn Vault,
        log: &HolderLog,
        folded: &LogPosition,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<LogPosition, VaultAgeError> {
        let Self::Marked(mark) = self else {
            return suspend_living_codes(vault, log, folded, clock, entropy).await;
        };
        refuse_older(&**log.store(), vault, mark.clone(), folded).await?;
        Ok(mark.clone())
    }
}

/// Suspends every valid code of people who are not in the vault. Another issuer may do the same concurrently, or serve
/// already; people who registered there are in the vault.
async fn suspend_living_codes(
    vault: &dyn Vault,
    log: &HolderLog,
    folded: &LogPosition,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<LogPosition, VaultAgeError> {
    let now = Timestamp(clock.now().0);
    tracing::warn!("THE VAULT WAS RECREATED AFTER A LOSS: every valid code is suspended before calls are served");
    let people = unknown_holders::unknown_people(vault, log, now).await?;
    let codes = unknown_holders::codes_to_end(log, AffectedPeople::Of(&people), End::Suspended, now);
    let suspended = unknown_holders::end_codes(log, codes, End::Suspended, clock, entropy).await?;
    tracing::warn!(
        suspended,
        "every code that was valid when the vault was lost is suspended"
    );
    if vault.note_erased_up_to(None, &sequences(folded)).await? {
        return Ok(folded.clone());
    }
    let noted = vault.erased_up_to().await?;
    position(noted.as_deref(), folded)
}

/// Applies again the erasures of the log between the vault's mark and `known`, and moves the mark there. Returns the
/// resulting mark.
///
/// # Errors
/// [`VaultAgeError`], also if the log or the vault is unreachable, because calls are served only after this succeeded.
async fn apply_again(
    vault: &Arc<dyn Vault>,
    log: &Arc<dyn EventStore>,
    known: &LogPosition,
) -> Result<LogPosition, VaultAgeError> {
    loop {
        let noted = vault.erased_up_to().await?;
        let mark = position(noted.as_deref(), known)?;
        if !mark.reaches(known) {
            tracing::warn!("THE VAULT IS OLDER than this service's state of the log: later erasures are applied again");
            refuse_older(&**log, &**vault, mark.clone(), known).await?;
        }
        let reached = later_of(&mark, known);
        let moved = vault.note_erased_up_to(noted.as_deref(), &sequences(&reached)).await;
        if moved? {
            return Ok(reached);
        }
        // Another issuer moved the mark meanwhile; it is read again.
    }
}

/// Applies the erasures of the log between `mark` and `known` to the vault. Refuses a vault that lacks people whom the
/// log registered in between, because they could register again and have two valid codes.
///
/// # Errors
/// [`VaultAgeError`].
async fn refuse_older(
    log: &dyn EventStore,
    vault: &dyn Vault,
    mark: LogPosition,
    known: &LogPosition,
) -> Result<(), VaultAgeError> {
    let unknown = compare(log, vault, mark, known).await?;
    unknown.what().map_or(Ok(()), |what| Err(VaultAgeError::Older(what)))
}

/// Advances the vault's mark. It is saved like a snapshot, before the register's, so that the register's snapshot is
/// never ahead of the mark.
pub struct ErasureMark {
    /// The vault that records the mark.
    pub vault: Arc<dyn Vault>,
    /// The same vault, for the check of its identity, which the trait lacks.
    pub on_servers: Arc<JetStreamVault>,
    /// The log, to read erasures again.
    pub log: Arc<dyn EventStore>,
    /// Erasures that are not applied to the vault yet; the mark is not advanced while there are any.
    pub queue: Arc<ErasureQueue>,
    /// The position up to which the log is folded.
    pub progress: Progress,
    /// The mark that this issuer wrote last.
    pub mark: Mutex<LogPosition>,
    /// Ends the service if the vault lacks people of the log, or is another one.
    pub end: Mutex<Option<oneshot::Sender<VaultAgeError>>>,
}

impl ErasureMark {
    /// Moves the mark to the folded position, unless erasures are not applied yet. A failure is logged; if the vault
    /// lacks people of the log or is another one, it ends the service.
    pub async fn advance(&self) {
        match self.check_and_advance().await {
            Ok(()) => {}
            Err(error) if is_permanent(&error) => {
                tracing::error!(%error, "ANOTHER VAULT WAS PUT IN PLACE: this service ends");
                if let Some(end) = self.end.lock().take() {
                    // The receiver is gone if the service is ending already.
                    let _ = end.send(error);
                }
            }
            Err(error) => tracing::warn!(%error, "the vault's mark of erasures was not advanced"),
        }
    }
    /// Checks first that the vault is the one that was opened: erasures queued for another vault would never finish.
    async fn check_and_advance(&self) -> Result<(), VaultAgeError> {
        self.on_servers.check_identity().await?;
        // The position is read before the queue: erasures folded up to it are in the queue, or are applied already.
        let folded = self.progress.position();
        if !self.queue.is_done() {
            return Ok(());
        }
        let mark = self.mark.lock().clone();
        if folded != mark {
            let reached = self.move_mark(&mark, &folded).await?;
            *self.mark.lock() = reached;
        }
        Ok(())
    }

    async fn move_mark(&self, last: &LogPosition, folded: &LogPosition) -> Result<LogPosition, VaultAgeError> {
        let reached = later_of(last, folded);
        let moved = self
            .vault
            .note_erased_up_to(Some(&sequences(last)), &sequences(&reached))
            .await;
        if moved? {
            return Ok(reached);
        }
        let noted = self.vault.erased_up_to().await?;
        let mark = position(noted.as_deref(), folded)?;
        if mark.reaches(last) {
            // Another issuer advanced it.
            let reached = later_of(&mark, folded);
            let moved = self
                .vault
                .note_erased_up_to(noted.as_deref(), &sequences(&reached))
                .await;
            return Ok(if moved? { reached } else { mark });
        }
        apply_again(&self.vault, &self.log, folded).await
    }
}

/// Whether the current vault is not the one that this service opened, or is older; a retry cannot help then.
fn is_permanent(error: &VaultAgeError) -> bool {
    use VaultError::{Damaged, OtherKey, OtherVault};
    matches!(
        error,
        VaultAgeError::Older(_) | VaultAgeError::Vault(Damaged(_) | OtherKey | OtherVault)
    )
}

/// A mark as a position of this log; an absent mark is the start of the log.
fn position(noted: Option<&[u64]>, known: &LogPosition) -> Result<LogPosition, VaultAgeError> {
    let partitions = known.partitions();
    let sequences = match noted {
        None => vec![Sequence::START; partitions],
        Some(noted) if noted.len() == partitions => noted.iter().copied().map(Sequence).collect(),
        Some(_) => {
            let other = "its mark of erasures is of a log with other partitions";
            return Err(VaultAgeError::Vault(VaultError::Damaged(other.into())));
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
