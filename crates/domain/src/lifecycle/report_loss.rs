//! A loss report ends every print of the code. It needs the person, not the code (R14, R15).

use alloc::vec;
use alloc::vec::Vec;

use super::{HolderState, Refusal, guardian_right};
use crate::event::{CodeReportedLost, Event};
use crate::ids::HolderId;
use crate::policy::{ChannelAct, ChannelPolicy, KindPolicy};
use crate::time::Timestamp;

/// Decides a loss report. A code on hold can be reported lost too; the hold on the kind stays (R22).
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn decide(
    state: &HolderState,
    kind: &KindPolicy,
    channel: &ChannelPolicy,
    guardian: Option<HolderId>,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    if !channel.may(ChannelAct::ReportLoss, kind.kind) {
        return Err(Refusal::ChannelNotAllowed);
    }
    let slot = guardian_right::slot_for(state, kind, guardian, now)?;
    let code = state.alive(slot, now).ok_or(Refusal::NoValidCode)?.code_ref();
    Ok(vec![Event::CodeReportedLost(CodeReportedLost {
        code,
        acting_guardian: guardian,
    })])
}
