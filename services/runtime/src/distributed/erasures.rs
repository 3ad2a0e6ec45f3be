//! Erasures and the vault's mark. A vault that was restored from a backup contains people whom the log records as
//! erased, and outdated names. The statements about erasures below apply to name corrections too.
//!
//! The vault's mark is the log position up to which erasures were applied to the vault; it is part of a backup. If an
//! issuer's snapshot of the log is beyond the mark at startup, the issuer reads the erasures between them again and
//! applies them before it serves calls. A running issuer advances the mark with each snapshot by compare-and-swap from
//! the mark that it wrote last. If the mark is behind that, an older vault was restored meanwhile, and the issuer
//! applies the erasures at once.
//!
//! People whom the log registered since the mark and who are not in the vault could register again and have two valid
//! codes. No issuer serves with such a vault, and a running issuer that detects it ends. A vault that was recreated
//! after a loss is empty; the first issuer suspends every live code and then moves the mark. A running issuer that
//! opened the lost vault writes nothing into the new one, and ends at its next snapshot.
//!
//! A crash between applying erasures and moving the mark leaves the mark behind. The next start applies some erasures
//! again, which is idempotent.

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

/// The state of the vault, which an issuer determines before it folds the log.
pub(super) enum VaultAge {
    /// The vault was recreated after a loss, and no issuer has suspended the live codes yet.
    BegunAnew,
    /// Erasures and registrations of the log up to this position are in the vault.
    Marked(LogPosition),
}

impl VaultAge {
    /// Inspects the vault, and applies erasures up to the position of this issuer's snapshot.
    ///
    /// # Errors
    /// [`StartError::VaultOlder`], [`StartError`].
    pub(super) async fn find(
        vault: &Arc<JetStreamVault>,
        log: &Arc<dyn EventStore>,
        snapshot: &LogPosition,
    ) -> Result<Self, StartError> {
        if vault.origin() == Origin::BegunAnew && vault.erased_up_to().await?.is_none() {
            return Ok(Self::BegunAnew);
        }
        let vault: Arc<dyn Vault> = vault.clone();
        apply_again(&vault, log, snapshot).await.map(Self::Marked)
    }

    /// Compares the vault with the commits folded since, before calls are served. Returns the resulting mark.
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
        let Self::Marked(mark) = self else {
            return suspend_living_codes(vault, log, folded, surroundings).await;
        };
        refuse_older(&**log.store(), vault, mark.clone(), folded).await?;
        Ok(mark.clone())
    }
}

/// Suspends every live code of people who are not in the vault. Another issuer may do the same concurrently, or serve
/// already; people who registered there are in the vault.
async fn suspend_living_codes(
    vault: &dyn Vault,
    log: &HolderLog,
    folded: &LogPosition,
    surroundings: &Surroundings,
) -> Result<LogPosition, StartError> {
    let now = Timestamp(surroundings.clock.now().0);
    tracing::warn!("THE VAULT WAS RECREATED AFTER A LOSS: every live code is suspended before calls are served");
    let people = unknown_holders::unknown_people(vault, log, now).await?;
    let codes = unknown_holders::codes_to_end(log, Whose::Of(&people), End::Suspended, now);
    let suspended = unknown_holders::end_codes(log, codes, End::Suspended, surroundings).await?;
    tracing::warn!(
        suspended,
        "every code that was live when the vault was lost is suspended"
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
/// [`StartError`], also if the log or the vault is unreachable, because calls are served only after this succeeded.
async fn apply_again(
    vault: &Arc<dyn Vault>,
    log: &Arc<dyn EventStore>,
    known: &LogPosition,
) -> Result<LogPosition, StartError> {
    loop {
        let noted = vault.erased_up_to().await.map_err(StartError::Vault)?;
        let mark = position(noted.as_deref(), known)?;
        if !mark.reaches(known) {
            tracing::warn!("THE VAULT IS OLDER than this service's state of the log: later erasures are applied again");
            refuse_older(&**log, &**vault, mark.clone(), known).await?;
        }
        let reached = later_of(&mark, known);
        let moved = vault.note_erased_up_to(noted.as_deref(), &sequences(&reached)).await;
        if moved.map_err(StartError::Vault)? {
            return Ok(reached);
        }
        // Another issuer moved the mark meanwhile; it is read again.
    }
}

/// Applies the erasures of the log between `mark` and `known` to the vault. Refuses a vault that lacks people whom the
/// log registered in between, because they could register again and have two valid codes.
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

/// Advances the vault's mark. It is saved like a snapshot, before the register's, so that the register's snapshot is
/// never ahead of the mark.
pub(super) struct ErasureMark {
    pub(super) vault: Arc<dyn Vault>,
    /// The same vault, for the check of its identity, which the trait lacks.
    pub(super) on_servers: Arc<JetStreamVault>,
    pub(super) log: Arc<dyn EventStore>,
    pub(super) queue: Arc<ErasureQueue>,
    pub(super) progress: Progress,
    /// The mark that this issuer wrote last.
    pub(super) mark: Mutex<LogPosition>,
    /// Ends the service if the vault lacks people of the log, or is another one.
    pub(super) end: Mutex<Option<oneshot::Sender<StartError>>>,
}

#[async_trait]
impl Snapshot for ErasureMark {
    async fn save(&self) {
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
}

/// Whether the current vault is not the one that this service opened, or is older; a retry cannot help then.
fn is_permanent(error: &StartError) -> bool {
    use VaultError::{Damaged, OtherKey, OtherVault};
    matches!(
        error,
        StartError::VaultOlder(_) | StartError::Vault(Damaged(_) | OtherKey | OtherVault)
    )
}

impl ErasureMark {
    /// Checks first that the vault is the one that was opened: erasures queued for another vault would never finish.
    async fn check_and_advance(&self) -> Result<(), StartError> {
        self.on_servers.check_identity().await.map_err(StartError::Vault)?;
        // The position is read before the queue: erasures folded up to it are in the queue, or are applied already.
        let folded = self.progress.position();
        if !self.queue.is_done() {
            return Ok(());
        }
        let mark = self.mark.lock().clone();
        if folded != mark {
            let reached = self.advance(&mark, &folded).await?;
            *self.mark.lock() = reached;
        }
        Ok(())
    }

    async fn advance(&self, last: &LogPosition, folded: &LogPosition) -> Result<LogPosition, StartError> {
        let reached = later_of(last, folded);
        let moved = self
            .vault
            .note_erased_up_to(Some(&sequences(last)), &sequences(&reached))
            .await;
        if moved.map_err(StartError::Vault)? {
            return Ok(reached);
        }
        let noted = self.vault.erased_up_to().await.map_err(StartError::Vault)?;
        let mark = position(noted.as_deref(), folded)?;
        if mark.reaches(last) {
            // Another issuer advanced it.
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

/// A mark as a position of this log; an absent mark is the start of the log.
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
