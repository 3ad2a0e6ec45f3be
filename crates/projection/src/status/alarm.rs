//! What should never stand in a log and is said loudly where it does.

use citycode_domain::ids::{ListId, StatusRef};

/// A protocol violation in a commit: something that a correct writer never appends. The rest of the commit was folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// A second code was issued at a place. The first keeps it; the second answers as other claims (R25).
    IndexTakenTwice(StatusRef),
    /// An event names a code in a list of another partition than its commit's, or in one that was never leased: such a
    /// code is not touched.
    ListOfOtherPartition(StatusRef),
    /// A list was leased in another partition than its lease names. It is not known by that.
    LeaseOfOtherPartition(ListId),
    /// A later lease says of a list that it holds something else. What the first said counts.
    LeasedAsAnother(ListId),
    /// A code was issued at or past [`super::MAX_LIST_LEN`]. It counts as never issued.
    IndexOutOfRange(StatusRef),
    /// An event names a code that was never issued.
    CodeNeverIssued(StatusRef),
    /// A declaration names a foreign message that does not stand there, at this sequence of its partition. It changes
    /// nothing.
    NothingToDeclare(u64),
    /// A change of standing or an erasure stood outside any holder's stream.
    HolderMissing,
}
