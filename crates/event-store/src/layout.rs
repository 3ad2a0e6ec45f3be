//! The layout of a log: partitions, buckets, and the stable hash that maps a stream to its bucket.

use std::fmt;

use crate::{Partition, StreamName, foreign};

/// The reserved buckets at the top of every partition, to which no stream is hashed: one each for `lease-…` and
/// `watermark-…` streams, and two for future kinds of streams, because the layout of a log never changes.
pub const RESERVED_BUCKETS: u32 = 4;

/// Most partitions of a log: enough for any city, and few enough that position vectors and manifests stay small.
const MAX_PARTITIONS: u16 = 256;
/// Most buckets of a partition: a bucket's number has 16 bits.
const MAX_BUCKETS: u32 = 65_536;
/// Fewest buckets of a partition: the reserved ones and as many for hashed streams.
const MIN_BUCKETS: u32 = RESERVED_BUCKETS * 2;

/// The only hash version so far; see [`Layout::bucket_of`].
const HASH_VERSION: u16 = 1;

/// One bucket of a log, the unit of optimistic concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketId {
    /// The bucket's partition.
    pub partition: Partition,
    /// The bucket's number within the partition, below `buckets_per_partition`.
    pub bucket: u16,
}

impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04x}", self.partition, self.bucket)
    }
}

/// The layout of a log, which its manifest fixes at creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    partitions: u16,
    buckets_per_partition: u32,
    hash_version: u16,
}

/// Why numbers are not a layout, or why a stream's name is invalid in a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutInvalid {
    /// Not 1 to 256 partitions.
    #[error("a log has 1 to {MAX_PARTITIONS} partitions, not {0}")]
    Partitions(u16),
    /// Not 8 to 65,536 buckets.
    #[error("a partition has {MIN_BUCKETS} to {MAX_BUCKETS} buckets, not {0}")]
    Buckets(u32),
    /// This program does not support the hash version.
    #[error("hash version {0} is not supported; this program supports {HASH_VERSION}")]
    HashVersion(u16),
    /// A `lease-`, `watermark-` or `foreign-` name without the two or more digits of a partition of this layout.
    #[error("a `lease-`, `watermark-` or `foreign-` stream must name an existing partition in decimal after the dash")]
    SystemPartition,
}

impl Default for Layout {
    /// 16 partitions × 65,536 buckets.
    fn default() -> Self {
        Self {
            partitions: 16,
            buckets_per_partition: MAX_BUCKETS,
            hash_version: HASH_VERSION,
        }
    }
}

/// The kinds of streams with a reserved bucket in each partition.
#[derive(Clone, Copy)]
enum SystemStream {
    Lease,
    Heartbeat,
}

impl SystemStream {
    fn split(name: &StreamName) -> Option<(Self, &str)> {
        let text = name.as_str();
        let lease = text.strip_prefix("lease-").map(|rest| (Self::Lease, rest));
        lease.or_else(|| text.strip_prefix("watermark-").map(|rest| (Self::Heartbeat, rest)))
    }

    /// The distance of its bucket from the end of the partition.
    const fn below_top(self) -> u32 {
        match self {
            Self::Lease => 1,
            Self::Heartbeat => 2,
        }
    }
}

