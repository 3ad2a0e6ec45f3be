//! Judges a scan by the rules R18–R25, in the order of R23.

use super::verdict::{Reason, Verdict};
use crate::claims::CodeClaims;
use crate::policy::{Acceptance, KindPolicy, PlacePolicy};
use crate::standing::Standing;
use crate::status::{Death, Life, Status};
use crate::time::Timestamp;

/// The result of checking the phone's proof (R16), which happens before judging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProofState {
    /// No proof was shown, or the code is not bound to a phone.
    Absent,
    /// The proof is malformed, or another key than the code's signed it.
    BadSignature,
    /// The signature is valid, but the proof is too old or too far in the future.
    Stale,
    /// The signature is valid and the proof is recent.
    Fresh,
}

/// The result of checking an ID card against the code's commitment (R19).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdCheck {
    /// No card was read.
    None,
    /// The card belongs to the code's holder.
    Match,
    /// The card belongs to somebody else.
    Mismatch,
}

/// How much of the log a verdict is based on, and how old that knowledge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Knowledge {
    /// Milliseconds since the knowledge was last proved complete, on the verifier's monotonic clock.
    pub age_ms: u64,
    /// Every code issued before this instant is known. A code issued in this very second or later may not have
    /// arrived yet (R24): times are whole seconds, so the second in which the knowledge ends is only partly
    /// known.
    pub reaches: Timestamp,
    /// Whether the wall clock can be trusted (it has not jumped back).
    pub clock_trusted: bool,
    /// Whether the whole log is followed, including the digests of claims. A gate that has only status lists
    /// cannot distinguish a forgery made with a compromised key from a code that has not reached it yet (R25).
    pub whole_log: bool,
    /// Whether the signing key is marked compromised.
    pub key_compromised: bool,
}

/// Everything that one verdict is based on.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The token's claims; the signature has been checked.
    pub claims: &'a CodeClaims,
    /// The policy of the code's kind.
    pub kind: &'a KindPolicy,
    /// The code's status in the projection.
    pub status: Status,
    /// The result of checking the phone's proof.
    pub proof: ProofState,
    /// The result of checking the ID card.
    pub id_check: IdCheck,
}

/// The evidence for a resident ID card shown on its own, without a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdCardEvidence {
    /// Standing of the card's holder; a person who is not registered counts as green (R21).
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
        // A card that was read and belongs to somebody else is a refusal at every place, whether or not it asks
        // for a card (R19).
        (_, IdCheck::Mismatch) => Reason::IdMismatch,
        (Acceptance::AfterIdCheck, IdCheck::None) => Reason::IdCheckRequired,
        (Acceptance::AfterIdCheck, IdCheck::Match) | (Acceptance::Admit, _) => Reason::Ok,
    }
}

/// Returns the standing of a valid code, or the first reason why it is not valid. The order is: known to be
/// dead, knowledge too old, unknown, on hold.
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
