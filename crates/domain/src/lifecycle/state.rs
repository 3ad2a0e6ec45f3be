//! The state of one holder, folded from its events.

use alloc::vec::Vec;

use crate::event::{CodeIssued, CodeRef, Event, Slot};
use crate::ids::{CodeId, HolderId, Position, StatusRef};
use crate::standing::Standing;
use crate::status::Death;
use crate::time::Timestamp;

/// Everything that a decision about one holder is based on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HolderState {
    /// Whether the holder was ever registered.
    pub registered: bool,
    /// Whether the holder was erased; this is permanent.
    pub erased: bool,
    /// The standing that the health authority set.
    pub standing: Standing,
    /// One entry for each slot that has ever had a code, in the order of first issue.
    pub slots: Vec<SlotState>,
    /// The persons who may act for the holder, in the order of recording.
    pub guardians: Vec<HolderId>,
    /// The time of the last decision; later decisions must not have an earlier time.
    pub last_decided_at: Timestamp,
}

/// The state of one slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotState {
    /// The slot.
    pub slot: Slot,
    /// The last code issued in the slot, valid or not.
    pub code: HeldCode,
    /// Whether an officer put the slot on hold. The hold outlasts the code: reporting a held code lost does not
    /// lift it (R22).
    pub held: bool,
}

/// The last code of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldCode {
    /// The code.
    pub code_id: CodeId,
    /// The status list that contains the code, and its index there.
    pub status: StatusRef,
    /// Start of validity, inclusive.
    pub issued_at: Timestamp,
    /// Expiry, exclusive.
    pub expires_at: Timestamp,
    /// Position of its `CodeIssued` in the log, from which a reprint reads the token (R6).
    pub issued_position: Position,
    /// Why it ended before its expiry; `None` if it has not.
    pub death: Option<Death>,
}

impl SlotState {
    /// The code as events refer to it.
    #[must_use]
    pub fn code_ref(&self) -> CodeRef {
        CodeRef {
            slot: self.slot,
            code_id: self.code.code_id,
            status: self.code.status,
        }
    }

    /// Whether the code has neither ended nor expired at `now`; a code on hold counts as alive.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.code.death.is_none() && now < self.code.expires_at
    }

    /// Whether the code is alive and not on hold at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.is_alive(now) && !self.held
    }
}

impl HolderState {
    /// Whether the holder is registered and not erased.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.registered && !self.erased
    }

    /// The state of a slot, if it has ever had a code.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Option<&SlotState> {
        self.slots.iter().find(|state| state.slot == slot)
    }

    /// The slot's code, if it has neither ended nor expired at `now`.
    #[must_use]
    pub fn alive(&self, slot: Slot, now: Timestamp) -> Option<&SlotState> {
        self.slot(slot).filter(|state| state.is_alive(now))
    }

    /// Every code that has neither ended nor expired at `now`.
    pub fn all_alive(&self, now: Timestamp) -> impl Iterator<Item = &SlotState> {
        self.slots.iter().filter(move |state| state.is_alive(now))
    }

    /// Whether a relationship with this guardian is recorded.
    #[must_use]
    pub fn has_guardian(&self, guardian: HolderId) -> bool {
        self.guardians.contains(&guardian)
    }

    /// Applies one event of the holder's stream.
    ///
    /// `position` is that of the event's commit and `decided_at` the commit's time. Events of other streams
    /// (leases, keys) change nothing.
    pub fn apply(&mut self, event: &Event, position: Position, decided_at: Timestamp) {
        self.last_decided_at = self.last_decided_at.max(decided_at);
        match event {
            Event::HolderRegistered(_) => self.registered = true,
            Event::RelationshipRecorded(recorded) => {
                if !self.has_guardian(recorded.guardian) {
                    self.guardians.push(recorded.guardian);
                }
            }
            Event::RelationshipEnded(ended) => {
                self.guardians.retain(|guardian| *guardian != ended.guardian);
                self.kill(&ended.codes, Death::Revoked);
            }
            Event::CodeIssued(issued) => self.apply_issued(issued, position),
            Event::CodeReportedLost(lost) => self.kill(core::slice::from_ref(&lost.code), Death::ReportedLost),
            Event::CodeRevoked(revoked) => {
                self.kill(core::slice::from_ref(&revoked.code), Death::Revoked);
                self.set_held(revoked.code.slot, false);
            }
            Event::CodeSuspended(suspended) => self.set_held(suspended.code.slot, true),
            Event::CodeReinstated(reinstated) => self.set_held(reinstated.slot, false),
            Event::StandingChanged(changed) => self.standing = changed.standing,
            Event::HolderErased(erased) => {
                self.erased = true;
                self.guardians.clear();
                self.kill(&erased.codes, Death::Revoked);
            }
            // Only the vault stores names.
            Event::HolderRenamed(_)
            | Event::IndexBlockLeased(_)
            | Event::IndexRangeRevoked(_)
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

    fn apply_issued(&mut self, issued: &CodeIssued, position: Position) {
        let code = HeldCode {
            code_id: issued.code.code_id,
            status: issued.code.status,
            issued_at: issued.issued_at,
            expires_at: issued.expires_at,
            issued_position: position,
            death: None,
        };
        match self.slots.iter_mut().find(|state| state.slot == issued.code.slot) {
            Some(state) => state.code = code,
            None => self.slots.push(SlotState {
                slot: issued.code.slot,
                code,
                held: false,
            }),
        }
    }

    fn kill(&mut self, codes: &[CodeRef], death: Death) {
        for dead in codes {
            if let Some(state) = self.slots.iter_mut().find(|state| state.code.code_id == dead.code_id) {
                state.code.death.get_or_insert(death);
            }
        }
    }

    fn set_held(&mut self, slot: Slot, held: bool) {
        if let Some(state) = self.slots.iter_mut().find(|state| state.slot == slot) {
            state.held = held;
        }
    }
}
