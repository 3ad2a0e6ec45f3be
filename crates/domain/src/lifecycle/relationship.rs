//! Recording and ending a family relationship, in the dependent's stream (R13, R17).

use alloc::vec;
use alloc::vec::Vec;

use super::{HolderState, MAX_GUARDIANS, Refusal};
use crate::event::{Event, RelationshipEnded, RelationshipRecorded};
use crate::ids::HolderId;
use crate::time::Timestamp;

/// Decides to record that `guardian` may act for `dependent`; returns no events if that is already recorded.
///
/// # Errors
/// [`Refusal::NotRegistered`], [`Refusal::OwnGuardian`], [`Refusal::TooMany`].
pub fn decide_record(state: &HolderState, dependent: HolderId, guardian: HolderId) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    if dependent == guardian {
        return Err(Refusal::OwnGuardian);
    }
    if state.has_guardian(guardian) {
        return Ok(Vec::new());
    }
    if state.guardians.len() >= MAX_GUARDIANS {
        return Err(Refusal::TooMany);
    }
    Ok(vec![Event::RelationshipRecorded(RelationshipRecorded { guardian })])
}

/// Decides to end the relationship and the codes that depend on it.
///
/// # Errors
/// [`Refusal::NotRegistered`], [`Refusal::RelationshipUnknown`].
pub fn decide_end(state: &HolderState, guardian: HolderId, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    if !state.has_guardian(guardian) {
        return Err(Refusal::RelationshipUnknown);
    }
    let codes = state
        .all_alive(now)
        .filter(|code| code.slot.guardian == Some(guardian))
        .map(super::SlotState::code_ref)
        .collect();
    Ok(vec![Event::RelationshipEnded(RelationshipEnded { guardian, codes })])
}
