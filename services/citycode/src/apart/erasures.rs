//! Erasures and the vault's mark: a vault that was restored from a backup has people in it whom the log calls erased.
//!
//! The vault notes up to where in the log erasures were applied to it, and the note comes back with a backup. An issuer
//! that knows the log further than its vault says, from its own snapshot, reads the log's erasures in between again and
//! applies them before it serves anybody. While it runs it moves the mark on with each snapshot, and only from where it
//! left it: where the mark stands before that, somebody put an older vault in place, and the same is done at once.
//!
//! A crash between applying and noting leaves the mark behind what was applied: the next start applies some erasures
//! again, which changes nothing.

use std::sync::Arc;

use async_trait::async_trait;
use citycode_domain::event::Event;
use citycode_event_store::follow::Progress;
use citycode_event_store::{EventStore, LogPosition, Sequence, SubscriptionBatch};
use citycode_holder_log::{folded_events, holder_of};
use citycode_issuer::ErasureQueue;
use citycode_vault::{Vault, VaultError};
use parking_lot::Mutex;

use crate::compose::StartError;
use crate::compose::snapshots::Snapshot;

/// Applies again what the log erased after the vault's mark and up to `known`, and moves the mark there; where it then
/// stands.
///
/// # Errors
/// [`StartError`]: neither log nor vault may be unreachable for this, since nobody is served before.
pub(super) async fn apply_again(
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
            let erased = erase_between(vault, log, &mark, known).await?;
            tracing::warn!(erased, "erasures were applied again");
        }
        let reached = later_of(&mark, known);
        let moved = vault.note_erased_up_to(noted.as_deref(), &sequences(&reached)).await;
        if moved.map_err(StartError::Vault)? {
            return Ok(reached);
        }
        // Another issuer moved it meanwhile: what it says now is looked at.
    }
}

/// Erases whom the log calls erased after `from` and up to `to`; how many.
async fn erase_between(
    vault: &Arc<dyn Vault>,
    log: &Arc<dyn EventStore>,
    from: &LogPosition,
    to: &LogPosition,
) -> Result<u64, StartError> {
    let said = |error: &dyn std::fmt::Display| StartError::Log(error.to_string());
    // A log that went back never comes to there, and says so.
    drop(log.subscribe_to_all(to.clone()).await.map_err(|error| said(&error))?);
    let mut subscription = log.subscribe_to_all(from.clone()).await.map_err(|error| said(&error))?;
    let (mut reached, mut erased) = (from.clone(), 0);
    while !reached.reaches(to) {
        let SubscriptionBatch::Commits(commits) = subscription.next_batch().await.map_err(|error| said(&error))? else {
            continue;
        };
        for commit in commits {
            reached.set(commit.position.partition, commit.position.sequence);
            let Some(holder) = holder_of(&commit.commit.stream).filter(|_| to.includes(commit.position)) else {
                continue;
            };
            let events = folded_events(&commit).map_err(|error| said(&error))?;
            if events.iter().any(|event| matches!(event, Event::HolderErased(_))) {
                vault.erase(holder).await.map_err(StartError::Vault)?;
                erased += 1;
            }
        }
    }
    Ok(erased)
}

/// Moves the vault's mark on; taken like a snapshot, before the register's, which so never says more than the mark.
pub(super) struct ErasureMark {
    pub(super) vault: Arc<dyn Vault>,
    pub(super) log: Arc<dyn EventStore>,
    pub(super) queue: Arc<ErasureQueue>,
    pub(super) progress: Progress,
    /// Where this issuer left it.
    pub(super) left: Mutex<LogPosition>,
}

#[async_trait]
impl Snapshot for ErasureMark {
    async fn save(&self) {
        // In this order: what was folded up to there is in the queue, or was.
        let folded = self.progress.position();
        if !self.queue.is_done() {
            return;
        }
        let left = self.left.lock().clone();
        if folded == left {
            return;
        }
        match self.move_on(&left, &folded).await {
            Ok(reached) => *self.left.lock() = reached,
            Err(error) => tracing::warn!(%error, "the vault's mark of erasures stays where it was"),
        }
    }
}

impl ErasureMark {
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
