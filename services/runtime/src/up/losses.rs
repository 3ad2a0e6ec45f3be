//! Lost changes of the log: detected at startup and, if the operator accepts the loss, made safe before calls are
//! served.
//!
//! Lost changes cannot be recovered, but their unsafe consequences can be prevented: codes issued in the lost period
//! are revoked by their indices in the status lists, those indices are never leased again, compromised keys are marked
//! again, and erased holders are erased again. Loss reports, suspensions and standings of the period are lost, as
//! documented in docs/operations.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use citycode_command_auth::RequestDigest;
use citycode_domain::event::{Event, IndexBlockLeased, IndexRangeRevoked};
use citycode_domain::ids::{CommandId, HolderId, ListId};
use citycode_domain::lifecycle::{HolderState, erase_holder};
use citycode_domain::time::Timestamp;
use citycode_event_store::{EventStore, LogId, Partition, Position, ReadError, StreamName};
use citycode_holder_log::{Begun, CommandContext, HolderLog};
use citycode_issuer::vault_age::instant;
use citycode_log_folds::{keys_stream, lease_stream};
use citycode_projection::LogIdentity;
use citycode_projection::snapshot::{self, ProjectionKind};
use citycode_scan_records::embedded::Extent;
use citycode_service_kit::entropy::Draw as _;
use citycode_token::Keyring;
use citycode_vault::Vault;
use jiff::{Span, civil};

use super::PartError;
use super::data_folder::DataFolder;
use super::folder_manifest::Part;
use super::loss_journal::Entry;
use super::marks::Mark;
use crate::wiring::{Environment, StartError};

/// Changes that another part contains and the log lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Loss {
    /// The part that contains them.
    pub(super) newer: String,
    /// Their number and period, for people.
    pub(super) what: String,
}

impl Loss {
    pub(super) fn refusal(self, part: Part, log_id: LogId) -> PartError {
        let Self { newer, what } = self;
        PartError::Older {
            part,
            newer,
            what,
            log_id,
        }
    }
}

/// Compares the log with the mark.
///
/// # Errors
/// [`ReadError`].
pub(super) async fn below_mark(store: &dyn EventStore, mark: &Mark, newer: String) -> Result<Option<Loss>, ReadError> {
    let heads = store.heads().await?;
    let (mut missing, mut other, mut until) = (0u64, false, i64::MIN);
    let mut since = None;
    for point in &mark.points {
        let head = heads.sequence(point.partition);
        let at = |sequence| Position {
            partition: point.partition,
            sequence,
        };
        if head >= point.sequence {
            let found = store.read_at(at(point.sequence)).await?;
            if found.is_some_and(|commit| commit.hash.0 == point.hash) {
                continue;
            }
            other = true;
        } else {
            missing += point.sequence.0 - head.0;
            let last = store.read_at(at(head)).await?;
            since = since.max(last.map(|commit| commit.commit.decided_at));
        }
        until = until.max(point.decided_at);
    }
    if missing == 0 && !other {
        return Ok(None);
    }
    let until = instant(until);
    let what = match (other, since) {
        (true, _) => format!(
            "it diverged: the commit at a position of the mark is not the recorded one, for changes up to {until}"
        ),
        (false, Some(since)) => format!(
            "{missing} changes made between {} and {until} are not in it",
            instant(since)
        ),
        (false, None) => format!("{missing} changes made up to {until} are not in it"),
    };
    Ok(Some(Loss { newer, what }))
}

/// Compares the scan records with the mark.
pub(super) fn scans_below_mark(found: Extent, marked: Extent, newer: String) -> Option<Loss> {
    if found.writes >= marked.writes {
        return None;
    }
    let days = civil::Date::constant(1970, 1, 1).checked_add(Span::new().days(marked.day));
    let day = days.map_or_else(|_| "an unknown day".to_owned(), |day| day.to_string());
    let what = format!(
        "the records of {} writes, the last of {day}, are not in it",
        marked.writes - found.writes
    );
    Some(Loss { newer, what })
}

/// Whether the vault or a snapshot is ahead of the log.
///
/// # Errors
/// [`StartError`].
pub(super) async fn below_neighbours(
    folder: &DataFolder,
    identity: &LogIdentity,
    store: &dyn EventStore,
    vault: &dyn Vault,
) -> Result<Option<Loss>, StartError> {
    let heads = store.heads().await?;
    let ahead = |folded: &[u64]| -> u64 {
        let pairs = heads.iter().zip(folded);
        pairs.map(|((_, head), folded)| folded.saturating_sub(head.0)).sum()
    };
    let marked = vault.erased_up_to().await?.unwrap_or_default();
    let snapshots = [
        (ProjectionKind::Register, "register"),
        (ProjectionKind::Status, "status"),
    ];
    let mut witnesses = vec![("the vault".to_owned(), marked)];
    for (kind, name) in snapshots {
        let path = folder.join("projections").join(name);
        let Ok(file) = std::fs::File::open(&path) else {
            continue;
        };
        // A foreign or damaged snapshot is discarded when it is loaded.
        if let Ok(points) = snapshot::points(kind, identity, std::io::BufReader::new(file)) {
            let sequences = points.iter().map(|point| point.sequence).collect();
            witnesses.push((format!("the snapshot {}", path.display()), sequences));
        }
    }
    let found = witnesses.into_iter().find(|(_, folded)| ahead(folded) > 0);
    Ok(found.map(|(newer, folded)| Loss {
        newer,
        what: format!("{} changes are not in it", ahead(&folded)),
    }))
}