/// `07`, `07-…` → 7. At least two digits, as in every printed partition number.
fn named_partition(rest: &str) -> Option<u16> {
    let digits = rest.split('-').next()?;
    if digits.len() < 2 || digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// `foreign-07-00ff` → 07.00ff.
fn bucket_of_declarations(stream: &StreamName) -> Option<BucketId> {
    let (partition, bucket) = stream.as_str().strip_prefix(foreign::STREAM_PREFIX)?.split_once('-')?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if bucket.len() != 4 || !bucket.bytes().all(hex) {
        return None;
    }
    Some(BucketId {
        partition: Partition(named_partition(partition)?),
        bucket: u16::from_str_radix(bucket, 16).ok()?,
    })
}

impl Layout {
    /// Most partitions of a log.
    pub const MAX_PARTITIONS: u16 = MAX_PARTITIONS;

    /// A layout with the current hash version.
    pub fn new(partitions: u16, buckets_per_partition: u32) -> Result<Self, LayoutInvalid> {
        Self::from_parts(partitions, buckets_per_partition, HASH_VERSION)
    }

    /// A layout from the values in a manifest.
    pub fn from_parts(partitions: u16, buckets_per_partition: u32, hash_version: u16) -> Result<Self, LayoutInvalid> {
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(LayoutInvalid::Partitions(partitions));
        }
        if !(MIN_BUCKETS..=MAX_BUCKETS).contains(&buckets_per_partition) {
            return Err(LayoutInvalid::Buckets(buckets_per_partition));
        }
        if hash_version != HASH_VERSION {
            return Err(LayoutInvalid::HashVersion(hash_version));
        }
        Ok(Self {
            partitions,
            buckets_per_partition,
            hash_version,
        })
    }

    /// The number of partitions.
    pub const fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The number of buckets in each partition.
    pub const fn buckets_per_partition(&self) -> u32 {
        self.buckets_per_partition
    }

    /// The version of the hash that maps streams to buckets.
    pub const fn hash_version(&self) -> u16 {
        self.hash_version
    }

    /// Every partition, in order.
    pub fn all_partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.partitions).map(Partition)
    }

    /// Whether the log has this bucket.
    pub fn contains(&self, bucket: BucketId) -> bool {
        bucket.partition.0 < self.partitions && u32::from(bucket.bucket) < self.buckets_per_partition
    }

    /// The index of a bucket in a flat array of all buckets of the log.
    pub fn flat_index(&self, bucket: BucketId) -> usize {
        usize::from(bucket.partition.0) * self.buckets_per_partition as usize + usize::from(bucket.bucket)
    }

    /// The bucket of a stream, which is the same in every engine (hash version 1):
    /// `h` = the first 8 bytes of BLAKE3(name), big-endian; partition = `h mod partitions`;
    /// bucket = `(h div partitions) mod (buckets_per_partition − 4)`.
    ///
    /// `foreign-PP-BBBB` belongs to the bucket that it names (see [`foreign`]).
    /// `lease-PP…` and `watermark-PP…` belong to partition PP (decimal, at least two digits), in its buckets
    /// `buckets − 1` and `buckets − 2`. If the layout lacks the named partition, this function hashes the name like any
    /// other, but [`Layout::check`], which every append calls, refuses it.
    pub fn bucket_of(&self, stream: &StreamName) -> BucketId {
        if let Some((system, rest)) = SystemStream::split(stream)
            && let Some(partition) = named_partition(rest).filter(|partition| *partition < self.partitions)
        {
            return BucketId {
                partition: Partition(partition),
                bucket: self.reserved_bucket(system),
            };
        }
        if let Some(bucket) = bucket_of_declarations(stream).filter(|bucket| self.contains(*bucket)) {
            return bucket;
        }
        let digest = blake3::hash(stream.as_bytes());
        let (head, _) = digest
            .as_bytes()
            .split_first_chunk::<8>()
            .expect("a BLAKE3 digest has 32 bytes");
        let hash = u64::from_be_bytes(*head);
        let partitions = u64::from(self.partitions);
        let bucket = (hash / partitions) % u64::from(self.buckets_per_partition - RESERVED_BUCKETS);
        BucketId {
            partition: Partition(u16::try_from(hash % partitions).expect("below a u16")),
            bucket: u16::try_from(bucket).expect("below 65,536"),
        }
    }

    /// Refuses a stream whose name contains a partition or bucket that this layout lacks.
    pub fn check(&self, stream: &StreamName) -> Result<(), LayoutInvalid> {
        if foreign::is_declarations(stream) {
            let bucket = bucket_of_declarations(stream).filter(|bucket| self.contains(*bucket));
            return bucket.map(drop).ok_or(LayoutInvalid::SystemPartition);
        }
        match SystemStream::split(stream) {
            None => Ok(()),
            Some((_, rest)) => match named_partition(rest) {
                Some(partition) if partition < self.partitions => Ok(()),
                _ => Err(LayoutInvalid::SystemPartition),
            },
        }
    }

    /// The bucket of the `lease-PP…` streams of a partition.
    pub fn lease_bucket(&self, partition: Partition) -> BucketId {
        BucketId {
            partition,
            bucket: self.reserved_bucket(SystemStream::Lease),
        }
    }

    /// The bucket of a partition's heartbeats (streams `watermark-PP…`).
    pub fn heartbeat_bucket(&self, partition: Partition) -> BucketId {
        BucketId {
            partition,
            bucket: self.reserved_bucket(SystemStream::Heartbeat),
        }
    }

    /// Whether this is its partition's heartbeat bucket.
    #[must_use]
    pub fn is_heartbeat_bucket(&self, bucket: BucketId) -> bool {
        bucket == self.heartbeat_bucket(bucket.partition)
    }

    fn reserved_bucket(&self, system: SystemStream) -> u16 {
        u16::try_from(self.buckets_per_partition - system.below_top()).expect("below 65,536")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    #[test]
    fn buckets_of_hash_version_1_are_golden() {
        let layout = Layout::default();
        let found = [
            "keys",
            "holder-00000000000000000000000000000000",
            "holder-ffffffffffffffffffffffffffffffff",
        ]
        .map(|text| layout.bucket_of(&name(text)).to_string());
        assert_eq!(found, GOLDEN);
    }

    const GOLDEN: [&str; 3] = ["03.6739", "03.b926", "11.b126"];

    #[test]
    fn system_streams_belong_to_the_partition_that_they_name() {
        let layout = Layout::default();
        assert_eq!(
            layout.bucket_of(&name("lease-07-202608")),
            layout.lease_bucket(Partition(7))
        );
        assert_eq!(
            layout.bucket_of(&name("watermark-15")),
            layout.heartbeat_bucket(Partition(15))
        );
        assert_eq!(layout.lease_bucket(Partition(7)).bucket, 65_535);
        assert_eq!(layout.heartbeat_bucket(Partition(7)).bucket, 65_534);
        for wrong in [
            "lease-16",
            "lease-7",
            "lease-x",
            "watermark-",
            "watermark-99999",
            "lease-+7",
        ] {
            if let Ok(stream) = StreamName::new(wrong) {
                assert_eq!(layout.check(&stream), Err(LayoutInvalid::SystemPartition), "{wrong}");
            }
        }
        assert_eq!(layout.check(&name("keys")), Ok(()));
    }

    #[test]
    fn hashed_streams_never_reach_the_reserved_buckets() {
        let layout = Layout::new(2, 8).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..1_000 {
            let bucket = layout.bucket_of(&name(&format!("holder-{number:032x}")));
            assert!(layout.contains(bucket) && bucket.bucket < 4);
            seen.insert(bucket);
        }
        assert_eq!(seen.len(), 8, "a thousand streams reach all eight open buckets");
    }

    #[test]
    fn numbers_outside_the_limits_are_refused() {
        assert_eq!(Layout::new(0, 8), Err(LayoutInvalid::Partitions(0)));
        assert_eq!(Layout::new(257, 8), Err(LayoutInvalid::Partitions(257)));
        assert_eq!(Layout::new(1, 7), Err(LayoutInvalid::Buckets(7)));
        assert_eq!(Layout::new(1, 65_537), Err(LayoutInvalid::Buckets(65_537)));
        assert_eq!(Layout::from_parts(1, 8, 2), Err(LayoutInvalid::HashVersion(2)));
    }
}
