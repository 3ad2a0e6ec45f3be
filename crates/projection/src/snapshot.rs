//! Snapshot files.

/// Which log a projection belongs to, and how that log is cut. A snapshot of another is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    /// The log's random identity.
    pub log_id: [u8; 16],
    /// Partitions of the log.
    pub partitions: u16,
    /// Buckets of each partition.
    pub buckets_per_partition: u32,
    /// The version of the hash that leads from a stream to its bucket.
    pub hash_version: u16,
}
