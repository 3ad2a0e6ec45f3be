//! Looking up many codes from one thread.

use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use citycode_domain::ids::{ClaimsDigest, StatusRef};

use super::entry::Entry;
use super::partition::Lists;
use super::reader::{StatusAnswer, StatusReader, answer};

/// As a [`StatusReader`], for one thread: it remembers where the lists are, so that a look-up neither counts a
/// reference nor orders the processor's memory, and look-ups after each other overlap. A list that was retired
/// keeps its memory until the cursor is asked for its partition again.
pub struct StatusCursor {
    reader: StatusReader,
    lists: Box<[Cache<Arc<ArcSwap<Lists>>, Arc<Lists>>]>,
}

impl StatusReader {
    /// A cursor for one thread.
    #[must_use]
    pub fn cursor(&self) -> StatusCursor {
        let partitions = self.shared.partitions.iter();
        StatusCursor {
            reader: self.clone(),
            lists: partitions
                .map(|partition| Cache::new(Arc::clone(&partition.lists)))
                .collect(),
        }
    }
}

impl StatusCursor {
    /// As [`StatusReader::lookup`].
    #[must_use]
    pub fn lookup(&mut self, status: StatusRef, digest: &ClaimsDigest) -> StatusAnswer {
        let number = usize::from(status.list.partition());
        let shared = &self.reader.shared;
        let (Some(partition), Some(lists)) =
            (shared.partitions.get(number), self.lists.get_mut(number))
        else {
            return StatusAnswer::NOWHERE;
        };
        let read = partition.read(|| {
            // Asked anew in every try: the point that is read with it must not be newer than the lists.
            let list = lists.load().get(&status.list);
            list.map_or(Entry::NEVER, |list| list.load(status.index))
        });
        answer(read, &shared.key, digest)
    }

    /// The reader that this cursor belongs to.
    #[must_use]
    pub fn reader(&self) -> &StatusReader {
        &self.reader
    }
}
