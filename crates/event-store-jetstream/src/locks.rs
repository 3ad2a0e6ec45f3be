//! One lock for each bucket: a cluster refuses a write to a bucket that already has one in flight, so concurrent
//! appends to one bucket would only cause retries.
//!
//! `holder-log` has locks of its own, which it holds from a decision until its commit is folded, and which order the
//! decisions of one process. Callers that do not go through it (copies, declarations, heartbeats) hold only this lock,
//! so it cannot be left to the callers. An append holds it for one publish.

use std::collections::HashMap;
use std::sync::Arc;

use citycode_event_store::BucketId;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Locks = Mutex<HashMap<BucketId, Arc<tokio::sync::Mutex<()>>>>;

/// The locks of all buckets that have a holder or a waiter.
#[derive(Default)]
pub(crate) struct BucketLocks {
    locks: Arc<Locks>,
}

/// The lock of a bucket, held or awaited.
pub(crate) struct BucketGuard {
    locks: Arc<Locks>,
    bucket: BucketId,
    held: Option<OwnedMutexGuard<()>>,
}

impl BucketLocks {
    /// Waits for the bucket's lock; waiters get it in order.
    pub(crate) async fn lock(&self, bucket: BucketId) -> BucketGuard {
        let lock = Arc::clone(self.locks.lock().entry(bucket).or_default());
        // The guard exists before the wait, so that a cancelled wait cleans up too.
        let mut guard = BucketGuard {
            locks: Arc::clone(&self.locks),
            bucket,
            held: None,
        };
        guard.held = Some(lock.lock_owned().await);
        guard
    }
}

impl Drop for BucketGuard {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.locks.lock();
        // A cancelled wait may hold its reference a moment longer; then the next guard of the bucket removes the entry.
        if locks.get(&self.bucket).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use citycode_event_store::Partition;

    fn bucket(number: u16) -> BucketId {
        BucketId {
            partition: Partition(0),
            bucket: number,
        }
    }

    #[tokio::test]
    async fn a_bucket_has_one_guard_at_a_time_and_no_entry_afterwards() {
        let locks = BucketLocks::default();
        let first = locks.lock(bucket(1)).await;
        let other = locks.lock(bucket(2)).await;
        let mut second = std::pin::pin!(locks.lock(bucket(1)));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        let second = second.await;
        drop((second, other));
        assert!(locks.locks.lock().is_empty());
    }
}
