//! Protocol violations in the log that a fold reports.

use citycode_domain::ids::{ListId, StatusRef};

/// A protocol violation in a commit: something that a correct writer never appends. The rest of the commit was folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// A second code was issued at an index. The index keeps the first one; the second is reported as other
    /// claims (R25).
    IndexTakenTwice(StatusRef),
    /// An event refers to a code in a list of another partition than its commit's, or in a list that was never
    /// leased. The code is unchanged.
    ListOfOtherPartition(StatusRef),
    /// A list was leased in another partition than its lease names. The lease is ignored.
    LeaseOfOtherPartition(ListId),
    /// A later lease contradicts the first one about what a list contains. The first one counts.
    LeasedAsAnother(ListId),
    /// A code was issued at or beyond [`super::MAX_LIST_LEN`]. It counts as never issued.
    IndexOutOfRange(StatusRef),
    /// An event refers to a code that was never issued.
    CodeNeverIssued(StatusRef),
    /// A declaration refers to a foreign message that does not exist at this sequence of its partition. The
    /// declaration is ignored.
    NothingToDeclare(u64),
    /// A change of standing or an erasure is outside of any holder's stream.
    HolderMissing,
}
