//! Recomputes the verdict of a scan record.

use citycode_domain::admission::{
    Evidence, IdCardEvidence, IdCheck, Knowledge, ProofState, Reason, Verdict, judge, judge_id_card,
};
use citycode_domain::claims::CodeClaims;
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, KeyId, Position};
use citycode_domain::policy::{KindPolicy, PlacePolicy, Policy};
use citycode_domain::standing::Standing;
use citycode_domain::status::{Death, Life, Status};
use citycode_domain::time::Timestamp;
use citycode_scan_records::{Basis, NotInLog, ScanRecord, ShownEvidence};

use crate::life::{CodeLife, LifeChange};
use crate::timeline::Timeline;

/// Why a verdict cannot be recomputed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum NotRecomputable {
    /// The record was written by an earlier release, or before the log had the policy.
    NoBasis,
    /// Nothing could be read, and the record does not contain what was shown.
    NothingRead,
    /// The policy is not in the log.
    UnknownPolicy,
    /// The policy has no such place.
    UnknownPlace,
    /// The policy has no such kind.
    UnknownKind,
    /// The code was issued in changes that the log lost, and its place was revoked afterwards.
    LostChanges,
}

impl NotRecomputable {
    /// The word for it in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoBasis => "no_basis",
            Self::NothingRead => "nothing_read",
            Self::UnknownPolicy => "unknown_policy",
            Self::UnknownPlace => "unknown_place",
            Self::UnknownKind => "unknown_kind",
            Self::LostChanges => "lost_changes",
        }
    }
}

/// A recomputed verdict and what it follows from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recomputed {
    /// The verdict.
    pub verdict: Verdict,
    /// The status that the log had of the code; `None` for an ID card.
    pub status: Option<Status>,
    /// Whether the knowledge was older than the place allows.
    pub stale_by_age: bool,
}

/// Recomputes the verdict of a record under the policy that it names.
///
/// # Errors
/// [`NotRecomputable`].
pub fn recompute(record: &ScanRecord, timeline: &Timeline) -> Result<Recomputed, NotRecomputable> {
    let basis = record.scan.basis.as_ref().ok_or(NotRecomputable::NoBasis)?;
    let policy = timeline.policy(basis.policy).ok_or(NotRecomputable::UnknownPolicy)?;
    judge_at(record, &policy.policy, timeline)
}

/// The verdict that a record leads to under any policy.
///
/// # Errors
/// [`NotRecomputable`].
pub fn judge_at(record: &ScanRecord, policy: &Policy, timeline: &Timeline) -> Result<Recomputed, NotRecomputable> {
    let scan = &record.scan;
    let basis = scan.basis.as_ref().ok_or(NotRecomputable::NoBasis)?;
    let place = policy.place(&scan.place).ok_or(NotRecomputable::UnknownPlace)?;
    match (basis.shown, scan.code_id) {
        (ShownEvidence::Card { standing }, _) => Ok(card(standing, place, basis)),
        (
            ShownEvidence::Code {
                claims,
                proof,
                id_check,
            },
            Some(code_id),
        ) => {
            let shown = ShownCode {
                code_id,
                claims: &claims,
                proof,
                id_check,
            };
            let as_of = AsOf::Position(scan.position);
            judge_code(&shown, policy, place, basis, (as_of, Timestamp(scan.at)), timeline)
        }
        _ => Err(NotRecomputable::NothingRead),
    }
}

/// Up to where a verdict knows the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// A position of the code's partition.
    Position(Position),
    /// Everything that was decided up to an instant.
    Instant(Timestamp),
}

impl AsOf {
    /// Whether the issue of a code is known.
    #[must_use]
    pub fn knows(self, life: &CodeLife<'_>) -> bool {
        match self {
            Self::Position(position) => {
                life.issued.partition == position.partition && life.issued.sequence <= position.sequence
            }
            Self::Instant(at) => life.decided_at <= at,
        }
    }

    /// The changes of a code that are known, in the order of the log.
    pub fn changes_of<'a>(self, life: &CodeLife<'a>) -> impl Iterator<Item = LifeChange> + use<'a> {
        life.changes.take_while(move |change| match self {
            Self::Position(position) => change.sequence <= position.sequence.0,
            Self::Instant(at) => change.decided_at <= at,
        })
    }

    fn status_of(self, life: &CodeLife<'_>) -> Status {
        match self {
            Self::Position(position) => life.status_at(position.sequence.0),
            Self::Instant(at) => life.status_at_instant(at),
        }
    }
}

/// A code with a valid signature, as it was shown.
#[derive(Clone, Copy, Debug)]
pub struct ShownCode<'a> {
    /// The code.
    pub code_id: CodeId,
    /// The first 16 bytes of the digest of its claims.
    pub claims: &'a [u8; 16],
    /// The result of checking the phone's proof.
    pub proof: ProofState,
    /// The result of comparing the ID card that was read with it.
    pub id_check: IdCheck,
}

fn card(standing: Standing, place: &PlacePolicy, basis: &Basis) -> Recomputed {
    Recomputed {
        verdict: judge_id_card(IdCardEvidence { standing }, place, &knowledge(basis)),
        status: None,
        stale_by_age: is_stale(basis, place),
    }
}

