//! Compares the vault with the log. A vault that was restored from an older backup lacks people whom the log
//! registered, who could register again and have two valid codes. It also contains people whom the log records as
//! erased.

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

/// Holders that are looked up concurrently; on servers each look-up is a round trip.
const CONCURRENT: usize = 64;

/// Changes of the log that the vault lacks.
#[derive(Default, Debug)]
pub struct Unknown {
    /// Holders whom the log registered and who are not in the vault.
    pub holders: Vec<HolderId>,
    /// Positions of lost name corrections: the vault has the earlier name, and an officer must correct it again.
    pub old_names: Vec<Position>,
    /// When the first and the last of the holders registered, in Unix seconds.
    between: Option<(i64, i64)>,
}

impl Unknown {
    /// The number of the holders and when they registered, for people; none if there are no such holders.
    pub fn what(&self) -> Option<String> {
        let (first, last) = self.between?;
        let (count, first, last) = (self.holders.len(), instant(first), instant(last));
        Some(format!(
            "{count} people registered between {first} and {last} are not in it"
        ))
    }
}

/// Unix seconds as text for people.
pub fn instant(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("second {seconds}"), |instant| instant.to_string())
}

/// Those of these people who are not in the vault.
///
/// # Errors
/// [`VaultError`].
pub async fn unknown_among(
    vault: &dyn Vault,
    people: impl IntoIterator<Item = HolderId>,
) -> Result<HashSet<HolderId>, VaultError> {
    let lookups = futures::stream::iter(people).map(|person| async move {
        let known = vault.open(person).await?.is_some();
        Ok::<_, VaultError>((!known).then_some(person))
    });
    let unknown = lookups.buffer_unordered(CONCURRENT);
    unknown
        .try_filter_map(|person| std::future::ready(Ok(person)))
        .try_collect()
        .await
}

/// Applies the erasures and name corrections of the log between `mark` and `known` to the vault, and finds the people
/// whom the log registered there and who are not in the vault.
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
    let failed = |error: &dyn std::fmt::Display| StartError::Log(error.to_string());
    // This fails if the log ends before `known`; the loop below would never end then.
    drop(
        store
            .subscribe_to_all(known.clone())
            .await
            .map_err(|error| failed(&error))?,
    );
    let mut subscription = store
        .subscribe_to_all(mark.clone())
        .await
        .map_err(|error| failed(&error))?;
    let (mut reached, mut unknown) = (mark, Unknown::default());
    let mut erased = HashSet::new();
    let (mut registered, mut renamed) = (Vec::new(), Vec::new());
    while !reached.reaches(known) {
        let SubscriptionBatch::Commits(commits) = subscription.next_batch().await.map_err(|error| failed(&error))?
        else {
            continue;
        };
        for commit in commits {
            reached.set(commit.position.partition, commit.position.sequence);
            let Some(holder) = holder_of(&commit.commit.stream).filter(|_| known.includes(commit.position)) else {
                continue;
            };
            for event in folded_events(&commit).map_err(|error| failed(&error))? {
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
        // Another issuer may have erased the person meanwhile.
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

/// Advances the vault's mark with each snapshot.
pub struct VaultMark {
    /// The vault that records the mark.
    pub vault: Arc<dyn Vault>,
    /// Erasures that are not applied to the vault yet; the mark is not advanced while there are any.
    pub queue: Arc<ErasureQueue>,
    /// The position up to which the log is folded.
    pub progress: Progress,
}

#[async_trait]
impl Snapshot for VaultMark {
    async fn save(&self) {
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
