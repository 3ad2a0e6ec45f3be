//! A person's name is corrected. Codes stay as they are: a token holds no name.

use alloc::vec;
use alloc::vec::Vec;

use super::{HolderState, Refusal};
use crate::event::{Event, HolderRenamed, Sealed};
use crate::ids::NameChangeId;

/// Decides a correction; the new name stands in the vault under `change`, `reason` is already sealed.
///
/// # Errors
/// [`Refusal::NotRegistered`].
pub fn decide(state: &HolderState, change: NameChangeId, reason: Sealed) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    Ok(vec![Event::HolderRenamed(HolderRenamed { change, reason })])
}
