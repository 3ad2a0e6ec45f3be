//! A reprint returns the same code (R6). It only reads: there is no event and no new expiry.

use super::{HolderState, Refusal, SlotState, guardian_right};
use crate::ids::HolderId;
use crate::policy::{ChannelAct, ChannelPolicy, KindPolicy};
use crate::time::Timestamp;

/// Returns the code to print again.
///
/// # Errors
/// The first [`Refusal`] that applies; [`Refusal::OnHold`] while the kind is on hold (R22).
pub fn decide<'a>(
    state: &'a HolderState,
    kind: &KindPolicy,
    channel: &ChannelPolicy,
    guardian: Option<HolderId>,
    now: Timestamp,
) -> Result<&'a SlotState, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    if !channel.may(ChannelAct::Reprint, kind.kind) {
        return Err(Refusal::ChannelNotAllowed);
    }
    let slot = guardian_right::slot_for(state, kind, guardian, now)?;
    if state.slot(slot).is_some_and(|slot| slot.held) {
        return Err(Refusal::OnHold);
    }
    state.alive(slot, now).ok_or(Refusal::NoValidCode)
}