fn is_stale(basis: &Basis, place: &PlacePolicy) -> bool {
    knowledge(basis).age_ms > place.max_knowledge_age_ms
}

/// The verdict on a code that was shown at a place at an instant, on the log as of a position or an instant.
///
/// # Errors
/// [`NotRecomputable`].
pub fn judge_code(
    shown: &ShownCode<'_>,
    policy: &Policy,
    place: &PlacePolicy,
    basis: &Basis,
    (as_of, at): (AsOf, Timestamp),
    timeline: &Timeline,
) -> Result<Recomputed, NotRecomputable> {
    let life = timeline.life(shown.code_id).filter(|life| is_of(life, shown));
    if life.is_some_and(|life| !may_verify(&life, basis.keys_sequence, at, timeline)) {
        return Ok(Recomputed {
            verdict: Reason::BadSignature.verdict(),
            status: Some(Status::NeverIssued),
            stale_by_age: is_stale(basis, place),
        });
    }
    let known = life.filter(|life| as_of.knows(life));
    let (claims, status) = match (known, life, &basis.not_in_log) {
        (Some(life), _, _) => (claims_of(&life), as_of.status_of(&life)),
        (None, _, Some(unknown)) => (
            claims_of_unknown(unknown, shown),
            status_of_unknown(unknown, as_of, timeline),
        ),
        (None, Some(life), None) => (claims_of(&life), Status::NeverIssued),
        (None, None, None) if timeline.has_revoked_places() => return Err(NotRecomputable::LostChanges),
        // The record says that the log had these claims, and it does not have them.
        (None, None, None) => {
            return Ok(Recomputed {
                verdict: Reason::UnknownCode.verdict(),
                status: Some(Status::NeverIssued),
                stale_by_age: is_stale(basis, place),
            });
        }
    };
    let kind = kind_of(policy, claims.kind).ok_or(NotRecomputable::UnknownKind)?;
    let evidence = Evidence {
        claims: &claims,
        kind,
        status,
        proof: shown.proof,
        id_check: shown.id_check,
    };
    Ok(Recomputed {
        verdict: judge(&evidence, place, &knowledge(basis), at),
        status: Some(status),
        stale_by_age: is_stale(basis, place),
    })
}

fn kind_of(policy: &Policy, kind: CodeKind) -> Option<&KindPolicy> {
    policy.kinds.iter().find(|policy| policy.kind == kind)
}

fn is_of(life: &CodeLife<'_>, shown: &ShownCode<'_>) -> bool {
    life.claims == *shown.claims
}

/// Whether the signing key of a code, as the verifier knew the keys, could verify it at an instant. An instant outside of
/// the key's window makes every signature bad (R25).
fn may_verify(life: &CodeLife<'_>, keys_sequence: u64, at: Timestamp, timeline: &Timeline) -> bool {
    let keys = timeline.keys().change_up_to(keys_sequence);
    keys.is_some_and(|keys| keys.keyring.covers(life.key_id, life.issued_at, at))
}

/// The status of a code that the log does not have with these claims.
fn status_of_unknown(unknown: &NotInLog, as_of: AsOf, timeline: &Timeline) -> Status {
    // The verifier found no code at the place. It also finds none in a list that it retired, which the log still has.
    if matches!(as_of, AsOf::Position(_)) && unknown.reaches.is_some() {
        return Status::NeverIssued;
    }
    if timeline.life_at(unknown.place).is_some_and(|life| as_of.knows(&life)) {
        return Status::OtherClaims;
    }
    if let AsOf::Instant(at) = as_of
        && timeline.is_revoked_place_at(unknown.place, at)
    {
        return Status::Issued {
            life: Life::Dead(Death::Revoked),
            standing: Standing::Green,
        };
    }
    Status::NeverIssued
}

fn knowledge(basis: &Basis) -> Knowledge {
    let reaches = basis.not_in_log.and_then(|unknown| unknown.reaches);
    Knowledge {
        age_ms: if basis.confined || basis.unwitnessed {
            u64::MAX
        } else {
            basis.age_ms()
        },
        reaches: reaches.unwrap_or(Timestamp(i64::MAX)),
        clock_trusted: basis.clock_trusted,
        whole_log: true,
        // It matters only to verifiers that do not follow the whole log.
        key_compromised: false,
    }
}

fn claims_of(life: &CodeLife<'_>) -> CodeClaims {
    CodeClaims {
        code_id: life.code_id,
        kind: life.kind,
        issued_at: life.issued_at,
        expires_at: life.expires_at,
        status: life.place,
        id_commitment: None,
        device_key: None,
        key_id: life.key_id,
        digest: digest_of(&life.claims),
    }
}

fn claims_of_unknown(unknown: &NotInLog, shown: &ShownCode<'_>) -> CodeClaims {
    CodeClaims {
        code_id: shown.code_id,
        kind: unknown.kind,
        issued_at: unknown.issued_at,
        expires_at: unknown.expires_at,
        status: unknown.place,
        id_commitment: None,
        device_key: None,
        key_id: KeyId([0; 4]),
        digest: digest_of(shown.claims),
    }
}

/// A digest of which only the first half is known; no rule looks at it.
fn digest_of(half: &[u8; 16]) -> ClaimsDigest {
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(half);
    ClaimsDigest(digest)
}
