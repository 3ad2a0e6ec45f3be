//! The rules R18–R25 in the order of R23.

use super::verdict::{Reason, Verdict};
use crate::claims::CodeClaims;
use crate::policy::{Acceptance, KindPolicy, PlacePolicy};
use crate::standing::Standing;
use crate::status::{Death, Life, Status};
use crate::time::Timestamp;

/// What the phone's proof was found to be (R16), checked before judging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProofState {
    /// None was shown, or the code is bound to no phone.
    Absent,
    /// Signed by another key than the code's, or not well formed.
    BadSignature,
    /// Signed rightly, but too old or too far ahead.
    Stale,
    /// Signed rightly and just now.
    Fresh,
}

/// What the check of an ID card against the code's commitment gave (R19).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdCheck {
    /// No card was read.
    None,
    /// The card belongs to the code's holder.
    Match,
    /// It does not.
    Mismatch,
}

/// How much of the log a verdict rests on, and how old that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Knowledge {
    /// Milliseconds since the knowledge was known to be complete, on the verifier's monotonic clock.
    pub age_ms: u64,
    /// Every code issued before this instant is known. One issued in this very second or later may just not have
    /// arrived (R24): times are whole seconds, so the second in which the knowledge ends is known in part only.
    pub reaches: Timestamp,
    /// Whether the wall clock can be trusted (it did not jump back).
    pub clock_trusted: bool,
    /// Whether the whole log is followed, claim for claim; a gate that has only lists cannot tell a forgery
    /// by a compromised key from a code that it has not heard of (R25).
    pub whole_log: bool,
    /// Whether the key that signed is marked compromised.
    pub key_compromised: bool,
}

/// Everything that one verdict rests on.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The token's claims, its signature checked.
    pub claims: &'a CodeClaims,
    /// The policy of its kind.
    pub kind: &'a KindPolicy,
    /// What the projection says.
    pub status: Status,
    /// What the phone's proof was found to be.
    pub proof: ProofState,
    /// What the ID card was found to be.
    pub id_check: IdCheck,
}

/// What a place answers to the resident ID card itself (no code shown).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdCardEvidence {
    /// Standing of the card's holder; a person unknown to the city counts as green (R21).
    pub standing: Standing,
}

/// Judges one scan of a code.
#[must_use]
pub fn judge(evidence: &Evidence<'_>, place: &PlacePolicy, knowledge: &Knowledge, now: Timestamp) -> Verdict {
    first_reason(evidence, place, knowledge, now).verdict()
}

/// Judges an ID card shown instead of a code.
#[must_use]
pub fn judge_id_card(evidence: IdCardEvidence, place: &PlacePolicy, knowledge: &Knowledge) -> Verdict {
    let reason = if !place.accepts_id_card {
        Reason::KindNotAcceptedHere
    } else if knowledge.age_ms > place.max_knowledge_age_ms {
        Reason::TooStale
    } else {
        standing_reason(place, evidence.standing).unwrap_or(Reason::Ok)
    };
    reason.verdict()
}

fn first_reason(evidence: &Evidence<'_>, place: &PlacePolicy, knowledge: &Knowledge, now: Timestamp) -> Reason {
    let claims = evidence.claims;
    if evidence.proof == ProofState::BadSignature {
        return Reason::BadSignature;
    }
    if !knowledge.clock_trusted {
        return Reason::ClockUntrusted;
    }
    if now < claims.issued_at {
        return Reason::NotYetValid;
    }
    if now >= claims.expires_at {
        return Reason::Expired;
    }
    let Some(acceptance) = place.acceptance(claims.kind) else {
        return Reason::KindNotAcceptedHere;
    };
    let standing = match known_life(evidence.status, place, knowledge, claims.issued_at) {
        Ok(standing) => standing,
        Err(reason) => return reason,
    };
    if let Some(reason) = standing_reason(place, standing) {
        return reason;
    }
    if let Some(reason) = proof_reason(evidence) {
        return reason;
    }
    match (acceptance, evidence.id_check) {
        // A card that was read and is another person's refuses wherever the code can tell (R19).
        (_, IdCheck::Mismatch) => Reason::IdMismatch,
        (Acceptance::AfterIdCheck, IdCheck::None) => Reason::IdCheckRequired,
        (Acceptance::AfterIdCheck, IdCheck::Match) | (Acceptance::Admit, _) => Reason::Ok,
    }
}

/// The standing of a living code, or the first reason why it is none: dead as far as known, then whether the
/// knowledge suffices to say more, then unknown, then held.
fn known_life(
    status: Status,
    place: &PlacePolicy,
    knowledge: &Knowledge,
    issued_at: Timestamp,
) -> Result<Standing, Reason> {
    if let Status::Issued {
        life: Life::Dead(death),
        ..
    } = status
    {
        return Err(match death {
            Death::Superseded => Reason::Superseded,
            Death::ReportedLost => Reason::ReportedLost,
            Death::Revoked => Reason::Revoked,
        });
    }
    if knowledge.age_ms > place.max_knowledge_age_ms || (knowledge.key_compromised && !knowledge.whole_log) {
        return Err(Reason::TooStale);
    }
    match status {
        Status::NeverIssued if issued_at >= knowledge.reaches => Err(Reason::TooStale),
        Status::NeverIssued | Status::OtherClaims => Err(Reason::UnknownCode),
        Status::Issued {
            life: Life::Suspended, ..
        } => Err(Reason::Suspended),
        Status::Issued { standing, .. } => Ok(standing),
    }
}

fn standing_reason(place: &PlacePolicy, standing: Standing) -> Option<Reason> {
    match standing {
        Standing::Red if place.standing_counts => Some(Reason::StandingRed),
        Standing::Yellow if place.standing_counts => Some(Reason::StandingYellow),
        _ => None,
    }
}

fn proof_reason(evidence: &Evidence<'_>) -> Option<Reason> {
    if !evidence.kind.device_bound {
        return None;
    }
    match evidence.proof {
        ProofState::Fresh => None,
        ProofState::Stale => Some(Reason::StaleProof),
        ProofState::Absent | ProofState::BadSignature => Some(Reason::MissingProof),
    }
}
