//! One partition's position, and its codes' status with it, under a sequence lock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

use super::reader::PartitionPoint;
use citycode_domain::time::Timestamp;

/// Tries before a reader lets another thread run: enough for a commit being written right now, too few to burn a
/// time slice where the writer was put to sleep within one.
const SPINS_BEFORE_YIELD: u32 = 128;

/// Own cache lines, so that a commit in one partition does not slow readers of its neighbour.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct PartitionStatus {
    /// Odd while a commit is being written.
    version: AtomicU64,
    sequence: AtomicU64,
    reaches: AtomicI64,
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
}
