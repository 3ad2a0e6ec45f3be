//! Turns at a bucket: on three servers a second write to a bucket with one in flight is refused, and would have to
//! be tried again.

use std::collections::HashMap;
use std::sync::Arc;

use citycode_event_store::BucketId;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Turns = Mutex<HashMap<BucketId, Arc<tokio::sync::Mutex<()>>>>;

/// The locks of all buckets that somebody writes to or waits for.
#[derive(Default)]
pub(crate) struct BucketLocks {
    turns: Arc<Turns>,
}

/// A turn at a bucket, or the wait for one.
pub(crate) struct BucketGuard {
    turns: Arc<Turns>,
    bucket: BucketId,
    held: Option<OwnedMutexGuard<()>>,
}

impl BucketLocks {
    /// Waits for the bucket's turn; turns come in order.
    pub(crate) async fn turn(&self, bucket: BucketId) -> BucketGuard {
        let lock = Arc::clone(self.turns.lock().entry(bucket).or_default());
        // Before the wait, so that one who gives up waiting leaves nothing behind.
        let mut turn = BucketGuard {
            turns: Arc::clone(&self.turns),
            bucket,
            held: None,
        };
        turn.held = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for BucketGuard {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = self.turns.lock();
        // A wait that was given up may hold its share for a moment longer: then the next turn at the bucket clears.
        if turns.get(&self.bucket).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            turns.remove(&self.bucket);
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
    async fn a_bucket_has_one_turn_at_a_time_and_leaves_nothing_behind() {
        let locks = BucketLocks::default();
        let first = locks.turn(bucket(1)).await;
        let other = locks.turn(bucket(2)).await;
        let mut second = std::pin::pin!(locks.turn(bucket(1)));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        let second = second.await;
        drop((second, other));
        assert!(locks.turns.lock().is_empty());
    }
}
