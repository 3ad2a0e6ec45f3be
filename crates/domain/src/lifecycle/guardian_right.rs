//! What a family member may do for a holder (R9, R13, R17).

use super::{HolderState, Refusal};
use crate::event::Slot;
use crate::ids::HolderId;
use crate::policy::{GuardianPolicy, KindPolicy};
use crate::time::Timestamp;

/// Returns the slot on which `guardian` (or, if `None`, the holder) may act in a kind.
///
/// # Errors
/// The [`Refusal`] that names the missing right.
pub fn slot_for(
    state: &HolderState,
    kind: &KindPolicy,
    guardian: Option<HolderId>,
    now: Timestamp,
) -> Result<Slot, Refusal> {
    let shared = Slot {
        kind: kind.kind,
        guardian: None,
    };
    match (kind.guardian, guardian) {
        (GuardianPolicy::PerGuardian, None) => Err(Refusal::GuardianNeeded),
        (GuardianPolicy::PerGuardian, Some(guardian)) if state.has_guardian(guardian) => Ok(Slot {
            kind: kind.kind,
            guardian: Some(guardian),
        }),
        (_, None) => Ok(shared),
        (GuardianPolicy::HolderOnly, Some(_)) => Err(Refusal::HolderOnly),
        (GuardianPolicy::WithRelationship, Some(guardian)) if state.has_guardian(guardian) => Ok(shared),
        (GuardianPolicy::PerGuardian | GuardianPolicy::WithRelationship, Some(_)) => Err(Refusal::RelationshipUnknown),
        (GuardianPolicy::WithValidCode(needed), Some(guardian)) => {
            let family = Slot {
                kind: needed,
                guardian: Some(guardian),
            };
            let holds = state.slot(family).is_some_and(|code| code.is_valid(now));
            if holds {
                Ok(shared)
            } else {
                Err(Refusal::FamilyCodeRequired)
            }
        }
    }
}
