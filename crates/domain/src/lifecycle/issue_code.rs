//! Issuing a code, or a new one in the place of a valid one (R3–R5, R7–R13, R16, R21, R22).

use jiff::civil::Date;

use super::{HolderState, MAX_SLOTS, Refusal, guardian_right};
use crate::event::{CodeIssued, CodeRef, EligibilityGround, Sealed, Slot};
use crate::ids::{ClaimsDigest, CodeId, HolderId, KeyId, StatusRef};
use crate::policy::{ChannelAct, ChannelPolicy, EligibilityRule, KindPolicy};
use crate::standing::Standing;
use crate::time::{Timestamp, full_years};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct IssueCode<'a> {
    /// The kind.
    pub kind: &'a KindPolicy,
    /// Where it is asked.
    pub channel: &'a ChannelPolicy,
    /// The family member who asks, if not the holder.
    pub guardian: Option<HolderId>,
    /// What eligibility is judged on.
    pub person: PersonFacts,
}

/// What eligibility is judged on (R12), from the vault and the channel's attestation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PersonFacts {
    /// From the ID number.
    pub birth_date: Date,
    /// The local date of `now` in the policy's time zone.
    pub today: Date,
    /// The disability certificate was attested.
    pub disability: bool,
    /// Membership of a special group of the policy was attested.
    pub group: bool,
}

/// The random draws and the lease of one issue, made before the decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IssueDraw {
    /// The new code's id.
    pub code_id: CodeId,
    /// Its place in a status list, of this kind and expiry.
    pub status: StatusRef,
}

/// A code that may be born: everything but the signed token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeBirth {
    /// The newborn.
    pub code: CodeRef,
    /// Valid from.
    pub issued_at: Timestamp,
    /// Dead from.
    pub expires_at: Timestamp,
    /// The valid code that dies by it.
    pub supersedes: Option<CodeRef>,
    standing: Standing,
    ground: EligibilityGround,
    acting_guardian: Option<HolderId>,
}

/// A granted issue, before the draws: which slot, and until when. Draws need the expiry (the list's window).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The slot.
    pub slot: Slot,
    /// Valid from.
    pub issued_at: Timestamp,
    /// Dead from.
    pub expires_at: Timestamp,
    ground: EligibilityGround,
}

/// Judges the request without drawing anything, so that a refusal spends no index.
///
/// # Errors
/// The first [`Refusal`] that speaks.
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

/// Decides the issue with its draws.
///
/// # Errors
/// As [`grant`].
pub fn decide(
    state: &HolderState,
    command: &IssueCode<'_>,
    draw: IssueDraw,
    now: Timestamp,
) -> Result<CodeBirth, Refusal> {
    let grant = grant(state, command, now)?;
    Ok(CodeBirth {
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

impl CodeBirth {
    /// The event of the birth, once the token has been signed and sealed.
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
