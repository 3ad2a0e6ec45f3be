//! Whether the vault is as new as the log. A vault that was restored from an older backup lacks people whom the log has:
//! they would register again and hold two valid codes. It also holds people whom the log calls erased.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use citycode_domain::event::Event;
use citycode_domain::ids::HolderId;
use citycode_event_store::follow::Progress;
use citycode_event_store::{EventStore, LogPosition, Sequence, SubscriptionBatch};
use citycode_holder_log::{folded_events, holder_of};
use citycode_issuer::ErasureQueue;
use citycode_vault::Vault;

use super::losses::{Loss, instant};
use crate::compose::StartError;
use crate::compose::snapshots::Snapshot;

/// Holders whom the log has and the vault does not.
#[derive(Default, Debug)]
pub(super) struct Unknown {
    pub(super) holders: Vec<HolderId>,
    /// When the first and the last of them registered, Unix seconds.
    between: Option<(i64, i64)>,
}

impl Unknown {
    pub(super) fn loss(&self) -> Option<Loss> {
        let (first, last) = self.between?;
        Some(Loss {
            newer: "the log".into(),
            what: format!(
                "{} people registered between {} and {} are not in it",
                self.holders.len(),
                instant(first),
                instant(last)
            ),
        })
    }
}

/// Erases in the vault whom the log erased after the vault's mark, and finds whom the log registered after it and the
/// vault does not know. A vault without a mark was just made or taken over, and is believed.
///
/// # Errors
/// [`StartError`].
pub(super) async fn compare(
    store: &dyn EventStore,
    vault: &dyn Vault,
    known: &LogPosition,
) -> Result<Unknown, StartError> {
    let Some(marked) = vault.erased_up_to().await? else {
        return Ok(Unknown::default());
    };
    let mark = LogPosition::from_sequences(marked.iter().copied().map(Sequence).collect());
    if mark.reaches(known) {
        return Ok(Unknown::default());
    }
    let said = |error: &dyn std::fmt::Display| StartError::Log(error.to_string());
    let mut subscription = store
        .subscribe_to_all(mark.clone())
        .await
        .map_err(|error| said(&error))?;
    let (mut reached, mut unknown) = (mark, Unknown::default());
    let mut erased = HashSet::new();
    let mut registered = Vec::new();
    while !reached.reaches(known) {
        let SubscriptionBatch::Commits(commits) = subscription.next_batch().await.map_err(|error| said(&error))? else {
            continue;
        };
        for commit in commits {
            reached.set(commit.position.partition, commit.position.sequence);
            let Some(holder) = holder_of(&commit.commit.stream) else {
                continue;
            };
            for event in folded_events(&commit).map_err(|error| said(&error))? {
                match event {
                    Event::HolderRegistered(_) => registered.push((holder, commit.commit.decided_at)),
                    Event::HolderErased(_) => {
                        erased.insert(holder);
                    }
                    _ => {}
                }
            }
        }
    }
    for holder in &erased {
        vault.erase(*holder).await?;
    }
    for (holder, at) in registered {
        if !erased.contains(&holder) && vault.open(holder).await?.is_none() {
            unknown.holders.push(holder);
            let (first, last) = unknown.between.unwrap_or((at, at));
            unknown.between = Some((first.min(at), last.max(at)));
        }
    }
    Ok(unknown)
}

/// Moves the vault's mark on with each snapshot.
pub(super) struct VaultMark {
    pub(super) vault: Arc<dyn Vault>,
    pub(super) queue: Arc<ErasureQueue>,
    pub(super) progress: Progress,
}

#[async_trait]
impl Snapshot for VaultMark {
    async fn save(&self) {
        // In this order: who was erased up to there is in the queue, or was.
        let folded = self.progress.position();
        if !self.queue.is_done() {
            return;
        }
        let reached: Vec<u64> = folded.iter().map(|(_, sequence)| sequence.0).collect();
        let moved = async {
            let before = self.vault.erased_up_to().await?;
            if before.as_ref() == Some(&reached) {
                return Ok(true);
            }
            self.vault.note_erased_up_to(before.as_deref(), &reached).await
        };
        match moved.await {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the vault's mark of how new it is stays where it was"),
        }
    }
}
