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
