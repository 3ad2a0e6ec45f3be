//! Which leaf begins which commit: the file `places` of a partition.
//!
//! Most commits have one event, so that most leaves follow from the sequence. The file has a record for each commit that
//! has another number of events:
//! ```text
//! place = sequence:8 leaves:8       the commit, and how many leaves the tree has with it; big-endian
//! ```
//! It is appended and synced before the tree is committed. After a crash it may have records beyond the committed tree,
//! which the next start removes; the same commits then write the same records again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const RECORD: u64 = 16;

/// A commit, and the number of leaves up to its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) leaves: u64,
}

impl Place {
    /// How many leaves there are with the commit `sequence`, if every commit in between has one event.
    pub(crate) const fn leaves_at(self, sequence: u64) -> u64 {
        self.leaves + (sequence - self.sequence)
    }
}

/// The places of one partition.
#[derive(Debug)]
pub(crate) struct Places {
    file: File,
    /// Records in the file.
    count: u64,
    /// Records to be written.
    pending: Vec<Place>,
}

impl Places {
    /// Opens or creates the file, and removes what lies beyond a tree of `size` leaves. Also returns the last place.
    pub(crate) fn open(path: &Path, size: u64) -> io::Result<(Self, Place)> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut places = Self {
            count: file.metadata()?.len() / RECORD,
            file,
            pending: Vec::new(),
        };
        places.count = places.partition_point(|place| place.leaves <= size)?;
        places.file.set_len(places.count * RECORD)?;
        let last = places.last_before(places.count)?;
        Ok((places, last))
    }

    fn read(&self, number: u64) -> io::Result<Place> {
        let mut bytes = [0; RECORD as usize];
        self.file.read_exact_at(&mut bytes, number * RECORD)?;
        let ([sequence, leaves], _) = bytes.as_chunks::<8>() else {
            unreachable!("a record has two numbers");
        };
        Ok(Place {
            sequence: u64::from_be_bytes(*sequence),
            leaves: u64::from_be_bytes(*leaves),
        })
    }

    /// The number of records at the beginning of the file for which `holds`; records are in order.
    fn partition_point(&self, holds: impl Fn(Place) -> bool) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.read(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn last_before(&self, count: u64) -> io::Result<Place> {
        count
            .checked_sub(1)
            .map_or(Ok(Place::default()), |number| self.read(number))
    }

    /// Adds a place, which the next [`sync`](Self::sync) writes.
    pub(crate) fn push(&mut self, place: Place) {
        self.pending.push(place);
    }

    /// Writes pending places durably.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * 16);
        for place in &self.pending {
            bytes.extend(place.sequence.to_be_bytes());
            bytes.extend(place.leaves.to_be_bytes());
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.count += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// The number of leaves before the commit `sequence`, which the synced tree must include.
    pub(crate) fn leaves_before(&self, sequence: u64) -> io::Result<u64> {
        let count = self.partition_point(|place| place.sequence < sequence)?;
        Ok(self.last_before(count)?.leaves_at(sequence - 1))
    }

    /// The commit of leaf number `leaf`, which the synced tree must include, and the number of its event.
    pub(crate) fn commit_of(&self, leaf: u64) -> io::Result<(u64, u64)> {
        let count = self.partition_point(|place| place.leaves <= leaf)?;
        let before = self.last_before(count)?;
        let beyond = leaf.saturating_sub(before.leaves);
        let sequence = before.sequence + 1 + beyond;
        // The next place may be of this very commit, which then has several leaves.
        if count < self.count {
            let next = self.read(count)?;
            if sequence >= next.sequence {
                let first = before.leaves_at(next.sequence.saturating_sub(1));
                return Ok((next.sequence, leaf.saturating_sub(first)));
            }
        }
        Ok((sequence, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_has_its_commit_and_survives_a_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("places");
        let events = [1, 1, 3, 1, 2, 2, 1, 1];
        let (mut places, _) = Places::open(&path, 0).expect("opens");
        let (mut leaves, mut expected) = (0, Vec::new());
        for (sequence, count) in (1..).zip(events) {
            expected.extend((0..count).map(|event| (sequence, event)));
            leaves += count;
            if count != 1 {
                places.push(Place { sequence, leaves });
            }
        }
        places.sync().expect("synced");
        for size in [leaves, leaves, 6, 2] {
            let (places, last) = Places::open(&path, size).expect("opens");
            let sequence = last.sequence + (size - last.leaves);
            assert_eq!(sequence, expected[usize::try_from(size).expect("small") - 1].0);
            for (leaf, (sequence, event)) in (0..size).zip(&expected) {
                assert_eq!(
                    places.commit_of(leaf).expect("read"),
                    (*sequence, *event),
                    "leaf {leaf} of {size}"
                );
                assert_eq!(places.leaves_before(*sequence).expect("read") + event, leaf);
            }
        }
    }
}
