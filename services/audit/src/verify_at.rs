//! A code judged for a time in the past: with the keys, the policy and the events that the log had then.

use citycode_auth::Caller;
use citycode_domain::admission::IdCheck;
use citycode_domain::claims::CodeClaims;
use citycode_domain::ids::{CodeId, PolicyDigest, Position};
use citycode_domain::policy::{PlacePolicy, Policy};
use citycode_domain::status::Status;
use citycode_domain::time::Timestamp;
use citycode_query_stream::QueryKind;
use citycode_replay::{AsOf, CodeLife, NotRecomputable, PolicyInLog, Recomputed, ShownCode, Timeline, judge_code};
use citycode_scan_records::{Basis, NotInLog, ShownEvidence};
use citycode_service_kit::problem::{Code, Problem};
use citycode_token::{Scan, TokenError, check_proof};
use citycode_wire::proto::verifier::v1::VerifyResponse;
use citycode_wire::request::{ScanRequest, Shown, Until};
use citycode_wire::verdict::{ReadCode, VerdictAnswer};

use crate::explain::unread;
use crate::history::Audit;
use crate::queries::Asked;

/// A text that was judged as of an instant.
pub(crate) struct JudgedThen {
    /// The keys and policies of the log, and the life of the code.
    pub(crate) timeline: Timeline,
    /// The policy that was in use, if the log has it.
    pub(crate) adopted: Option<(PolicyDigest, PolicyInLog)>,
    /// The policy that was used.
    policy: Policy,
    /// The place.
    place: PlacePolicy,
    /// The sequence of the last change of the signing keys.
    pub(crate) keys_sequence: u64,
    /// The claims; `None` for a text that is no code with a valid signature.
    pub(crate) claims: Option<CodeClaims>,
    /// The verdict.
    pub(crate) judged: Result<Recomputed, NotRecomputable>,
}

impl JudgedThen {
    /// The life of the code in the log, also if it was issued later.
    pub(crate) fn life(&self) -> Option<CodeLife<'_>> {
        self.claims.and_then(|claims| self.timeline.life(claims.code_id))
    }

    /// The policy that was in use, if the log has it.
    pub(crate) fn policy(&self) -> Option<(PolicyDigest, &PolicyInLog)> {
        self.adopted.as_ref().map(|(digest, policy)| (*digest, policy))
    }
}

impl Audit {
    /// Judges a code for a time in the past, as a verifier would have that knew everything that the log had then.
    /// The question is recorded, like one of `explain`.
    ///
    /// # Errors
    /// `not_allowed`, `unknown_place`, `unavailable`; `past_not_supported` for a time before the log, for ID cards, and if
    /// changes of the log were lost.
    pub async fn verify_at(&self, caller: &Caller, scan: &ScanRequest<'_>) -> Result<VerifyResponse, Problem> {
        self.auditors_only(caller)?;
        let (code_id, answer) = match self.answer_at(scan).await {
            Ok((code_id, answer)) => (code_id, Ok(answer)),
            Err(problem) => (None, Err(problem)),
        };
        let asked = Asked {
            kind: QueryKind::Explain,
            // A verification has none.
            purpose: "",
            holder: match code_id {
                Some(code_id) => self.living_holder(code_id).await?,
                None => None,
            },
        };
        self.record_answer(caller, asked, answer, |_| 1).await
    }

    async fn answer_at(&self, scan: &ScanRequest<'_>) -> Result<(Option<CodeId>, VerifyResponse), Problem> {
        let Some(at) = scan.at else {
            return Err(Problem::new(Code::InvalidRequest, "the time to judge for is missing"));
        };
        let (Shown::Code(text), None, false) = (scan.shown, scan.id_number, scan.person_differs) else {
            return Err(past_not_supported(
                "ID cards are compared by verifiers, which know the present only; ask about the code alone",
            ));
        };
        self.check_moment(Until::Instant(at)).await?;
        match self.log_begins().await? {
            Some(begins) if begins.0 <= at => {}
            _ => return Err(past_not_supported("the log begins later and has nothing of this time")),
        }
        let then = self.judge_then(text, scan.place, Timestamp(at)).await?;
        let judged = then
            .judged
            .map_err(|_| past_not_supported("changes of the log that this code rested on were lost"))?;
        let code = then.claims.and_then(|claims| {
            let kind = then.policy.kind(claims.kind)?;
            Some(ReadCode {
                kind: &kind.name,
                code_id: claims.code_id,
                expires_at: claims.expires_at,
            })
        });
        let standing = match judged.status {
            Some(Status::Issued { standing, .. }) if then.place.standing_counts => Some(standing),
            _ => None,
        };
        let position = then.life().and_then(|life| last_known(&life, Timestamp(at)));
        let answer = VerdictAnswer {
            verdict: judged.verdict,
            code,
            place: &then.place.name,
            standing,
            position,
            age_ms: 0,
            explain: scan.explain,
        };
        Ok((then.claims.map(|claims| claims.code_id), answer.into()))
    }

