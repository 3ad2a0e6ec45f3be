//! One writer at a time per bucket within this process; between processes the expected tail decides.

use citycode_event_store::BucketId;
use tokio::sync::{Mutex, MutexGuard};

/// Number of locks. Buckets share them by number; two that share one only wait for each other.
const SHARDS: usize = 4096;

pub(crate) struct BucketLocks(Box<[Mutex<()>]>);

impl BucketLocks {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::new(())).collect())
    }

    pub(crate) async fn lock(&self, bucket: BucketId) -> MutexGuard<'_, ()> {
        // Partitions are offset by a prime, so that equal bucket numbers of several partitions use different
        // locks.
        let shard = (usize::from(bucket.bucket) + usize::from(bucket.partition.0) * 257) % SHARDS;
        self.0[shard].lock().await
    }
}

#[cfg(test)]
mod tests {
    use citycode_event_store::Partition;
    use futures::FutureExt;

    use super::*;

    fn bucket(partition: u16, bucket: u16) -> BucketId {
        BucketId {
            partition: Partition(partition),
            bucket,
        }
    }

    /// Otherwise writers would wait for each other although they write different buckets.
    #[test]
    fn neighbouring_buckets_and_equal_buckets_of_16_partitions_have_different_locks() {
        let locks = BucketLocks::new();
        let of_partitions = (0..16).map(|partition| bucket(partition, 5));
        let neighbours = (6..200).map(|number| bucket(0, number));
        let held: Vec<_> = of_partitions
            .chain(neighbours)
            .map(|bucket| {
                locks
                    .lock(bucket)
                    .now_or_never()
                    .unwrap_or_else(|| panic!("{bucket:?} waits"))
            })
            .collect();
        assert!(
            locks.lock(bucket(15, 5)).now_or_never().is_none(),
            "its writer is alone"
        );
        drop(held);
        assert!(locks.lock(bucket(15, 5)).now_or_never().is_some());
    }
}