/// Removes derived state that is ahead of the log: snapshots and audit index. Moves the vault's mark back to the log's
/// end.
///
/// # Errors
/// [`StartError`].
pub(super) async fn discard_state_ahead(
    folder: &DataFolder,
    store: &dyn EventStore,
    vault: &dyn Vault,
) -> Result<(), StartError> {
    for derived in ["projections", "audit"] {
        let path = folder.join(derived);
        let removed = std::fs::remove_dir_all(&path);
        removed.map_err(|error| StartError::Log(format!("{} cannot be removed: {error}", path.display())))?;
    }
    folder.make_folders()?;
    let heads = store.heads().await?;
    if let Some(marked) = vault.erased_up_to().await? {
        let lowered = heads.iter().zip(&marked).map(|((_, head), marked)| head.0.min(*marked));
        let lowered: Vec<u64> = lowered.collect();
        vault.note_erased_up_to(Some(&marked), &lowered).await?;
    }
    Ok(())
}

/// The measures taken for a loss.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Closed {
    /// Status lists in which indices were revoked.
    pub(super) lists: u64,
    /// Holders who were erased again.
    pub(super) erased: u64,
    /// Keys that were marked as compromised again.
    pub(super) keys: u64,
}

/// Makes a loss safe. If it is repeated after a crash, it continues.
pub(super) struct Closing<'a> {
    pub(super) log: &'a HolderLog,
    pub(super) vault: &'a Arc<dyn Vault>,
    pub(super) keyring: &'a Keyring,
    pub(super) environment: &'a Environment,
}

impl Closing<'_> {
    /// `in_log` are the journal entries in the log, `journal` those next to the mark.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn close(&self, in_log: &[Entry], journal: &BTreeSet<Entry>) -> Result<Closed, StartError> {
        let mut closed = Closed::default();
        let known = leases(in_log.iter().filter_map(Entry::event));
        let all = leases(in_log.iter().chain(journal).filter_map(Entry::event));
        for (list, last) in &all {
            self.revoke_list(*last, known.get(list).map_or(0, end)).await?;
            closed.lists += 1;
        }
        for event in journal.iter().filter_map(Entry::event) {
            let Event::SigningKeyCompromised(compromised) = event else {
                continue;
            };
            let entry = self.keyring.get(compromised.key_id);
            if entry.is_some_and(|entry| !entry.compromised) {
                let keys = keys_stream();
                self.append(keys, vec![Event::SigningKeyCompromised(compromised)])
                    .await?;
                closed.keys += 1;
            }
        }
        for entry in journal {
            if let Entry::Erased(holder) = entry {
                closed.erased += self.erase(HolderId(*holder)).await?;
            }
        }
        Ok(closed)
    }

    /// Leases every index up to the end of the last block that was ever leased, and revokes those without a code in
    /// this log: codes of the lost period have these indices, possibly in blocks that were leased before the period.
    async fn revoke_list(&self, last: IndexBlockLeased, leased: u32) -> Result<(), StartError> {
        let mut events = Vec::new();
        let through = end(&last);
        if through > leased {
            events.push(Event::IndexBlockLeased(IndexBlockLeased {
                first_index: leased,
                count: through - leased,
                ..last
            }));
        }
        events.push(Event::IndexRangeRevoked(IndexRangeRevoked {
            list: last.list,
            first_index: 0,
            count: through,
        }));
        self.append(lease_stream(partition_of(&last)), events).await
    }

    async fn erase(&self, holder: HolderId) -> Result<u64, StartError> {
        let known = self.log.register().get(holder);
        let mut erased = 0;
        if known.is_some_and(|(state, _)| state.is_known()) {
            let context = self.context("erase_again", &holder.0);
            let decide = |state: &HolderState, now| erase_holder::decide(state, true, now);
            let executed = self.log.execute(holder, &context, &decide).await;
            executed.map_err(|error| StartError::Log(error.to_string()))?;
            erased = 1;
        }
        self.vault.erase(holder).await?;
        Ok(erased)
    }

    async fn append(&self, stream: StreamName, events: Vec<Event>) -> Result<(), StartError> {
        let context = self.context("accept_loss", stream.as_str().as_bytes());
        let decide = || Ok::<_, std::convert::Infallible>(events.clone());
        let appended = self.log.execute_system(stream, &context, decide).await;
        appended.map(drop).map_err(|error| StartError::Log(error.to_string()))
    }

    fn context(&self, method: &'static str, about: &[u8]) -> CommandContext {
        CommandContext {
            caller: "up".into(),
            command_id: CommandId(self.environment.entropy.array()),
            request_digest: RequestDigest::of(method).bytes(about).finish(),
            actor: "up".into(),
            trace_context: None,
            now: Timestamp(self.environment.clock.now().0),
            begun: Begun::default(),
        }
    }
}

/// The last block of each list.
fn leases(events: impl Iterator<Item = Event>) -> BTreeMap<ListId, IndexBlockLeased> {
    let mut last = BTreeMap::new();
    for event in events {
        if let Event::IndexBlockLeased(block) = event {
            let known = last.entry(block.list).or_insert(block);
            if end(&block) > end(known) {
                *known = block;
            }
        }
    }
    last
}

/// The index after the last one of a block.
fn end(block: &IndexBlockLeased) -> u32 {
    block.first_index.saturating_add(block.count)
}

/// The partition whose issuer leases blocks of this list.
fn partition_of(block: &IndexBlockLeased) -> Partition {
    Partition(block.facts.partition)
}
