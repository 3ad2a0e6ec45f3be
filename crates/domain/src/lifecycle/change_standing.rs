//! A change of standing by the health authority applies to every valid code of the holder, in one event (R21).

use alloc::vec;
use alloc::vec::Vec;

use super::{HolderState, Refusal, SlotState};
use crate::event::{Event, Sealed, StandingChanged};
use crate::standing::Standing;
use crate::time::Timestamp;

/// Decides a change of standing; returns no events if the standing is already that.
///
/// # Errors
/// [`Refusal::NotRegistered`].
pub fn decide(state: &HolderState, standing: Standing, reason: Sealed, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    if state.standing == standing {
        return Ok(Vec::new());
    }
    let codes = state.all_alive(now).map(SlotState::code_ref).collect();
    Ok(vec![Event::StandingChanged(StandingChanged {
        standing,
        codes,
        reason,
    })])
}
