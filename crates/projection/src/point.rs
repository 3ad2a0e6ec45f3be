//! The position up to which a partition is folded.

use citycode_domain::time::Timestamp;

/// How far a partition was folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionPoint {
    /// Sequence of the last folded commit; 0 before the first one.
    pub sequence: u64,
    /// Time of the decision of that commit; 0 before the first one.
    pub reaches: Timestamp,
}

impl PartitionPoint {
    /// The point before the first commit.
    pub const START: Self = Self {
        sequence: 0,
        reaches: Timestamp(0),
    };
}
