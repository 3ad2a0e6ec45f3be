//! Whether the vault is as new as the log. A vault that was restored from an older backup lacks people whom the log has:
//! they would register again and hold two valid codes. It also holds people whom the log calls erased.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use citycode_domain::event::Event;
use citycode_domain::ids::HolderId;
use citycode_event_store::follow::Progress;
use citycode_event_store::{EventStore, LogPosition, Position, Revision, SubscriptionBatch};
use citycode_issuer::{ErasureQueue, apply_name};
use citycode_log_folds::{folded_events, holder_of, holder_stream};
use citycode_vault::{NameApplied, Vault, VaultError};
use futures::{StreamExt as _, TryStreamExt as _};

use super::StartError;
use super::snapshots::Snapshot;

/// Holders that are looked up at once: on servers each look is a round trip.
const AT_ONCE: usize = 64;

/// What the log has and the vault does not.
#[derive(Default, Debug)]
pub struct Unknown {
    /// Holders whom the log registered and the vault does not know.
    pub holders: Vec<HolderId>,
    /// Corrections of names that the vault lost: it has the name from before, and an officer must correct it again.
    pub old_names: Vec<Position>,
    /// When the first and the last of them registered, Unix seconds.
    between: Option<(i64, i64)>,
}

impl Unknown {
    /// How many they are and when they registered, for a person; none where the vault knows everybody.
    pub fn what(&self) -> Option<String> {
        let (first, last) = self.between?;
        let (count, first, last) = (self.holders.len(), instant(first), instant(last));
        Some(format!(
            "{count} people registered between {first} and {last} are not in it"
        ))
    }
}

/// Unix seconds as a person reads them.
pub fn instant(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("second {seconds}"), |instant| instant.to_string())
}

/// Those of these people whom the vault does not know.
///
/// # Errors
/// [`VaultError`].
pub async fn unknown_among(
    vault: &dyn Vault,
    people: impl IntoIterator<Item = HolderId>,
) -> Result<HashSet<HolderId>, VaultError> {
    let looks = futures::stream::iter(people).map(|person| async move {
        let known = vault.open(person).await?.is_some();
        Ok::<_, VaultError>((!known).then_some(person))
    });
    let unknown = looks.buffer_unordered(AT_ONCE);
    unknown
        .try_filter_map(|person| std::future::ready(Ok(person)))
        .try_collect()
        .await
}

/// Erases in the vault whom the log erased after `mark` and up to `known`, applies the names that it corrected there, and
/// finds whom the log registered there and the vault does not know.
///
/// # Errors
/// [`StartError`].
pub async fn compare(
    store: &dyn EventStore,
    vault: &dyn Vault,
    mark: LogPosition,
    known: &LogPosition,
) -> Result<Unknown, StartError> {
    if mark.reaches(known) {
        return Ok(Unknown::default());
    }
    let said = |error: &dyn std::fmt::Display| StartError::Log(error.to_string());
    // A log that went back never comes to there, and says so.
    drop(
        store
            .subscribe_to_all(known.clone())
            .await
            .map_err(|error| said(&error))?,
    );
    let mut subscription = store
        .subscribe_to_all(mark.clone())
        .await
        .map_err(|error| said(&error))?;
    let (mut reached, mut unknown) = (mark, Unknown::default());
    let mut erased = HashSet::new();
    let (mut registered, mut renamed) = (Vec::new(), Vec::new());
    while !reached.reaches(known) {
        let SubscriptionBatch::Commits(commits) = subscription.next_batch().await.map_err(|error| said(&error))? else {
            continue;
        };
        for commit in commits {
            reached.set(commit.position.partition, commit.position.sequence);
            let Some(holder) = holder_of(&commit.commit.stream).filter(|_| known.includes(commit.position)) else {
                continue;
            };
            for event in folded_events(&commit).map_err(|error| said(&error))? {
                match event {
                    Event::HolderRegistered(_) => registered.push((holder, commit.commit.decided_at)),
                    Event::HolderErased(_) => {
                        erased.insert(holder);
                    }
                    Event::HolderRenamed(event) => renamed.push((holder, event.change, commit.position)),
                    _ => {}
                }
            }
        }
    }
    for holder in &erased {
        vault.erase(*holder).await?;
    }
    for (holder, change, position) in renamed {
        if apply_name(vault, holder, change, position).await? == NameApplied::NotStaged {
            unknown.old_names.push(position);
        }
    }
    registered.retain(|(holder, _)| !erased.contains(holder));
    let people: Vec<HolderId> = registered.iter().map(|(holder, _)| *holder).collect();
    let strangers = unknown_among(vault, people).await?;
    registered.retain(|(holder, _)| strangers.contains(holder));
    for (holder, at) in registered {
        // Another issuer may have erased the person since.
        if !is_erased(store, holder).await? {
            unknown.holders.push(holder);
            let (first, last) = unknown.between.unwrap_or((at, at));
            unknown.between = Some((first.min(at), last.max(at)));
        }
    }
    Ok(unknown)
}

async fn is_erased(store: &dyn EventStore, holder: HolderId) -> Result<bool, StartError> {
    let stream = holder_stream(holder);
    for commit in store.read_stream(&stream, Revision::EMPTY).await? {
        let events = folded_events(&commit).map_err(|error| StartError::Log(error.to_string()))?;
        if events.iter().any(|event| matches!(event, Event::HolderErased(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Moves the vault's mark on with each snapshot.
pub struct VaultMark {
    /// The vault that records the mark.
    pub vault: Arc<dyn Vault>,
    /// Erasures that the vault has not carried out yet: the mark stays before the oldest of them.
    pub queue: Arc<ErasureQueue>,
    /// How far the log was folded.
    pub progress: Progress,
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
