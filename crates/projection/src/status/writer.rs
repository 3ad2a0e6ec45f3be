//! Folding.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use citycode_domain::event::{CodeRef, Event, IndexBlockLeased, IndexRangeRevoked};
use citycode_domain::ids::{CommitPosition, HolderId, ListFacts, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::status::Death;
use citycode_domain::time::Timestamp;

use super::alarm::Alarm;
use super::block::{BLOCK_LEN, Block, List};
use super::entry::Entry;
use super::fingerprint::FingerprintKey;
use super::lists::{Known, ListHasher, Lists, Table};
use super::partition::PartitionStatus;
use super::published::Shared;
use super::reader::{PartitionPoint, StatusReader};
use super::standings::Standings;
use crate::commit::{ApplyError, Commit, check_next};
use crate::foreign::{ForeignMessage, ForeignMessages};
use hashbrown::HashMap;

/// How long a list outlives its last code: what auditors ask about the last days is still known, and clocks that differ
/// do not matter.
pub const KEPT_AFTER_EXPIRY_SECONDS: i64 = 2 * 86_400;

/// The one writer. Not clonable: that there is only one is what the readers' guarantees rest on.
pub struct StatusWriter {
    pub(super) shared: Arc<Shared>,
    /// Of each partition: how its buckets end, and the foreign messages in it.
    pub(super) chains: Box<[Chains]>,
    /// Whether the end of every bucket with a commit is known: not where an older snapshot was taken.
    pub(super) ends_are_known: bool,
    /// What the commit at hand changes; kept for its memory.
    changes: Vec<Change>,
}

/// How the buckets of a partition end, and what stands in them that is no commit.
#[derive(Default)]
pub(super) struct Chains {
    /// By bucket the beginning of the hash of its last commit.
    pub(super) ends: HashMap<u16, u64, BuildHasherDefault<ListHasher>>,
    pub(super) foreign: ForeignMessages,
}

fn short(hash: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*hash.first_chunk().expect("32 bytes"))
}

/// One store into the arrays, planned before the lock is taken: within it nothing is searched or allocated.
struct Change {
    list: Arc<List>,
    index: u32,
    act: Act,
}

#[derive(Clone, Copy)]
enum Act {
    Birth(Entry),
    Kill(Death),
    Suspend,
    Reinstate,
    Stand(Standing),
    /// This place and those after it, so many in all, of which the log knows no code.
    Void(u32),
}

