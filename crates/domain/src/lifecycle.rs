//! How a holder's codes live: commands are decided on a [`HolderState`], events evolve it.
//!
//! One file per command, each a pure function `decide(state, command…, now) → events or a refusal`. A refusal is
//! a value, not an error: the rules were able to decide. [`HolderState::apply`] is the only way that state moves,
//! in the writer's register, in a replay and in tests alike.

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

/// Why the rules forbid a command. Each has its stable code in the outside's contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Nobody of this number is registered, or was erased.
    NotRegistered,
    /// There is no valid code to act on.
    NoValidCode,
    /// The holder meets no ground of eligibility (R12).
    NotEligible,
    /// The policy does not let this channel do this in this kind.
    ChannelNotAllowed,
    /// No relationship is recorded between guardian and holder (R13, R17).
    RelationshipUnknown,
    /// The guardian holds no valid family code for the holder (R9).
    FamilyCodeRequired,
    /// An officer holds the kind (R22).
    OnHold,
    /// The kind is had through no guardian, only by the holder.
    HolderOnly,
    /// The kind is a guardian's, and none was named.
    GuardianNeeded,
    /// Nobody is their own guardian.
    OwnGuardian,
    /// Erasing needs an officer while a code is held or the standing is not green (R28).
    OfficerNeeded,
    /// More slots, relationships or guardians than one holder may have.
    TooMany,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRegistered => "the person is not registered",
            Self::NoValidCode => "there is no valid code of this kind",
            Self::NotEligible => "the person meets no ground on which this kind may be had",
            Self::ChannelNotAllowed => "the policy does not let this channel do this",
            Self::RelationshipUnknown => "no relationship is recorded between the two",
            Self::FamilyCodeRequired => "the family member holds no valid family code for this person",
            Self::OnHold => "an officer holds this kind for the person",
            Self::HolderOnly => "this kind is had by the holder only, not through a family member",
            Self::GuardianNeeded => "this kind is shown by a family member, and none was named",
            Self::OwnGuardian => "a person cannot be their own family member",
            Self::OfficerNeeded => "while a code is held or the standing is not green, erasing needs an officer",
            Self::TooMany => "the person has reached the greatest number of relationships, or of codes through them",
        })
    }
}

/// The most relationships a holder may have; bounds the state of one holder.
pub const MAX_GUARDIANS: usize = 16;

/// The most slots a holder may ever have had; bounds the state of one holder where guardians come and go.
pub const MAX_SLOTS: usize = 64;
