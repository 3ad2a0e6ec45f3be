//! The dedup window: the message ids of the last commits and their positions.

use std::collections::VecDeque;

use citycode_event_store::Position;
use std::collections::HashMap;

use crate::rows::{self, RecentEntry, ShortId};

/// The number of commits in the window: 50 seconds of the fastest import or days of normal operation, about 60 MB. All
/// partitions' tails must be stored once within it (see [`crate::tails`]).
pub(crate) const WINDOW: usize = 1_000_000;

#[derive(Default)]
pub(crate) struct Recent {
    known: HashMap<ShortId, u64>,
    /// Batches, the oldest first: row number and ids.
    batches: VecDeque<(u64, Vec<ShortId>)>,
    entries: usize,
    next_row: u64,
}

impl Recent {
    pub(crate) fn next_row(&self) -> u64 {
        self.next_row
    }

    /// The number of commits in the window.
    pub(crate) fn commits(&self) -> u64 {
        u64::try_from(self.entries).expect("64 bits suffice")
    }

    pub(crate) fn position(&self, id: &ShortId) -> Option<Position> {
        self.known.get(id).map(|key| rows::position_of(*key))
    }

    /// Adds a durable batch.
    pub(crate) fn insert(&mut self, row: u64, entries: impl IntoIterator<Item = RecentEntry>) {
        let mut ids = Vec::new();
        for entry in entries {
            self.known.insert(entry.id, rows::key(entry.position()));
            ids.push(entry.id);
        }
        self.entries += ids.len();
        self.next_row = row + 1;
        self.batches.push_back((row, ids));
    }

    /// The rows that leave the window when `more` entries are added.
    pub(crate) fn expired(&self, more: usize) -> Vec<u64> {
        let mut left = self.entries + more;
        let surplus = self.batches.iter().take_while(|(_, ids)| {
            let keep = left - ids.len().min(left) >= WINDOW;
            left -= ids.len().min(left);
            keep
        });
        surplus.map(|(row, _)| *row).collect()
    }

    /// Removes all rows up to `last`.
    pub(crate) fn remove_up_to(&mut self, last: u64) {
        while let Some((row, _)) = self.batches.front()
            && *row <= last
            && let Some((_, ids)) = self.batches.pop_front()
        {
            self.entries -= ids.len();
            for id in ids {
                self.known.remove(&id);
            }
        }
    }
}
