//! Folding commits into the status projection.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use citycode_domain::event::{CodeRef, Event, IndexBlockLeased, IndexRangeRevoked};
use citycode_domain::ids::{HolderId, ListFacts, ListId, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;

use super::alarm::Alarm;
use super::block::{BLOCK_LEN, Block, List};
use super::effects::{Effect, StatusChange, effects_of, standing_set_by};
use super::entry::Entry;
use super::fingerprint::FingerprintKey;
use super::lists::{Known, ListHasher, Lists, Table};
use super::partition::PartitionStatus;
use super::published::Shared;
use super::reader::StatusReader;
use super::standings::Standings;
use crate::commit::{ApplyError, Commit, check_next};
use crate::foreign::{ForeignMessage, ForeignMessages};
use crate::point::PartitionPoint;
use hashbrown::HashMap;

/// How long a list is kept after its last code expired: auditors can still query recent days, and differences
/// between clocks do not matter.
pub const RETENTION_AFTER_EXPIRY_SECONDS: i64 = 2 * 86_400;

/// The only writer. It cannot be cloned, because the guarantees to readers depend on there being only one.
pub struct StatusWriter {
    pub(super) shared: Arc<Shared>,
    /// For each partition the tails of its buckets and its foreign messages.
    pub(super) chains: Box<[Chains]>,
    /// Whether the tail of every bucket with a commit is known; false after loading an older snapshot.
    pub(crate) ends_are_known: bool,
    /// The changes of the current commit; kept to reuse the memory.
    changes: Vec<Change>,
}

/// The tails of a partition's buckets, and its foreign messages.
#[derive(Default)]
pub(super) struct Chains {
    /// By bucket, the first bytes of the hash of its last commit.
    pub(super) ends: HashMap<u16, u64, BuildHasherDefault<ListHasher>>,
    pub(super) foreign: ForeignMessages,
}

fn short(hash: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*hash.first_chunk().expect("32 bytes"))
}

/// One update of the arrays, prepared before the lock is taken: under the lock nothing is searched or allocated.
struct Change {
    list: Arc<List>,
    index: u32,
    update: Update,
}

#[derive(Clone, Copy)]
enum Update {
    Issue(Entry),
    Change(StatusChange),
    /// Revokes this many indices from this one on, except those with a known code.
    Void(u32),
}

/// An empty projection for a log with this many partitions, at the start of the log.
#[must_use]
pub fn new(partitions: u16, key: FingerprintKey) -> (StatusWriter, StatusReader) {
    let partitions = (0..partitions).map(|_| PartitionStatus::default());
    StatusWriter::over(Shared {
        key,
        partitions: partitions.collect(),
        lists: Lists::default(),
        standings: Standings::new(),
        uncertain: ArcSwap::default(),
        retired_through: AtomicI64::new(i64::MIN),
        alarm_count: AtomicU64::new(0),
        allocated_places: AtomicU64::new(0),
    })
}

impl StatusWriter {
    pub(super) fn over(shared: Shared) -> (Self, StatusReader) {
        let shared = Arc::new(shared);
        let writer = Self {
            shared: Arc::clone(&shared),
            chains: shared.partitions.iter().map(|_| Chains::default()).collect(),
            ends_are_known: true,
            changes: Vec::new(),
        };
        (writer, StatusReader { shared })
    }

