//! The position of one partition, and a sequence lock over the status of its codes.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

use crate::point::PartitionPoint;
use citycode_domain::time::Timestamp;

/// Attempts before a reader yields its thread: enough for a commit that is being written, and few enough not to
/// waste a time slice if the writer was preempted.
const SPINS_BEFORE_YIELD: u32 = 128;

/// Aligned to its own cache lines, so that commits in one partition do not slow down readers of another.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct PartitionStatus {
    /// Odd while a commit is being written.
    version: AtomicU64,
    sequence: AtomicU64,
    reaches: AtomicI64,
}

impl PartitionStatus {
    /// Calls `read` until no commit was written during the call, so that the returned value belongs to the
    /// returned point.
    ///
    /// The fences pair with those of [`Self::write`] (Boehm, "Can seqlocks get along with programming language
    /// memory models?", 2012, figure 6): every load in `read` must be atomic.
    pub(super) fn read<T>(&self, mut read: impl FnMut() -> T) -> (T, PartitionPoint) {
        let mut spins = 0u32;
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
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(SPINS_BEFORE_YIELD) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Makes everything that `write` stores visible atomically with the new point. `write` must not panic or
    /// block.
    pub(super) fn write(&self, point: PartitionPoint, write: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        write();
        self.sequence.store(point.sequence, Ordering::Relaxed);
        self.reaches.store(point.reaches.0, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The point, read without the lock. Only the writer may call this, because only the writer changes it.
    pub(super) fn point_unguarded(&self) -> PartitionPoint {
        PartitionPoint {
            sequence: self.sequence.load(Ordering::Relaxed),
            reaches: Timestamp(self.reaches.load(Ordering::Relaxed)),
        }
    }
}
