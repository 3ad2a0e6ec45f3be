//! The life of one code: its issue and every change of its status, with positions.

use citycode_domain::event::CodeIssued;
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, KeyId, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::status::Status;
use citycode_domain::time::Timestamp;
use citycode_projection::status::{CodeState, StatusChange};

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

/// One issued code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeLife {
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
    /// The digest of its claims.
    pub claims: ClaimsDigest,
    /// The position of its issue.
    pub issued: Position,
    /// When the issue was decided.
    pub decided_at: Timestamp,
    /// The holder's standing at issue.
    standing: Standing,
    /// In the order of the log.
    changes: Vec<LifeChange>,
}

impl CodeLife {
    pub(crate) fn new(event: &CodeIssued, issued: Position, decided_at: Timestamp) -> Self {
        Self {
            code_id: event.code.code_id,
            kind: event.code.slot.kind,
            place: event.code.status,
            issued_at: event.issued_at,
            expires_at: event.expires_at,
            key_id: event.key_id,
            claims: event.claims_digest,
            issued,
            decided_at,
            standing: event.standing,
            changes: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, change: LifeChange) {
        self.changes.push(change);
    }

    /// The changes up to and including a sequence of the code's partition, in the order of the log.
    #[must_use]
    pub fn changes_up_to(&self, sequence: u64) -> &[LifeChange] {
        let count = self.changes.partition_point(|change| change.sequence <= sequence);
        &self.changes[..count]
    }

    /// The changes that were decided up to and including an instant, in the order of the log.
    #[must_use]
    pub fn changes_up_to_instant(&self, at: Timestamp) -> &[LifeChange] {
        // Within a holder's stream, which has all changes of a code, the times never decrease.
        let count = self.changes.partition_point(|change| change.decided_at <= at);
        &self.changes[..count]
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

fn status_after(standing: Standing, changes: &[LifeChange]) -> Status {
    let issued = CodeState::issued(standing);
    let (life, standing) = changes
        .iter()
        .fold(issued, |state, change| state.after(change.change))
        .get();
    Status::Issued { life, standing }
}