    /// A reader of this projection.
    #[must_use]
    pub fn reader(&self) -> StatusReader {
        StatusReader {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Folds one whole commit; readers see either all or nothing of it. Protocol violations are returned as
    /// alarms and counted, and the rest of the commit is folded.
    ///
    /// # Errors
    /// [`ApplyError`]; the projection is unchanged.
    pub fn apply(&mut self, commit: &Commit<'_>) -> Result<Vec<Alarm>, ApplyError> {
        let shared = Arc::clone(&self.shared);
        let (number, sequence) = commit.position.parts();
        let Some(partition) = shared.partitions.get(usize::from(number)) else {
            return Err(ApplyError::UnknownPartition {
                partition: number,
                partitions: u16::try_from(shared.partitions.len()).unwrap_or(u16::MAX),
            });
        };
        check_next(commit.position, partition.point_unguarded().sequence)?;

        let mut alarms = Vec::new();
        let mut holder_standing = None;
        self.changes.clear();
        for event in commit.events {
            if let Event::ForeignMessageDeclared(declared) = event {
                let foreign = &mut self.chains[usize::from(number)].foreign;
                if !foreign.declare(commit.bucket, declared.sequence, &declared.digest) {
                    alarms.push(Alarm::NothingToDeclare(declared.sequence));
                }
            }
            self.plan(event, number, &mut holder_standing, &mut alarms);
        }
        // The standing is set before the position, so that a reader that sees the position also sees the
        // standing.
        if let Some(standing) = holder_standing {
            match commit.holder {
                Some(holder) => shared.standings.set(holder, standing),
                None => alarms.push(Alarm::HolderMissing),
            }
        }
        let point = PartitionPoint {
            sequence,
            reaches: commit.reaches(partition.point_unguarded().reaches),
        };
        partition.write(point, || {
            for change in &self.changes {
                change.make();
            }
        });
        self.changes.clear();
        self.chains[usize::from(number)]
            .ends
            .insert(commit.bucket, short(&commit.tail.hash.0));
        shared.alarm_count.fetch_add(alarms.len() as u64, Ordering::Relaxed);
        Ok(alarms)
    }

    /// Folds a message that is not a commit: its bucket is confined, and no code's status changes.
    ///
    /// # Errors
    /// [`ApplyError`]; the projection is unchanged.
    pub fn apply_foreign(&mut self, position: Position, message: ForeignMessage) -> Result<(), ApplyError> {
        let (partition, sequence) = position.parts();
        let partitions = u16::try_from(self.shared.partitions.len()).unwrap_or(u16::MAX);
        let Some(status) = self.shared.partitions.get(usize::from(partition)) else {
            return Err(ApplyError::UnknownPartition { partition, partitions });
        };
        let before = status.point_unguarded();
        check_next(position, before.sequence)?;
        let foreign = &mut self.chains[usize::from(partition)].foreign;
        if !foreign.has_capacity() {
            return Err(ApplyError::TooManyForeign { partition });
        }
        foreign.insert(sequence, message);
        status.write(PartitionPoint { sequence, ..before }, || {});
        Ok(())
    }

    /// Sets the codes whose validity is uncertain: published lists show them as suspended instead of valid. A
    /// snapshot does not contain them.
    pub fn set_uncertain(&self, codes: HashSet<StatusRef>) {
        self.shared.uncertain.store(Arc::new(codes));
    }

    /// Whether the bucket's last commit has this hash, or all zeros if the bucket is empty; `None` if that is
    /// not known.
    #[must_use]
    pub fn ends_with(&self, partition: u16, bucket: u16, hash: &[u8; 32]) -> Option<bool> {
        let chains = self.chains.get(usize::from(partition))?;
        match chains.ends.get(&bucket) {
            Some(end) => Some(*end == short(hash)),
            None => self.ends_are_known.then_some(*hash == [0; 32]),
        }
    }

    /// The foreign messages of a partition; `None` if the log does not have the partition.
    #[must_use]
    pub fn foreign(&self, partition: u16) -> Option<&ForeignMessages> {
        self.chains.get(usize::from(partition)).map(|chains| &chains.foreign)
    }

    /// Whether the tail of every bucket with a commit is known; false after loading a snapshot of an older
    /// format.
    pub(crate) fn ends_are_known(&self) -> bool {
        self.ends_are_known
    }

    fn plan(&mut self, event: &Event, partition: u16, holder_standing: &mut Option<Standing>, alarms: &mut Vec<Alarm>) {
        if let Some(standing) = standing_set_by(event) {
            *holder_standing = Some(standing);
        }
        match event {
            Event::IndexRangeRevoked(range) => self.plan_range(partition, range, alarms),
            Event::IndexBlockLeased(lease) => self.plan_lease(partition, lease, alarms),
            _ => effects_of(event, |code, effect| match effect {
                Effect::Issue { claims, standing } => {
                    let fingerprint = self.shared.key.fingerprint(&claims);
                    let entry = Entry::issued(fingerprint, standing);
                    self.plan_issue(code.status, entry, partition, alarms);
                }
                Effect::Change(change) => self.plan_known(partition, code, Update::Change(change), alarms),
            }),
        }
    }

    /// Records what the list contains, from its first lease. Blocks are allocated at their first code.
    fn plan_lease(&self, partition: u16, lease: &IndexBlockLeased, alarms: &mut Vec<Alarm>) {
        let IndexBlockLeased { list, facts, .. } = *lease;
        if facts.partition != partition {
            alarms.push(Alarm::LeaseOfOtherPartition(list));
            return;
        }
        let lists = &self.shared.lists;
        let known = lists.load().get(&list).map(|known| known.facts);
        match known {
            Some(known) if known != facts => alarms.push(Alarm::LeasedAsAnother(list)),
            // Facts that the name encodes are not stored again, so that the snapshot is the same with and
            // without the lease.
            None if list.is_version_2() => {
                let mut known = Known::new(facts);
                if self.shared.is_retired(&facts) {
                    known.places = None;
                }
                lists.insert(list, known);
            }
            _ => {}
        }
    }

    /// What the list of a code contains, if it is a list of this partition and is not retired.
    fn active_list(&self, status: StatusRef, partition: u16, alarms: &mut Vec<Alarm>) -> Option<ListFacts> {
        let facts = self.shared.facts(status.list);
        if facts.is_none_or(|facts| facts.partition != partition) {
            alarms.push(Alarm::ListOfOtherPartition(status));
            return None;
        }
        facts.filter(|facts| !self.shared.is_retired(facts))
    }

    fn plan_known(&mut self, partition: u16, code: &CodeRef, update: Update, alarms: &mut Vec<Alarm>) {
        let StatusRef { list: id, index } = code.status;
        if self.active_list(code.status, partition, alarms).is_none() {
            return;
        }
        let list = self.shared.lists.load().get(&id).and_then(|known| known.places.clone());
        // This load also brings the line into the cache before the lock is taken.
        match list {
            Some(list) if !list.load(index).is_never() || self.is_issued_in_this_commit(&list, index) => {
                self.changes.push(Change { list, index, update });
            }
            _ => alarms.push(Alarm::CodeNeverIssued(code.status)),
        }
    }

    /// Allocates the blocks of the range, so that the list shows all of its indices as invalid.
    fn plan_range(&mut self, partition: u16, range: &IndexRangeRevoked, alarms: &mut Vec<Alarm>) {
        let IndexRangeRevoked {
            list: id,
            first_index,
            count,
        } = *range;
        let first = StatusRef {
            list: id,
            index: first_index,
        };
        let Some(facts) = self.active_list(first, partition, alarms) else {
            return;
        };
        let Some(list) = self.list_or_insert(id, facts) else {
            return;
        };
        let allocated = &self.shared.allocated_places;
        let last = first_index.saturating_add(count.saturating_sub(1));
        for block in first_index / BLOCK_LEN..=last / BLOCK_LEN {
            let made = list.block_or_insert(block * BLOCK_LEN, || {
                allocated.fetch_add(u64::from(BLOCK_LEN), Ordering::Relaxed);
                Block::empty()
            });
            if made.is_none() {
                alarms.push(Alarm::IndexOutOfRange(first));
                break;
            }
        }
        self.changes.push(Change {
            list,
            index: first_index,
            update: Update::Void(count),
        });
    }

    /// Whether an earlier event of the same commit issued this code.
    fn is_issued_in_this_commit(&self, list: &Arc<List>, index: u32) -> bool {
        self.changes.iter().any(|change| {
            matches!(change.update, Update::Issue(_)) && change.index == index && Arc::ptr_eq(&change.list, list)
        })
    }

    fn plan_issue(&mut self, status: StatusRef, entry: Entry, partition: u16, alarms: &mut Vec<Alarm>) {
        let Some(facts) = self.active_list(status, partition, alarms) else {
            return;
        };
        let Some(list) = self.list_or_insert(status.list, facts) else {
            return;
        };
        let allocated = &self.shared.allocated_places;
        let made = list.block_or_insert(status.index, || {
            allocated.fetch_add(u64::from(BLOCK_LEN), Ordering::Relaxed);
            Block::empty()
        });
        let index = status.index;
        match made.map(|block| block.load(index)) {
            None => alarms.push(Alarm::IndexOutOfRange(status)),
            Some(entry) if !entry.is_never() || self.is_issued_in_this_commit(&list, index) => {
                alarms.push(Alarm::IndexTakenTwice(status));
            }
            Some(_) => self.changes.push(Change {
                list,
                index,
                update: Update::Issue(entry),
            }),
        }
    }

    fn list_or_insert(&self, id: ListId, facts: ListFacts) -> Option<Arc<List>> {
        let lists = &self.shared.lists;
        if let Some(known) = lists.load().get(&id) {
            return known.places.clone();
        }
        let known = Known::new(facts);
        let list = known.places.clone();
        lists.insert(id, known);
        list
    }

    /// Removes and returns the lists whose codes all expired more than [`RETENTION_AFTER_EXPIRY_SECONDS`] ago, both
    /// by this machine's clock and by the log. So a clock that jumps ahead removes no list with valid codes,
    /// unless the clocks of the log's writers jump too. Call it only with the time of a trusted clock.
    pub fn retire_long_expired(&mut self, clock_now: Timestamp) -> Vec<ListId> {
        let partitions = self.shared.partitions.iter();
        let decided = partitions.map(|partition| partition.point_unguarded().reaches).max();
        let known = decided.unwrap_or(PartitionPoint::START.reaches).min(clock_now);
        self.retire(known.plus_seconds(-RETENTION_AFTER_EXPIRY_SECONDS))
    }

    /// Removes and returns the lists whose codes have all expired at `now`. Their codes are reported as never
    /// issued afterwards, which does not affect verdicts at that time: expiry takes precedence (R23).
    /// Callers that ask about an earlier time use [`StatusReader::is_retired`]. If no list is removed nothing
    /// changes, so the snapshot equals that of a fresh replay.
    pub fn retire(&mut self, now: Timestamp) -> Vec<ListId> {
        let before = self.shared.lists.load();
        let retires_at = |id: &ListId| {
            before
                .get(id)
                .map_or(Timestamp(i64::MAX), |known| known.facts.retires_at)
        };
        let mut gone = self.shared.lists();
        gone.retain(|id| retires_at(id) <= now);
        let Some(through) = gone.iter().map(retires_at).max() else {
            return gone;
        };
        // This is set before the first list is removed, so that a reader that misses a list finds the reason.
        self.shared.retired_through.fetch_max(through.0, Ordering::Release);
        let mut left = Table::default();
        for (id, known) in before.iter() {
            if known.facts.retires_at > through {
                left.insert(*id, known.clone());
                continue;
            }
            if let Some(list) = &known.places {
                let places = list.blocks().count() as u64 * u64::from(BLOCK_LEN);
                self.shared.allocated_places.fetch_sub(places, Ordering::Relaxed);
            }
            // The facts of the list are kept, because its name does not encode them.
            if id.is_version_2() {
                let (facts, places) = (known.facts, None);
                left.insert(*id, Known { facts, places });
            }
        }
        self.shared.lists.replace(left);
        gone
    }

    /// The latest retirement time of all removed lists; the minimum if none was removed. A time in the future
    /// means that a wrong clock removed lists whose codes may be valid: the log must be replayed.
    #[must_use]
    pub fn retired_through(&self) -> Timestamp {
        self.shared.retired_through()
    }

    /// Like [`StatusReader::export_two_bit`], but exact: the whole list is as of the last folded commit.
    #[must_use]
    pub fn export_two_bit(&self, list: ListId) -> Vec<u8> {
        self.shared.export_two_bit(list)
    }

    /// How far a partition was folded; `None` if the log does not have it.
    #[must_use]
    pub fn point(&self, partition: u16) -> Option<PartitionPoint> {
        let partition = self.shared.partitions.get(usize::from(partition))?;
        Some(partition.point_unguarded())
    }

    /// The standing of a holder, like [`StatusReader::standing_of`].
    #[must_use]
    pub fn standing_of(&self, holder: HolderId) -> Standing {
        self.shared.standings.get(holder)
    }
}

impl Change {
    fn make(&self) {
        if let Update::Void(count) = self.update {
            self.apply_void(count);
            return;
        }
        let Some(block) = self.list.block(self.index) else {
            return;
        };
        let entry = block.load(self.index);
        let entry = match self.update {
            Update::Issue(entry) => entry,
            Update::Change(change) => entry.after(change),
            Update::Void(_) => entry,
        };
        block.store(self.index, entry);
    }

    fn apply_void(&self, count: u32) {
        let last = self.index.saturating_add(count.saturating_sub(1));
        for index in self.index..=last {
            let Some(block) = self.list.block(index) else {
                return;
            };
            if block.load(index).is_never() {
                block.store(index, Entry::VOID);
            }
        }
    }
}
