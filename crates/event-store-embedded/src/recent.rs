//! The dedup window: the message ids of the last commits, and where they stand.

use std::collections::VecDeque;

use citycode_event_store::Position;
use std::collections::HashMap;

use crate::rows::{self, RecentEntry, ShortId};

/// Commits whose message ids are known: 50 seconds of the fastest import, days of a city's ordinary life, about
/// 60 MB. The tails must be written once through within it (see [`crate::tails`]).
pub(crate) const WINDOW: usize = 1_000_000;

#[derive(Default)]
pub(crate) struct Recent {
    known: HashMap<ShortId, u64>,
    /// Batches from the oldest: row number and ids.
    batches: VecDeque<(u64, Vec<ShortId>)>,
    entries: usize,
    next_row: u64,
}

impl Recent {
    pub(crate) fn next_row(&self) -> u64 {
        self.next_row
    }

    /// How many commits it knows.
    pub(crate) fn commits(&self) -> u64 {
        u64::try_from(self.entries).expect("it fits")
    }

    pub(crate) fn position(&self, id: &ShortId) -> Option<Position> {
        self.known.get(id).map(|key| rows::position_of(*key))
    }

    /// Takes in a batch that is durable.
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

    /// The rows that the window can do without once `more` entries come.
    pub(crate) fn outgrown(&self, more: usize) -> Vec<u64> {
        let mut left = self.entries + more;
        let surplus = self.batches.iter().take_while(|(_, ids)| {
            let keep = left - ids.len().min(left) >= WINDOW;
            left -= ids.len().min(left);
            keep
        });
        surplus.map(|(row, _)| *row).collect()
    }

    /// Forgets rows from the oldest on, as far as `last`.
    pub(crate) fn forget(&mut self, last: u64) {
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
