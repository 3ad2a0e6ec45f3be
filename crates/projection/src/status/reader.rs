//! Looking up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use citycode_domain::ids::{ClaimsDigest, HolderId, ListFacts, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::status::Status;
use citycode_domain::time::Timestamp;

use super::entry::Entry;
use super::published::Shared;

/// How far a partition was folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionPoint {
    /// The last commit folded; 0 before the first.
    pub sequence: u64,
    /// When that commit was decided; 0 before the first.
    pub reaches: Timestamp,
}

impl PartitionPoint {
    /// Before the first commit.
    pub const START: Self = Self {
        sequence: 0,
        reaches: Timestamp(0),
    };
}

/// What the projection says of one code, and what that rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusAnswer {
    /// Life and standing.
    pub status: Status,
    /// The partition of the code's list; none of a list that the log does not know.
    pub partition: Option<u16>,
    /// The last commit folded in that partition.
    pub sequence: u64,
    /// When that commit was decided.
    pub reaches: Timestamp,
}

impl StatusAnswer {
    /// For a list that the log does not know, or of a partition that it does not have.
    const NOWHERE: Self = Self {
        status: Status::NeverIssued,
        partition: None,
        sequence: 0,
        reaches: Timestamp(i64::MAX),
    };
}

/// Looks up without lock or allocation, while the writer folds. Cheap to clone; give each thread its own.
#[derive(Clone)]
pub struct StatusReader {
    pub(super) shared: Arc<Shared>,
}

impl StatusReader {
    /// The status of the code at this place, if it was issued with exactly these claims.
    ///
    /// Status and position belong together, whatever is being folded. A list that the log does not know has no codes as
    /// far as the log was folded: never issued, of no partition, sequence 0, reaching the end of time.
    #[must_use]
    pub fn lookup(&self, status: StatusRef, digest: &ClaimsDigest) -> StatusAnswer {
        let shared = &self.shared;
        let table = shared.lists.load();
        let (partition, (entry, point)) = if let Some(known) = table.get(&status.list) {
            let partition = shared.partition_of(&known.facts);
            (known.facts.partition, partition.read(|| known.entry(status.index)))
        } else {
            // Of version 1: it may come into the table with the very commit whose position is read.
            let Some(facts) = shared.facts(status.list) else {
                return StatusAnswer::NOWHERE;
            };
            let read = shared.partition_of(&facts).read(|| {
                let table = shared.lists.load();
                table
                    .get(&status.list)
                    .map_or(Entry::NEVER, |known| known.entry(status.index))
            });
            (facts.partition, read)
        };
        // After the read and not before: the processor hashes while it waits for the entry's memory.
        StatusAnswer {
            status: entry.status(self.shared.key.fingerprint(digest)),
            partition: Some(partition),
            sequence: point.sequence,
            reaches: point.reaches,
        }
    }

    /// The standing of a holder, for ID cards (R21). Green where nothing else is known.
    #[must_use]
    pub fn standing_of(&self, holder: HolderId) -> Standing {
        self.shared.standings.get(holder)
    }

    /// How far a partition was folded; `None` for one that the log does not have.
    #[must_use]
    pub fn point(&self, partition: u16) -> Option<PartitionPoint> {
        let partition = self.shared.partitions.get(usize::from(partition))?;
        Some(partition.read(|| ()).1)
    }

    /// How far each partition was folded, in their order.
    #[must_use]
    pub fn points(&self) -> Vec<PartitionPoint> {
        let partitions = self.shared.partitions.iter();
        partitions.map(|partition| partition.read(|| ()).1).collect()
    }

    /// The lists in which a code was ever issued and that were not retired, ascending.
    #[must_use]
    pub fn lists(&self) -> Vec<ListId> {
        self.shared.lists()
    }

    /// What a list holds; none of one that the log does not know. Also of one that retired.
    #[must_use]
    pub fn facts(&self, list: ListId) -> Option<ListFacts> {
        self.shared.facts(list)
    }

    /// Whether the list is gone since every code of it expired: its codes answer never issued, whether they were or not.
    #[must_use]
    pub fn is_retired(&self, list: ListId) -> bool {
        let facts = self.shared.facts(list);
        facts.is_some_and(|facts| self.shared.is_retired(&facts))
    }

    /// A list as two bits a place, least significant first: 0 valid, 1 invalid or never issued, 2 suspended. It
    /// ends with the last block of 4,096 places in which a code was issued; empty where there is none.
    ///
    /// Each block is of one moment, the list as a whole need not be; [`super::StatusWriter::export_two_bit`]
    /// between two commits is exact.
    #[must_use]
    pub fn export_two_bit(&self, list: ListId) -> Vec<u8> {
        self.shared.export_two_bit(list)
    }

    /// How many alarms were raised since this projection began, those before its snapshot included.
    #[must_use]
    pub fn alarm_count(&self) -> u64 {
        self.shared.alarm_count.load(Ordering::Relaxed)
    }

    /// Places allocated, in codes: issued ones and the rest of their blocks. For metrics.
    #[must_use]
    pub fn allocated_places(&self) -> u64 {
        self.shared.allocated_places.load(Ordering::Relaxed)
    }
}
