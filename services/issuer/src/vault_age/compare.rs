//! Compares the vault with a part of the log.

use std::collections::HashSet;

use citycode_domain::event::Event;
use citycode_domain::ids::HolderId;
use citycode_event_store::{EventStore, LogPosition, Position, Revision, SubscriptionBatch};
use citycode_log_folds::{folded_events, holder_of, holder_stream};
use citycode_vault::{NameApplied, Vault, VaultError};
use futures::{StreamExt as _, TryStreamExt as _};

use super::VaultAgeError;
use crate::erase::apply_name;

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
pub(crate) async fn unknown_among(
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
/// [`VaultAgeError`].
pub async fn compare(
    store: &dyn EventStore,
    vault: &dyn Vault,
    mark: LogPosition,
    known: &LogPosition,
) -> Result<Unknown, VaultAgeError> {
    if mark.reaches(known) {
        return Ok(Unknown::default());
    }
    let failed = |error: &dyn std::fmt::Display| VaultAgeError::Log(error.to_string());
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

async fn is_erased(store: &dyn EventStore, holder: HolderId) -> Result<bool, VaultAgeError> {
    let stream = holder_stream(holder);
    for commit in store.read_stream(&stream, Revision::EMPTY).await? {
        let events = folded_events(&commit).map_err(|error| VaultAgeError::Log(error.to_string()))?;
        if events.iter().any(|event| matches!(event, Event::HolderErased(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}
