//! The life of one code: its issue and every change of its status, with positions.

use citycode_domain::ids::{CodeId, CodeKind, KeyId, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::status::Status;
use citycode_domain::time::Timestamp;
use citycode_projection::status::{CodeState, StatusChange};

use crate::lives::Lives;

/// A change of a code's status in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LifeChange {
    /// The sequence of its commit in the code's partition.
    pub sequence: u64,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The change.
    pub change: StatusChange,
    /// The type of the event that made it.
    pub event: &'static str,
}

/// One issued code, as a view into the timeline.
#[derive(Clone, Copy, Debug)]
pub struct CodeLife<'a> {
    /// The code.
    pub code_id: CodeId,
    /// Its kind.
    pub kind: CodeKind,
    /// Its place in a status list.
    pub place: StatusRef,
    /// Start of its validity, inclusive.
    pub issued_at: Timestamp,
    /// Its expiry, exclusive.
    pub expires_at: Timestamp,
    /// The key that signed it.
    pub key_id: KeyId,
    /// The first half of the digest of its claims, which is all that scan records have.
    pub claims: [u8; 16],
    /// The position of its issue.
    pub issued: Position,
    /// When the issue was decided.
    pub decided_at: Timestamp,
    /// The holder's standing at issue.
    pub(crate) standing: Standing,
    /// In the order of the log.
    pub(crate) changes: Changes<'a>,
}

impl<'a> CodeLife<'a> {
    /// The changes up to and including a sequence of the code's partition, in the order of the log.
    pub fn changes_up_to(&self, sequence: u64) -> impl Iterator<Item = LifeChange> + use<'a> {
        self.changes.take_while(move |change| change.sequence <= sequence)
    }

    /// The changes that were decided up to and including an instant, in the order of the log.
    pub fn changes_up_to_instant(&self, at: Timestamp) -> impl Iterator<Item = LifeChange> + use<'a> {
        // Within a holder's stream, which has all changes of a code, the times never decrease.
        self.changes.take_while(move |change| change.decided_at <= at)
    }

    /// The status of the code as of a sequence of its partition.
    #[must_use]
    pub fn status_at(&self, sequence: u64) -> Status {
        if self.issued.sequence.0 > sequence {
            return Status::NeverIssued;
        }
        status_after(self.standing, self.changes_up_to(sequence))
    }

    /// The status of the code at an instant, by the times at which the changes were decided.
    #[must_use]
    pub fn status_at_instant(&self, at: Timestamp) -> Status {
        if self.decided_at > at {
            return Status::NeverIssued;
        }
        status_after(self.standing, self.changes_up_to_instant(at))
    }
}

/// The changes of a code, in the order of the log.
#[derive(Clone, Copy)]
pub(crate) struct Changes<'a> {
    lives: &'a Lives,
    next: Option<u32>,
    last: u32,
}

impl std::fmt::Debug for Changes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl<'a> Changes<'a> {
    /// The changes that end with this one.
    pub(crate) fn of(lives: &'a Lives, last: u32) -> Self {
        let next = lives.first_change(last);
        Self { lives, next, last }
    }
}

impl Iterator for Changes<'_> {
    type Item = LifeChange;

    fn next(&mut self) -> Option<LifeChange> {
        let number = self.next?;
        let (change, next) = self.lives.change_of(number);
        self.next = (number != self.last).then_some(next);
        Some(change)
    }
}

fn status_after(standing: Standing, changes: impl Iterator<Item = LifeChange>) -> Status {
    let issued = CodeState::issued(standing);
    let (life, standing) = changes.fold(issued, |state, change| state.after(change.change)).get();
    Status::Issued { life, standing }
}
