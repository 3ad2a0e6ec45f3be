//! Correcting a person's name. Codes stay as they are: a token contains no name.

use alloc::vec;
use alloc::vec::Vec;

use super::{HolderState, Refusal};
use crate::event::{Event, HolderRenamed, Sealed};
use crate::ids::NameChangeId;

/// Decides a correction. The vault already has the new name under `change`, and `reason` is already sealed.
///
/// # Errors
/// [`Refusal::NotRegistered`].
pub fn decide(state: &HolderState, change: NameChangeId, reason: Sealed) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    Ok(vec![Event::HolderRenamed(HolderRenamed { change, reason })])
}
