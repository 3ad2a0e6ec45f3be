//! The lifecycle of a holder's codes: commands are decided on a [`HolderState`], and events change it.
//!
//! There is one file per command, each with a pure function `decide(state, command…, now) → events or a
//! refusal`. A refusal is a value, not an error: the rules could decide. [`HolderState::apply`] is the only
//! function that changes state, in the writer's register, in a replay and in tests alike.

pub mod change_standing;
pub mod erase_holder;
pub mod guardian_right;
pub mod issue_code;
pub mod officer_hold;
pub mod register_holder;
pub mod relationship;
pub mod rename_holder;
pub mod report_loss;
pub mod reprint_code;
pub mod revoke_code;
pub mod state;

pub use state::{HeldCode, HolderState, SlotState};

use core::fmt;

/// Why the rules forbid a command. Each refusal has a stable `code` in the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No holder is registered for this person, or the holder was erased.
    NotRegistered,
    /// There is no valid code for the command.
    NoValidCode,
    /// The holder meets no condition of eligibility (R12).
    NotEligible,
    /// The policy does not allow this action in this kind at this channel.
    ChannelNotAllowed,
    /// No relationship is recorded between guardian and holder (R13, R17).
    RelationshipUnknown,
    /// The guardian holds no valid family code for the holder (R9).
    FamilyCodeRequired,
    /// An officer put the kind on hold (R22).
    OnHold,
    /// Only the holder may get this kind, not a guardian.
    HolderOnly,
    /// The kind is per guardian, and no guardian was named.
    GuardianNeeded,
    /// A person cannot be their own guardian.
    OwnGuardian,
    /// Erasure needs an officer while a code is on hold or the standing is not green (R28).
    OfficerNeeded,
    /// The holder has reached the limit of slots, relationships or guardians.
    TooMany,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRegistered => "the person is not registered",
            Self::NoValidCode => "there is no valid code of this kind",
            Self::NotEligible => "the person does not meet the conditions for a code of this kind",
            Self::ChannelNotAllowed => "the policy does not allow this at this channel",
            Self::RelationshipUnknown => "no relationship is recorded between the two persons",
            Self::FamilyCodeRequired => "the family member has no valid family code for this person",
            Self::OnHold => "an officer put this kind on hold for the person",
            Self::HolderOnly => "only the holder can get a code of this kind, not a family member",
            Self::GuardianNeeded => "a code of this kind belongs to a family member, and none was named",
            Self::OwnGuardian => "a person cannot be their own family member",
            Self::OfficerNeeded => "erasure needs an officer while a code is on hold or the standing is not green",
            Self::TooMany => "the person has reached the limit of relationships, or of codes obtained through them",
        })
    }
}

/// Limit of guardians per holder; it bounds the size of one holder's state.
pub const MAX_GUARDIANS: usize = 16;

/// Limit of slots per holder over time; it bounds the size of one holder's state when guardians come and go.
pub const MAX_SLOTS: usize = 64;
