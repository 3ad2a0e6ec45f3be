//! An officer revokes a code permanently (R22). Its hold ends with it; the kind may be issued again.

use alloc::vec;
use alloc::vec::Vec;

use super::{HolderState, Refusal};
use crate::event::{CodeRevoked, Event, Sealed, Slot};
use crate::time::Timestamp;

/// Decides a revocation; `reason` is the officer's reason, already sealed.
///
/// # Errors
/// [`Refusal::NotRegistered`], [`Refusal::NoValidCode`].
pub fn decide(state: &HolderState, slot: Slot, reason: Sealed, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    let code = state.alive(slot, now).ok_or(Refusal::NoValidCode)?.code_ref();
    Ok(vec![Event::CodeRevoked(CodeRevoked { code, reason })])
}