    /// Judges a text as a verifier would have that knew everything of an instant.
    ///
    /// # Errors
    /// `unknown_place`, `unavailable`.
    pub(crate) async fn judge_then(&self, text: &str, place: &str, at: Timestamp) -> Result<JudgedThen, Problem> {
        let mut timeline = self.keys_and_policies().await?;
        let keys = timeline.keys().change_at_instant(at);
        let keys_sequence = keys.map_or(0, |change| change.sequence);
        let keyring = keys.map(|change| change.keyring.clone()).unwrap_or_default();
        let found = policy_at(&timeline, at);
        let policy = found.map_or(&*self.policy, |(_, policy)| &*policy.policy).clone();
        let adopted = found.map(|(digest, policy)| (digest, policy.clone()));
        let place = policy.place(place).cloned();
        let place =
            place.ok_or_else(|| Problem::new(Code::UnknownPlace, "the policy of that instant has no such place"))?;
        let mut canonical = vec![0; citycode_token::MAX_SCAN_LEN];
        let read = citycode_token::canonical_scan(text, &mut canonical)
            .map_or(Err(TokenError::Unreadable), Scan::read_canonical);
        let verified = read.and_then(|scan| {
            let claims = scan.verify(&keyring, &policy.status_base_uri, at)?;
            Ok((claims, check_proof(&claims, scan.proof(), at, &policy.proof, None)))
        });
        let (claims, judged) = match verified {
            Ok((claims, proof)) => {
                self.add_code(&mut timeline, claims.code_id).await?;
                let shown = ShownCode {
                    code_id: claims.code_id,
                    claims: claims.digest.0.first_chunk().expect("a digest has 32 bytes"),
                    proof,
                    id_check: IdCheck::None,
                };
                let digest = adopted.as_ref().map_or(PolicyDigest([0; 32]), |(digest, _)| *digest);
                let basis = all_known(digest, keys_sequence, &claims);
                let as_of = (AsOf::Instant(at), at);
                (
                    Some(*claims),
                    judge_code(&shown, &policy, &place, &basis, as_of, &timeline),
                )
            }
            Err(error) => (None, Ok(unread(error))),
        };
        Ok(JudgedThen {
            timeline,
            adopted,
            policy,
            place,
            keys_sequence,
            claims,
            judged,
        })
    }
}

/// What a verifier would record that knows the whole log.
fn all_known(policy: PolicyDigest, keys_sequence: u64, claims: &CodeClaims) -> Basis {
    Basis {
        policy,
        shown: ShownEvidence::Unread,
        keys_sequence,
        keys_age_ms: 0,
        code_age_ms: 0,
        confined: false,
        unwitnessed: false,
        clock_trusted: true,
        not_in_log: Some(NotInLog {
            kind: claims.kind,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            place: claims.status,
            reaches: Some(Timestamp(i64::MAX)),
        }),
    }
}

/// The policy in use at an instant: the one that was adopted last.
fn policy_at(timeline: &Timeline, at: Timestamp) -> Option<(PolicyDigest, &PolicyInLog)> {
    let adopted = timeline.policies().filter(|(_, policy)| policy.adopted_at <= at);
    adopted.max_by_key(|(_, policy)| (policy.adopted_at, policy.position.sequence))
}

/// The position of the last event of a code that was decided up to an instant.
fn last_known(life: &CodeLife<'_>, at: Timestamp) -> Option<Position> {
    if life.decided_at > at {
        return None;
    }
    let last = life.changes_up_to_instant(at).last();
    let sequence = last.map_or(life.issued.sequence.0, |change| change.sequence);
    Some(Position::new(life.issued.partition.0, sequence))
}

fn past_not_supported(why: &str) -> Problem {
    Problem::new(Code::PastNotSupported, why)
}
