//! Erasing a person: every code ends in the log, then the vault destroys what identifies the person (R28).

use alloc::vec;
use alloc::vec::Vec;

use super::{HolderState, Refusal, SlotState};
use crate::event::{Event, HolderErased};
use crate::standing::Standing;
use crate::time::Timestamp;

/// Decides an erasure.
///
/// # Errors
/// [`Refusal::NotRegistered`]; [`Refusal::OfficerNeeded`] while a code is held or the standing is not green.
pub fn decide(state: &HolderState, by_officer: bool, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    let held = state.slots.iter().any(|slot| slot.held);
    if !by_officer && (held || state.standing != Standing::Green) {
        return Err(Refusal::OfficerNeeded);
    }
    let codes = state.all_alive(now).map(SlotState::code_ref).collect();
    Ok(vec![Event::HolderErased(HolderErased { codes, by_officer })])
}
