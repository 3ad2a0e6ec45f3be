//! One partition's lists and position under a sequence lock.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

use arc_swap::ArcSwap;
use citycode_domain::ids::{ListId, StatusRef};
use citycode_domain::time::Timestamp;
use hashbrown::HashMap;

use super::block::List;
use super::entry::Entry;
use super::reader::PartitionPoint;

/// Tries before a reader lets another thread run: enough for a commit being written right now, too few to burn a
/// time slice where the writer was put to sleep within one.
const SPINS_BEFORE_YIELD: u32 = 128;

/// Spreads the number of a list or bucket; issuers choose lists, so no adversary does.
#[derive(Default)]
pub(crate) struct ListHasher(u64);

impl Hasher for ListHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u32(u32::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }
}

/// The lists of a partition; replaced whole where one comes or goes, which is a few times a month.
pub(super) type Lists = HashMap<ListId, Arc<List>, BuildHasherDefault<ListHasher>>;

/// Own cache lines, so that a commit in one partition does not slow readers of its neighbour.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct PartitionStatus {
    /// Odd while a commit is being written.
    version: AtomicU64,
    sequence: AtomicU64,
    reaches: AtomicI64,
    pub(super) lists: ArcSwap<Lists>,
}

impl PartitionStatus {
    /// Reads until no commit was written meanwhile; what `read` returned belongs to the point returned with it.
    ///
    /// The fences pair with those of [`Self::write`] (Boehm, "Can seqlocks get along with programming language
    /// memory models?", 2012, figure 6): every load in `read` is an atomic one.
    pub(super) fn read<T>(&self, mut read: impl FnMut() -> T) -> (T, PartitionPoint) {
        let mut spins = 0;
        loop {
            let before = self.version.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let value = read();
                let point = self.point_unguarded();
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return (value, point);
                }
            }
            spins += 1;
            if spins % SPINS_BEFORE_YIELD == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Makes everything that `write` stores, and the new point, visible as one. `write` must not panic or block.
    pub(super) fn write(&self, point: PartitionPoint, write: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        write();
        self.sequence.store(point.sequence, Ordering::Relaxed);
        self.reaches.store(point.reaches.0, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The point without the lock: for the writer, who is the only one to move it.
    pub(super) fn point_unguarded(&self) -> PartitionPoint {
        PartitionPoint {
            sequence: self.sequence.load(Ordering::Relaxed),
            reaches: Timestamp(self.reaches.load(Ordering::Relaxed)),
        }
    }

    /// The entry at a place. Call it within [`Self::read`], or as the writer.
    pub(super) fn entry(&self, status: StatusRef) -> Entry {
        self.lists
            .load()
            .get(&status.list)
            .map_or(Entry::NEVER, |list| list.load(status.index))
    }

    /// The list, made where there is none. For the writer only.
    pub(super) fn list_or_insert(&self, id: ListId) -> Arc<List> {
        if let Some(list) = self.lists.load().get(&id) {
            return Arc::clone(list);
        }
        let list = Arc::new(List::new());
        let mut lists = Lists::clone(&self.lists.load());
        lists.insert(id, Arc::clone(&list));
        self.lists.store(Arc::new(lists));
        list
    }
}
