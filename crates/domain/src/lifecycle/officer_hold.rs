//! An officer's hold (R22): during a hold the code is refused, and the kind can be neither issued, reissued nor
//! reprinted, only reported lost. The hold is on the slot, so that reporting the held code lost does not
//! circumvent it.

use alloc::vec;
use alloc::vec::Vec;

use super::{HolderState, Refusal};
use crate::event::{CodeReinstated, CodeSuspended, Event, Sealed, Slot};
use crate::time::Timestamp;

/// Decides a hold; returns no events if the slot is already on hold.
///
/// # Errors
/// [`Refusal::NotRegistered`], [`Refusal::NoValidCode`].
pub fn decide_suspend(state: &HolderState, slot: Slot, reason: Sealed, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    let code = state.alive(slot, now).ok_or(Refusal::NoValidCode)?;
    if code.held {
        return Ok(Vec::new());
    }
    Ok(vec![Event::CodeSuspended(CodeSuspended {
        code: code.code_ref(),
        reason,
    })])
}

/// Decides to lift a hold; returns no events if a valid code is not on hold.
///
/// # Errors
/// [`Refusal::NotRegistered`], [`Refusal::NoValidCode`] if there is neither a hold nor a valid code.
pub fn decide_reinstate(
    state: &HolderState,
    slot: Slot,
    reason: Sealed,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    let known = state.slot(slot).ok_or(Refusal::NoValidCode)?;
    let alive = known.is_alive(now);
    match (known.held, alive) {
        (false, true) => Ok(Vec::new()),
        (false, false) => Err(Refusal::NoValidCode),
        (true, _) => {
            let code = alive.then(|| known.code_ref());
            Ok(vec![Event::CodeReinstated(CodeReinstated { slot, code, reason })])
        }
    }
}
