//! Compares the index with the log from which it was made.
//!
//! The index contains no hashes of its own that somebody with access to the disk could not compute again, so it is
//! compared with what it is derived from, while the log is read for another check. Entries are summed by keyed hashes
//! whose keys are drawn for each comparison, so that nobody can prepare two sets of entries with the same sum.
//!
//! Memory: some numbers for each partition, however large the index is. As long as the comparison lasts, the index keeps
//! the pages that it replaces meanwhile.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};

use citycode_domain::event::Event;
use citycode_domain::ids::HolderId;
use citycode_event_store::{Layout, LogPosition, Partition, RecordedCommit};
use citycode_log_folds::{folded_events, holder_of, holder_stream};
use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable as _};

use super::effects::{PlaceEffect, RecordedEffect, effects_of_partition, recorded_effects};
use super::{CODES, COMMITS, IndexError, IndexReader, PROGRESS, failed};

/// The sum of the keyed hashes of a set of entries, and their number.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    hashes: [u64; 2],
    entries: u64,
}

/// The sums of one partition.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    codes: Sum,
    commits: Sum,
    effects: Sum,
}

/// A table of the index that is not what the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexFault {
    /// The partition of the log with the difference.
    pub(crate) partition: Partition,
    /// What is wrong.
    pub(crate) what: String,
}

/// The index as of one moment, and what the log says of it so far.
pub(crate) struct ComparedIndex {
    transaction: ReadTransaction,
    position: LogPosition,
    layout: Layout,
    keys: [RandomState; 2],
    /// By partition. Each is locked by one task at a time.
    log: Vec<Mutex<Sums>>,
}

impl IndexReader {
    /// The index as it is now, for a comparison with the log up to the index's position.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn compare(&self, layout: Layout) -> Result<ComparedIndex, IndexError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let position = {
            let progress = transaction.open_table(PROGRESS).map_err(failed)?;
            match progress.get("position").map_err(failed)? {
                Some(bytes) => LogPosition::from_bytes(bytes.value()).map_err(failed)?,
                None => LogPosition::start(layout.partitions()),
            }
        };
        Ok(ComparedIndex {
            transaction,
            position,
            layout,
            keys: Default::default(),
            log: layout.all_partitions().map(|_| Mutex::default()).collect(),
        })
    }
}

impl ComparedIndex {
    /// Adds a commit of the log, as the index folds it.
    pub(crate) fn add(&self, commit: &RecordedCommit) {
        if commit.foreign.is_some() || !self.position.includes(commit.position) {
            return;
        }
        // An event that cannot be decoded stops the index, and is a fault of the log.
        let Ok(events) = folded_events(commit) else { return };
        let holder = holder_of(&commit.commit.stream);
        let keys = &self.keys;
        let Some(sums) = self.log.get(usize::from(commit.position.partition.0)) else {
            return;
        };
        let mut sums = sums.lock();
        if let Some(holder) = holder {
            sums.commits.add(keys, (holder.0, commit.position.sequence.0));
        }
        for event in &events {
            if let (Event::CodeIssued(issued), Some(holder)) = (event, holder) {
                sums.codes.add(keys, (issued.code.code_id.0, holder.0));
            }
            recorded_effects(commit.position, commit.commit.decided_at, event, |recorded| {
                sums.effects.add(keys, numbers(recorded));
            });
        }
    }

    /// Compares, after every commit of the log up to the index's position was added. A partition of which the log has
    /// lost commits differs; the caller knows which these are.
    ///
    /// # Errors
    /// [`IndexError`], if the index cannot be read.
    pub(crate) fn end(self) -> Result<Vec<IndexFault>, IndexError> {
        let mut faults = Vec::new();
        let index = self.sums(&mut faults)?;
        for ((number, of_index), of_log) in (0..).zip(&index).zip(&self.log) {
            let of_log = *of_log.lock();
            let tables = [
                ("codes", of_index.codes, of_log.codes),
                ("commits", of_index.commits, of_log.commits),
                ("effects", of_index.effects, of_log.effects),
            ];
            for (table, in_index, in_log) in tables {
                if in_index != in_log {
                    let what = format!(
                        "the audit index is not what the log says: table {table} has {} entries of this partition, and \
                         the log {}",
                        in_index.entries, in_log.entries
                    );
                    let partition = Partition(number);
                    faults.push(IndexFault { partition, what });
                }
            }
        }
        Ok(faults)
    }

    /// The sums of the index's own entries. A damaged block of effects is a fault.
    fn sums(&self, faults: &mut Vec<IndexFault>) -> Result<Vec<Sums>, IndexError> {
        let mut sums = vec![Sums::default(); self.log.len()];
        let codes = self.transaction.open_table(CODES).map_err(failed)?;
        for entry in codes.iter().map_err(failed)? {
            let (code_id, holder) = entry.map_err(failed)?;
            let (code_id, holder) = (code_id.value(), holder.value());
            if let Some(sums) = sums.get_mut(self.partition_of(holder)) {
                sums.codes.add(&self.keys, (code_id, holder));
            }
        }
        let commits = self.transaction.open_table(COMMITS).map_err(failed)?;
        for entry in commits.iter().map_err(failed)? {
            let (key, ()) = entry.map(|(key, value)| (key.value(), value.value())).map_err(failed)?;
            let (holder, sequence) = key.split_first_chunk::<16>().expect("a key has 24 bytes");
            let sequence = u64::from_be_bytes(*sequence.first_chunk().expect("a key has 24 bytes"));
            if let Some(sums) = sums.get_mut(self.partition_of(*holder)) {
                sums.commits.add(&self.keys, (*holder, sequence));
            }
        }
        for (number, sums) in (0..).zip(&mut sums) {
            let partition = Partition(number);
            let mut add = |recorded: &RecordedEffect| sums.effects.add(&self.keys, numbers(recorded));
            if let Err(error) = effects_of_partition(&self.transaction, partition, &mut add) {
                let what = error.to_string();
                faults.push(IndexFault { partition, what });
            }
        }
        Ok(sums)
    }

    fn partition_of(&self, holder: [u8; 16]) -> usize {
        let bucket = self.layout.bucket_of(&holder_stream(HolderId(holder)));
        usize::from(bucket.partition.0)
    }
}

impl Sum {
    fn add(&mut self, keys: &[RandomState; 2], entry: impl Hash) {
        for (sum, key) in self.hashes.iter_mut().zip(keys) {
            *sum = sum.wrapping_add(key.hash_one(&entry));
        }
        self.entries += 1;
    }
}

/// An effect as numbers.
fn numbers(recorded: &RecordedEffect) -> impl Hash + use<> {
    let effect = match recorded.effect {
        PlaceEffect::Issue {
            kind,
            expires_at,
            standing,
        } => (kind.number(), expires_at.0, standing.number()),
        PlaceEffect::Change(change) => (u8::MAX, i64::from(change.number()), 0),
        PlaceEffect::Void(count) => (u8::MAX, i64::from(count), 1),
    };
    let place = (recorded.place.list.0, recorded.place.index);
    ((recorded.sequence, recorded.decided_at.0), place, effect)
}