/// An empty projection of a log of so many partitions, at the log's beginning.
#[must_use]
pub fn new(partitions: u16, key: FingerprintKey) -> (StatusWriter, StatusReader) {
    let partitions = (0..partitions).map(|_| PartitionStatus::default());
    StatusWriter::over(Shared {
        key,
        partitions: partitions.collect(),
        lists: Lists::default(),
        standings: Standings::new(),
        doubted: ArcSwap::default(),
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

    /// Folds one whole commit; readers see all of it or nothing. What should not stand in a log is answered as
    /// alarms, and counted; the rest of the commit is folded all the same.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing was changed.
    pub fn apply(&mut self, commit: &Commit<'_>) -> Result<Vec<Alarm>, ApplyError> {
        let shared = Arc::clone(&self.shared);
        let number = commit.position.partition;
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
        // Before the position: who has seen it sees the standing too.
        if let Some(standing) = holder_standing {
            match commit.holder {
                Some(holder) => shared.standings.set(holder, standing),
                None => alarms.push(Alarm::HolderMissing),
            }
        }
        let point = PartitionPoint {
            sequence: commit.position.sequence,
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
            .insert(commit.bucket, short(&commit.tail.hash));
        shared.alarm_count.fetch_add(alarms.len() as u64, Ordering::Relaxed);
        Ok(alarms)
    }

    /// Folds a message that is no commit: its bucket is confined, and the status of no code changes.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing was changed.
    pub fn apply_foreign(&mut self, position: CommitPosition, message: ForeignMessage) -> Result<(), ApplyError> {
        let CommitPosition { partition, sequence } = position;
        let partitions = u16::try_from(self.shared.partitions.len()).unwrap_or(u16::MAX);
        let Some(status) = self.shared.partitions.get(usize::from(partition)) else {
            return Err(ApplyError::UnknownPartition { partition, partitions });
        };
        let before = status.point_unguarded();
        check_next(position, before.sequence)?;
        let foreign = &mut self.chains[usize::from(partition)].foreign;
        if !foreign.has_room() {
            return Err(ApplyError::TooManyForeign { partition });
        }
        foreign.insert(sequence, message);
        status.write(PartitionPoint { sequence, ..before }, || {});
        Ok(())
    }

    /// Of these codes only death is believed from now on: as long as they stand here, published lists call them
    /// suspended where they are valid. Forgotten by a snapshot.
    pub fn doubt(&self, codes: HashSet<StatusRef>) {
        self.shared.doubted.store(Arc::new(codes));
    }

    /// Whether the bucket's last commit has this hash, or all zeros where it has none; none where that is not known.
    #[must_use]
    pub fn ends_with(&self, partition: u16, bucket: u16, hash: &[u8; 32]) -> Option<bool> {
        let chains = self.chains.get(usize::from(partition))?;
        match chains.ends.get(&bucket) {
            Some(end) => Some(*end == short(hash)),
            None => self.ends_are_known.then_some(*hash == [0; 32]),
        }
    }

    /// The foreign messages of a partition; none of one that the log does not have.
    #[must_use]
    pub fn foreign(&self, partition: u16) -> Option<&ForeignMessages> {
        self.chains.get(usize::from(partition)).map(|chains| &chains.foreign)
    }

    /// Whether the end of every bucket with a commit is known: not where a snapshot of an older format was taken.
    pub(crate) fn ends_are_known(&self) -> bool {
        self.ends_are_known
    }

    fn plan(&mut self, event: &Event, partition: u16, holder_standing: &mut Option<Standing>, alarms: &mut Vec<Alarm>) {
        match event {
            Event::CodeIssued(issued) => {
                // Kill, then birth: also within the lock nobody is ever valid twice.
                if let Some(old) = &issued.supersedes {
                    self.plan_known(partition, old, Act::Kill(Death::Superseded), alarms);
                }
                let fingerprint = self.shared.key.fingerprint(&issued.claims_digest);
                let birth = Entry::born(fingerprint, issued.standing);
                self.plan_birth(issued.code.status, birth, partition, alarms);
            }
            Event::CodeReportedLost(lost) => {
                self.plan_known(partition, &lost.code, Act::Kill(Death::ReportedLost), alarms);
            }
            Event::CodeRevoked(revoked) => {
                self.plan_known(partition, &revoked.code, Act::Kill(Death::Revoked), alarms);
            }
            Event::CodeSuspended(suspended) => {
                self.plan_known(partition, &suspended.code, Act::Suspend, alarms);
            }
            Event::CodeReinstated(reinstated) => {
                if let Some(code) = &reinstated.code {
                    self.plan_known(partition, code, Act::Reinstate, alarms);
                }
            }
            Event::RelationshipEnded(ended) => {
                for code in &ended.codes {
                    self.plan_known(partition, code, Act::Kill(Death::Revoked), alarms);
                }
            }
            Event::StandingChanged(changed) => {
                *holder_standing = Some(changed.standing);
                for code in &changed.codes {
                    self.plan_known(partition, code, Act::Stand(changed.standing), alarms);
                }
            }
            Event::HolderErased(erased) => {
                *holder_standing = Some(Standing::Green);
                for code in &erased.codes {
                    self.plan_known(partition, code, Act::Kill(Death::Revoked), alarms);
                }
            }
            Event::IndexRangeRevoked(range) => self.plan_range(partition, range, alarms),
            Event::IndexBlockLeased(lease) => self.learn(partition, lease, alarms),
            Event::HolderRegistered(_)
            | Event::RelationshipRecorded(_)
            | Event::HolderRenamed(_)
            | Event::ListNamesAdvanced(_)
            | Event::ForeignMessageDeclared(_)
            | Event::SigningKeyAdded(_)
            | Event::SigningKeyRetired(_)
            | Event::SigningKeyCompromised(_) => {}
        }
    }

    /// What the list holds is known from its first lease on. Blocks are allocated at their first code.
    fn learn(&self, partition: u16, lease: &IndexBlockLeased, alarms: &mut Vec<Alarm>) {
        let IndexBlockLeased { list, facts, .. } = *lease;
        if facts.partition != partition {
            alarms.push(Alarm::LeaseOfOtherPartition(list));
            return;
        }
        let lists = &self.shared.lists;
        let known = lists.load().get(&list).map(|known| known.facts);
        match known {
            Some(known) if known != facts => alarms.push(Alarm::LeasedAsAnother(list)),
            // What its name says is not kept twice, so that a snapshot is the same with the lease and without.
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

    /// What the list of a code holds, if it is one of this partition that did not retire.
    fn living_list(&self, status: StatusRef, partition: u16, alarms: &mut Vec<Alarm>) -> Option<ListFacts> {
        let facts = self.shared.facts(status.list);
        if facts.is_none_or(|facts| facts.partition != partition) {
            alarms.push(Alarm::ListOfOtherPartition(status));
            return None;
        }
        facts.filter(|facts| !self.shared.is_retired(facts))
    }

    fn plan_known(&mut self, partition: u16, code: &CodeRef, act: Act, alarms: &mut Vec<Alarm>) {
        let StatusRef { list: id, index } = code.status;
        if self.living_list(code.status, partition, alarms).is_none() {
            return;
        }
        let list = self.shared.lists.load().get(&id).and_then(|known| known.places.clone());
        // The load also draws the line into the cache before the lock is taken.
        match list {
            Some(list) if !list.load(index).is_never() || self.is_born_here(&list, index) => {
                self.changes.push(Change { list, index, act });
            }
            _ => alarms.push(Alarm::CodeNeverIssued(code.status)),
        }
    }

    /// Allocates the blocks of the range, so that the list says of all its places that they are invalid.
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
        let Some(facts) = self.living_list(first, partition, alarms) else {
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
            act: Act::Void(count),
        });
    }

    /// Whether an earlier event of the same commit issued this code.
    fn is_born_here(&self, list: &Arc<List>, index: u32) -> bool {
        self.changes.iter().any(|change| {
            matches!(change.act, Act::Birth(_)) && change.index == index && Arc::ptr_eq(&change.list, list)
        })
    }

    fn plan_birth(&mut self, status: StatusRef, birth: Entry, partition: u16, alarms: &mut Vec<Alarm>) {
        let Some(facts) = self.living_list(status, partition, alarms) else {
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
            Some(entry) if !entry.is_never() || self.is_born_here(&list, index) => {
                alarms.push(Alarm::IndexTakenTwice(status));
            }
            Some(_) => self.changes.push(Change {
                list,
                index,
                act: Act::Birth(birth),
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

    /// Drops the lists of which every code expired more than [`KEPT_AFTER_EXPIRY_SECONDS`] ago; returns them. Long ago is
    /// what both this machine's clock and the log say: a clock that leaps ahead kills no code that lives, unless those
    /// who write the log leap with it. Call it with the time of a trusted clock only.
    pub fn retire_long_expired(&mut self, clock_now: Timestamp) -> Vec<ListId> {
        let partitions = self.shared.partitions.iter();
        let decided = partitions.map(|partition| partition.point_unguarded().reaches).max();
        let known = decided.unwrap_or(PartitionPoint::START.reaches).min(clock_now);
        self.retire(known.plus_seconds(-KEPT_AFTER_EXPIRY_SECONDS))
    }

    /// Drops the lists of which every code has expired at `now`; returns them. Their codes answer never issued, which no
    /// verdict of that time reaches: expiry speaks first (R23). Whoever asks about an earlier time is told of it by
    /// [`StatusReader::is_retired`]. Where no list goes nothing changes: the snapshot is a fresh replay's.
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
        // Before the first of them goes: who misses one finds why.
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
            // What it held stays known: its name does not say it.
            if id.is_version_2() {
                let (facts, places) = (known.facts, None);
                left.insert(*id, Known { facts, places });
            }
        }
        self.shared.lists.replace(left);
        gone
    }

    /// The latest instant at which a list that is gone retired; the beginning of time where none is. One that lies ahead
    /// was reached by a wrong clock, and lists are missing whose codes may live: replay the log.
    #[must_use]
    pub fn retired_through(&self) -> Timestamp {
        self.shared.retired_through()
    }

    /// As [`StatusReader::export_two_bit`], and exact: all of the list as of the last commit folded.
    #[must_use]
    pub fn export_two_bit(&self, list: ListId) -> Vec<u8> {
        self.shared.export_two_bit(list)
    }

    /// How far a partition was folded; `None` for one that the log does not have.
    #[must_use]
    pub fn point(&self, partition: u16) -> Option<PartitionPoint> {
        let partition = self.shared.partitions.get(usize::from(partition))?;
        Some(partition.point_unguarded())
    }

    /// The standing of a holder; as [`StatusReader::standing_of`].
    #[must_use]
    pub fn standing_of(&self, holder: HolderId) -> Standing {
        self.shared.standings.get(holder)
    }
}

impl Change {
    fn make(&self) {
        if let Act::Void(count) = self.act {
            self.make_void(count);
            return;
        }
        let Some(block) = self.list.block(self.index) else {
            return;
        };
        let entry = block.load(self.index);
        let entry = match self.act {
            Act::Birth(born) => born,
            Act::Kill(death) => entry.killed(death),
            Act::Suspend => entry.suspended(),
            Act::Reinstate => entry.reinstated(),
            Act::Stand(standing) => entry.with_standing(standing),
            Act::Void(_) => entry,
        };
        block.store(self.index, entry);
    }

    fn make_void(&self, count: u32) {
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
