//! Registering a resident. Registering again changes nothing (R3).

use alloc::vec;
use alloc::vec::Vec;

use super::HolderState;
use crate::event::{Event, HolderRegistered};
use crate::ids::HolderId;

/// Decides a registration: one event the first time, none afterwards.
#[must_use]
pub fn decide(state: &HolderState, holder: HolderId) -> Vec<Event> {
    if state.registered {
        Vec::new()
    } else {
        vec![Event::HolderRegistered(HolderRegistered { holder })]
    }
}
