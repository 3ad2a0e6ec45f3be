//! Lookups.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use citycode_domain::ids::{ClaimsDigest, HolderId, ListFacts, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::status::Status;
use citycode_domain::time::Timestamp;

use super::entry::Entry;
use super::published::Shared;
use crate::point::PartitionPoint;

/// The status of one code and the position on which it is based.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusAnswer {
    /// Life and standing.
    pub status: Status,
    /// The partition of the code's list; `None` if the log does not contain the list.
    pub partition: Option<u16>,
    /// Sequence of the last folded commit of that partition.
    pub sequence: u64,
    /// Time of the decision of that commit.
    pub reaches: Timestamp,
}

impl StatusAnswer {
    /// The answer for a list or partition that the log does not contain.
    const UNKNOWN_LIST: Self = Self {
        status: Status::NeverIssued,
        partition: None,
        sequence: 0,
        reaches: Timestamp(i64::MAX),
    };
}

/// Looks up codes without lock or allocation while the writer folds. It is cheap to clone; each thread should
/// have its own.
#[derive(Clone)]
pub struct StatusReader {
    pub(super) shared: Arc<Shared>,
}

impl StatusReader {
    /// The status of the code at this index, if it was issued with exactly these claims.
    ///
    /// Status and position are consistent while commits are folded. A list that the log does not contain has no
    /// codes as far as the log was folded; the answer is then never issued, without partition, sequence 0, and
    /// `reaches` at its maximum.
    #[must_use]
    pub fn lookup(&self, status: StatusRef, digest: &ClaimsDigest) -> StatusAnswer {
        self.lookup_after(status, digest, |_| ()).0
    }

    /// As [`Self::lookup`], but calls `before` with the partition of the list before the status is read; for what must
    /// not be newer than the status, such as its age.
    #[must_use]
    pub fn lookup_after<T>(
        &self,
        status: StatusRef,
        digest: &ClaimsDigest,
        before: impl FnOnce(Option<u16>) -> T,
    ) -> (StatusAnswer, T) {
        let shared = &self.shared;
        let table = shared.lists.load();
        let (partition, earlier, (entry, point)) = if let Some(known) = table.get(&status.list) {
            let partition = shared.partition_of(&known.facts);
            let earlier = before(Some(known.facts.partition));
            (
                known.facts.partition,
                earlier,
                partition.read(|| known.entry(status.index)),
            )
        } else {
            // For a version 1 list: the commit whose position is read may add it to the table.
            let Some(facts) = shared.facts(status.list) else {
                return (StatusAnswer::UNKNOWN_LIST, before(None));
            };
            let earlier = before(Some(facts.partition));
            let read = shared.partition_of(&facts).read(|| {
                let table = shared.lists.load();
                table
                    .get(&status.list)
                    .map_or(Entry::NEVER, |known| known.entry(status.index))
            });
            (facts.partition, earlier, read)
        };
        // The fingerprint is computed after the read, so that the processor hashes while it waits for the
        // entry's memory.
        let answer = StatusAnswer {
            status: entry.status(self.shared.key.fingerprint(digest)),
            partition: Some(partition),
            sequence: point.sequence,
            reaches: point.reaches,
        };
        (answer, earlier)
    }

    /// The standing of a holder, for ID cards (R21). Green if no other is known.
    #[must_use]
    pub fn standing_of(&self, holder: HolderId) -> Standing {
        self.shared.standings.get(holder)
    }

    /// How far a partition was folded; `None` if the log does not have it.
    #[must_use]
    pub fn point(&self, partition: u16) -> Option<PartitionPoint> {
        let partition = self.shared.partitions.get(usize::from(partition))?;
        Some(partition.read(|| ()).1)
    }

    /// How far each partition was folded, in the order of partitions.
    #[must_use]
    pub fn points(&self) -> Vec<PartitionPoint> {
        let partitions = self.shared.partitions.iter();
        partitions.map(|partition| partition.read(|| ()).1).collect()
    }

    /// The lists in which a code was issued and that are not retired, ascending.
    #[must_use]
    pub fn lists(&self) -> Vec<ListId> {
        self.shared.lists()
    }

    /// What a list contains; `None` if the log does not contain it. Retired lists are included.
    #[must_use]
    pub fn facts(&self, list: ListId) -> Option<ListFacts> {
        self.shared.facts(list)
    }

    /// Whether the list was removed because all of its codes expired. Its codes are then reported as never
    /// issued.
    #[must_use]
    pub fn is_retired(&self, list: ListId) -> bool {
        let facts = self.shared.facts(list);
        facts.is_some_and(|facts| self.shared.is_retired(&facts))
    }

    /// A list with two bits per index, least significant first: 0 valid, 1 invalid or never issued, 2
    /// suspended. It ends with the last block of 4,096 indices in which a code was issued, and is empty if there
    /// is none.
    ///
    /// Each block is consistent, but not the whole list; [`super::StatusWriter::export_two_bit`] between two
    /// commits is exact.
    #[must_use]
    pub fn export_two_bit(&self, list: ListId) -> Vec<u8> {
        self.shared.export_two_bit(list)
    }

    /// Number of alarms since this projection began, including those before its snapshot.
    #[must_use]
    pub fn alarm_count(&self) -> u64 {
        self.shared.alarm_count.load(Ordering::Relaxed)
    }

    /// Number of allocated indices: those of issued codes and the rest of their blocks. For metrics.
    #[must_use]
    pub fn allocated_places(&self) -> u64 {
        self.shared.allocated_places.load(Ordering::Relaxed)
    }
}
