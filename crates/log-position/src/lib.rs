//! Positions in the event log: partitions, sequences, revisions and the tail of a bucket.
//!
//! The event store and the projections refer to the same positions without knowing each other, so these types are in a
//! crate below both. It has no dependencies and needs no standard library.
#![no_std]

use core::fmt;

/// The number of a partition, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u16);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// The number of a message within its partition, from 1 and without gaps. 0 means "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first commit.
    pub const START: Self = Self(0);

    /// The next sequence. Saturates at the end of 64 bits, which no log reaches.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The position of one message in the log, written `partition/sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The partition.
    pub partition: Partition,
    /// The sequence within the partition, from 1.
    pub sequence: Sequence,
}

impl Position {
    /// The position of message `sequence` in `partition`.
    #[must_use]
    pub const fn new(partition: u16, sequence: u64) -> Self {
        Self {
            partition: Partition(partition),
            sequence: Sequence(sequence),
        }
    }

    /// The numbers of partition and sequence, the inverse of [`Position::new`].
    #[must_use]
    pub const fn parts(self) -> (u16, u64) {
        (self.partition.0, self.sequence.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.sequence)
    }
}

/// The revision of a bucket. Callers treat it as opaque: they compare, store and return it. The revisions of one bucket
/// only increase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a bucket without any commit.
    pub const EMPTY: Self = Self(0);

    /// The inverse of [`Revision::to_raw`], for engines and for projections that store revisions in packed form.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number inside, for engines and for projections that store revisions in packed form. Its meaning depends on
    /// the engine.
    #[must_use]
    pub const fn to_raw(self) -> u64 {
        self.0
    }
}

/// BLAKE3 of the canonical bytes of a commit, which include the hash of its bucket's previous commit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitHash(pub [u8; 32]);

impl CommitHash {
    /// The hash before a bucket's first commit.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for CommitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CommitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitHash({self})")
    }
}

/// The tail of a bucket, which the next append to it must expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketTail {
    /// The revision of the bucket's last commit.
    pub revision: Revision,
    /// The hash of the bucket's last commit; [`CommitHash::NONE`] in an empty bucket.
    pub hash: CommitHash,
}

impl BucketTail {
    /// The tail of a bucket without any commit.
    pub const EMPTY: Self = Self {
        revision: Revision::EMPTY,
        hash: CommitHash::NONE,
    };
}
