//! What an event does to the status of codes: the one definition, which the projection of all codes and the replay of
//! single codes share.

use citycode_domain::event::{CodeRef, Event};
use citycode_domain::ids::ClaimsDigest;
use citycode_domain::standing::Standing;
use citycode_domain::status::{Death, Life};

use super::entry::Entry;

/// The effect of an event on one index of a status list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A code was issued there.
    Issue {
        /// The digest of its claims.
        claims: ClaimsDigest,
        /// The holder's standing.
        standing: Standing,
    },
    /// An effect on the code that is there.
    Change(StatusChange),
}

/// A change of the status of an issued code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusChange {
    /// It ended for good.
    End(Death),
    /// It was put on hold.
    Suspend,
    /// The hold was lifted.
    Reinstate,
    /// Its holder's standing changed.
    SetStanding(Standing),
}

impl StatusChange {
    /// Every change, in the order of their [numbers](Self::number).
    pub const ALL: [Self; 8] = [
        Self::End(Death::Superseded),
        Self::End(Death::ReportedLost),
        Self::End(Death::Revoked),
        Self::Suspend,
        Self::Reinstate,
        Self::SetStanding(Standing::Green),
        Self::SetStanding(Standing::Yellow),
        Self::SetStanding(Standing::Red),
    ];

    /// The number in stored forms, which never changes.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::End(Death::Superseded) => 0,
            Self::End(Death::ReportedLost) => 1,
            Self::End(Death::Revoked) => 2,
            Self::Suspend => 3,
            Self::Reinstate => 4,
            Self::SetStanding(standing) => 5 + standing.number(),
        }
    }
}

/// Calls `each` for every index whose status the event changes, in order. [`Event::IndexRangeRevoked`] is not included:
/// it concerns the indices without a code.
pub fn effects_of(event: &Event, mut each: impl FnMut(&CodeRef, Effect)) {
    if let Event::CodeIssued(issued) = event {
        // The old code ends before the new one starts, so that two are never valid at once, even under the lock.
        if let Some(old) = &issued.supersedes {
            each(old, Effect::Change(StatusChange::End(Death::Superseded)));
        }
        let (claims, standing) = (issued.claims_digest, issued.standing);
        return each(&issued.code, Effect::Issue { claims, standing });
    }
    let one = std::slice::from_ref;
    let mut all = |codes: &[CodeRef], change: StatusChange| {
        for code in codes {
            each(code, Effect::Change(change));
        }
    };
    match event {
        Event::CodeReportedLost(lost) => all(one(&lost.code), StatusChange::End(Death::ReportedLost)),
        Event::CodeRevoked(revoked) => all(one(&revoked.code), StatusChange::End(Death::Revoked)),
        Event::CodeSuspended(suspended) => all(one(&suspended.code), StatusChange::Suspend),
        Event::CodeReinstated(reinstated) => all(reinstated.code.as_slice(), StatusChange::Reinstate),
        Event::RelationshipEnded(ended) => all(&ended.codes, StatusChange::End(Death::Revoked)),
        Event::StandingChanged(changed) => all(&changed.codes, StatusChange::SetStanding(changed.standing)),
        Event::HolderErased(erased) => all(&erased.codes, StatusChange::End(Death::Revoked)),
        Event::CodeIssued(_)
        | Event::IndexRangeRevoked(_)
        | Event::IndexBlockLeased(_)
        | Event::HolderRegistered(_)
        | Event::RelationshipRecorded(_)
        | Event::HolderRenamed(_)
        | Event::ListNamesAdvanced(_)
        | Event::ForeignMessageDeclared(_)
        | Event::PolicyAdopted(_)
        | Event::ScanBatchesSealed(_)
        | Event::QueriesSealed(_)
        | Event::SigningKeyAdded(_)
        | Event::SigningKeyRetired(_)
        | Event::SigningKeyCompromised(_) => {}
    }
}

/// The standing that an event gives a holder, for ID cards (R21).
#[must_use]
pub fn standing_set_by(event: &Event) -> Option<Standing> {
    match event {
        Event::StandingChanged(changed) => Some(changed.standing),
        Event::HolderErased(_) => Some(Standing::Green),
        _ => None,
    }
}

impl Entry {
    /// The entry after a change.
    pub(super) const fn after(self, change: StatusChange) -> Self {
        match change {
            StatusChange::End(death) => self.killed(death),
            StatusChange::Suspend => self.suspended(),
            StatusChange::Reinstate => self.reinstated(),
            StatusChange::SetStanding(standing) => self.with_standing(standing),
        }
    }
}

/// The state of one issued code, folded from the changes of its status in the order of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeState(Entry);

impl CodeState {
    /// A code that was just issued.
    #[must_use]
    pub const fn issued(standing: Standing) -> Self {
        Self(Entry::issued(0, standing))
    }

    /// The state after a change.
    #[must_use]
    pub const fn after(self, change: StatusChange) -> Self {
        Self(self.0.after(change))
    }

    /// The value in a public status list (Token Status List, 2 bits): 0 valid, 1 invalid, 2 suspended.
    #[must_use]
    pub const fn two_bits(self) -> u8 {
        self.0.two_bits()
    }

    /// Whether it is valid, and its holder's standing.
    #[must_use]
    pub fn get(self) -> (Life, Standing) {
        self.0.state().unwrap_or((Life::Valid, Standing::Green))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_changes_and_standings_are_their_places() {
        for (number, change) in (0..).zip(StatusChange::ALL) {
            assert_eq!(change.number(), number);
        }
        for (number, standing) in (0..).zip(Standing::ALL) {
            assert_eq!(standing.number(), number);
        }
    }
}
