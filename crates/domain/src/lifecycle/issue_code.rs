//! Issuing a code, or replacing a valid one (R3–R5, R7–R13, R16, R21, R22).

use jiff::civil::Date;

use super::{HolderState, MAX_SLOTS, Refusal, guardian_right};
use crate::event::{CodeIssued, CodeRef, EligibilityGround, Sealed, Slot};
use crate::ids::{ClaimsDigest, CodeId, HolderId, KeyId, StatusRef};
use crate::policy::{ChannelAct, ChannelPolicy, EligibilityRule, KindPolicy};
use crate::standing::Standing;
use crate::time::{Timestamp, full_years};

/// The command.
#[derive(Clone, Copy, Debug)]
pub struct IssueCode<'a> {
    /// The kind.
    pub kind: &'a KindPolicy,
    /// The channel at which it is requested.
    pub channel: &'a ChannelPolicy,
    /// The family member who requests it; `None` for the holder.
    pub guardian: Option<HolderId>,
    /// The facts on which eligibility is decided.
    pub person: PersonFacts,
}

/// The facts on which eligibility is decided (R12), from the vault and the channel's attestation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PersonFacts {
    /// The birth date in the ID number.
    pub birth_date: Date,
    /// The local date of `now` in the policy's time zone.
    pub today: Date,
    /// The disability certificate was attested.
    pub disability: bool,
    /// Membership of a special group of the policy was attested.
    pub group: bool,
}

/// The random draws and the leased index of one issue, made before the decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IssueDraw {
    /// The new code's id.
    pub code_id: CodeId,
    /// Its index in a status list of this kind and expiry window.
    pub status: StatusRef,
}

/// A code that was decided but whose token is not signed yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnsignedCode {
    /// The new code.
    pub code: CodeRef,
    /// Start of validity, inclusive.
    pub issued_at: Timestamp,
    /// Expiry, exclusive.
    pub expires_at: Timestamp,
    /// The valid code that this one replaces.
    pub supersedes: Option<CodeRef>,
    standing: Standing,
    ground: EligibilityGround,
    acting_guardian: Option<HolderId>,
}

/// A granted issue before the draws: slot and validity. The draws need the expiry, which selects the status
/// list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The slot.
    pub slot: Slot,
    /// Start of validity, inclusive.
    pub issued_at: Timestamp,
    /// Expiry, exclusive.
    pub expires_at: Timestamp,
    ground: EligibilityGround,
}

/// Checks the request before anything is drawn, so that a refusal uses up no index.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn grant(state: &HolderState, command: &IssueCode<'_>, now: Timestamp) -> Result<Grant, Refusal> {
    if !state.is_known() {
        return Err(Refusal::NotRegistered);
    }
    let kind = command.kind;
    if !command.channel.may(ChannelAct::Issue, kind.kind) {
        return Err(Refusal::ChannelNotAllowed);
    }
    let slot = guardian_right::slot_for(state, kind, command.guardian, now)?;
    if state.slot(slot).is_none() && state.slots.len() >= MAX_SLOTS {
        return Err(Refusal::TooMany);
    }
    if state.slot(slot).is_some_and(|state| state.held) {
        return Err(Refusal::OnHold);
    }
    if state.alive(slot, now).is_some() && !command.channel.may(ChannelAct::Reissue, kind.kind) {
        return Err(Refusal::ChannelNotAllowed);
    }
    let ground = eligibility(&kind.eligibility, &command.person).ok_or(Refusal::NotEligible)?;
    Ok(Grant {
        slot,
        issued_at: now,
        expires_at: now.plus_seconds(kind.validity_seconds),
        ground,
    })
}

/// Decides the issue, given its draws.
///
/// # Errors
/// As [`grant`].
pub fn decide(
    state: &HolderState,
    command: &IssueCode<'_>,
    draw: IssueDraw,
    now: Timestamp,
) -> Result<UnsignedCode, Refusal> {
    let grant = grant(state, command, now)?;
    Ok(UnsignedCode {
        code: CodeRef {
            slot: grant.slot,
            code_id: draw.code_id,
            status: draw.status,
        },
        issued_at: grant.issued_at,
        expires_at: grant.expires_at,
        supersedes: state.alive(grant.slot, now).map(super::SlotState::code_ref),
        standing: state.standing,
        ground: grant.ground,
        acting_guardian: command.guardian,
    })
}

impl UnsignedCode {
    /// Builds the event, after the token was signed and sealed.
    #[must_use]
    pub fn into_event(self, key_id: KeyId, claims_digest: ClaimsDigest, sealed_token: Sealed) -> CodeIssued {
        CodeIssued {
            code: self.code,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            supersedes: self.supersedes,
            standing: self.standing,
            ground: self.ground,
            acting_guardian: self.acting_guardian,
            key_id,
            claims_digest,
            sealed_token,
        }
    }
}

fn eligibility(rules: &[EligibilityRule], person: &PersonFacts) -> Option<EligibilityGround> {
    if rules.is_empty() {
        return Some(EligibilityGround::Everyone);
    }
    let age = full_years(person.birth_date, person.today);
    rules.iter().find_map(|rule| match *rule {
        EligibilityRule::Under(limit) => age.filter(|age| *age < limit).map(|_| EligibilityGround::Under),
        EligibilityRule::From(limit) => age.filter(|age| *age >= limit).map(|_| EligibilityGround::From),
        EligibilityRule::Disability => person.disability.then_some(EligibilityGround::Disability),
        EligibilityRule::Group => person.group.then_some(EligibilityGround::Group),
    })
}
