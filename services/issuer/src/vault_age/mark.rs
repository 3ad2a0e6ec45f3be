//! The mark of a vault that only this process uses.

use std::sync::Arc;

use citycode_event_store::follow::Progress;
use citycode_vault::Vault;

use crate::ErasureQueue;

/// Advances the vault's mark with each snapshot.
pub struct VaultMark {
    /// The vault that records the mark.
    pub vault: Arc<dyn Vault>,
    /// Erasures that are not applied to the vault yet; the mark is not advanced while there are any.
    pub queue: Arc<ErasureQueue>,
    /// The position up to which the log is folded.
    pub progress: Progress,
}

impl VaultMark {
    /// Moves the mark to the folded position, unless erasures are not applied yet. A failure is logged.
    pub async fn advance(&self) {
        // The position is read before the queue: erasures folded up to it are in the queue, or are applied already.
        let folded = self.progress.position();
        if !self.queue.is_done() {
            return;
        }
        let reached: Vec<u64> = folded.iter().map(|(_, sequence)| sequence.0).collect();
        let advanced = async {
            let before = self.vault.erased_up_to().await?;
            if before.as_ref() == Some(&reached) {
                return Ok(true);
            }
            self.vault.note_erased_up_to(before.as_deref(), &reached).await
        };
        match advanced.await {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the vault's mark was not advanced"),
        }
    }
}
