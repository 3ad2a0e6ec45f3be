//! A request to verify: who may ask, what was shown, and the answer with its record.

use std::time::Duration;

use citycode_domain::admission::{Decision, Reason};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{CodeId, CommitPosition};
use citycode_domain::policy::PlacePolicy;
use citycode_domain::time::Timestamp;
use citycode_service_kit::auth::Caller;
use citycode_service_kit::limits::{self, DistinctLimiter, Limited, Rate, RateLimiter};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::verifier::v1::verify_request::Scan as Shown;
use citycode_wire::proto::verifier::v1::{VerifyRequest, VerifyResponse};
use citycode_wire::verdict::{ReadCode, VerdictAnswer};

use crate::records::{Registered, ScanRecord, ShownBytes};
use crate::scan::{Answer, Scan, Verifier};

/// Cards that a caller may hold against one code: a person at the desk fumbles, a machine would search. All are
/// counted, right ones too, and before they are compared: whoever is stopped must not learn from how.
const CARDS_PER_CODE: Rate = Rate {
    burst: 10,
    per_minute: 5,
};
/// Pairs of caller and code that are remembered.
const REMEMBERED: usize = 100_000;
/// Longest device and scan id in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Limits against searching for the number behind a code, and against asking for everybody's standing.
pub(crate) struct CardLimits {
    per_code: RateLimiter<(String, [u8; 8])>,
    /// Different people whose cards a caller reads, beside a code or instead of one.
    persons: DistinctLimiter<String>,
    hash_key: [u8; 32],
}

impl CardLimits {
    /// `secret` is random and of this process: numbers are counted by their keyed hash.
    pub(crate) fn new(secret: &[u8; 16]) -> Self {
        Self {
            per_code: RateLimiter::new(CARDS_PER_CODE, REMEMBERED),
            persons: DistinctLimiter::new(
                limits::DISTINCT_PER_CALLER,
                limits::DISTINCT_WINDOW,
                limits::REMEMBERED_CALLERS,
            ),
            hash_key: blake3::derive_key("citycode verifier: hash of card numbers", secret),
        }
    }

    fn count_person(&self, caller: &Caller, number: &IdNumber, monotonic: Duration) -> Result<(), Problem> {
        if caller.is_admin() {
            return Ok(());
        }
        let hash = blake3::keyed_hash(&self.hash_key, number.as_bytes());
        let value = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"));
        let admitted = self.persons.admit(&caller.id.as_str().to_owned(), value, monotonic);
        admitted.map_err(|limited| limited_problem(limited, "too many different ID cards in a short time"))
    }

    fn count_card(&self, caller: &Caller, code_id: CodeId, monotonic: Duration) -> Result<(), Problem> {
        let key = (caller.id.as_str().to_owned(), code_id.0);
        let admitted = self.per_code.admit(&key, monotonic);
        admitted.map_err(|limited| limited_problem(limited, "too many ID cards for one code"))
    }
}

fn limited_problem(limited: Limited, detail: &str) -> Problem {
    let seconds = limited.retry_after.as_secs().saturating_add(1);
    Problem::new(Code::RateLimited, detail).with_retry_after(seconds)
}

/// A request that was judged.
struct Judged {
    answer: Answer,
    /// What tells this scan apart from another under the same scan id; of a code, only where the place registers.
    shown: ShownBytes,
}

impl Verifier {
    /// Answers one request.
    ///
    /// # Errors
    /// `unknown_place`, `not_allowed`, `invalid_id_number`, `invalid_request`, `rate_limited`, `unavailable`.
    pub async fn verify(&self, caller: &Caller, request: &VerifyRequest) -> Result<VerifyResponse, Problem> {
        let place = self.policy.place(&request.place).ok_or_else(|| {
            let known: Vec<_> = self.policy.places.iter().map(|place| place.name.as_str()).collect();
            Problem::new(
                Code::UnknownPlace,
                format!("the policy has no such place; it has {}", known.join(", ")),
            )
        })?;
        let device = self.device(caller, place, request)?;
        if request.scan_id.len() > MAX_NAME_BYTES {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!("a scan id has at most {MAX_NAME_BYTES} bytes"),
            ));
        }
        let what_if = request.at.is_some();
        if what_if && !(caller.is_auditor() || caller.is_admin()) {
            return Err(Problem::new(
                Code::NotAllowed,
                "asking for another time is an auditor's or an admin's",
            ));
        }
        let now = Timestamp(request.at.unwrap_or_else(|| self.clock.now().0));
        let started = self.clock.monotonic();
        let judged = match &request.scan {
            Some(Shown::Code(text)) => self.code(caller, place, text, &request.id_number, now, what_if)?,
            Some(Shown::IdCard(number)) => self.card(caller, place, number, what_if).await?,
            None => {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    "the request shows neither a code nor an ID card",
                ));
            }
        };
        let answer = judged.answer;
        let took = self.clock.monotonic().saturating_sub(started);
        metrics::histogram!("citycode_verifier_scan_seconds").record(took.as_secs_f64());
        metrics::counter!("citycode_verifier_scans_total", "decision" => answer.verdict.decision.name()).increment(1);
        if answer.verdict.reason == Reason::UnknownCode {
            metrics::counter!("citycode_verifier_unknown_codes_total").increment(1);
            metrics::counter!("citycode_verifier_alarms_total").increment(1);
            tracing::error!(
                place = place.name,
                "ALARM: a token with a good signature that the log does not know"
            );
        }
        let answer = if what_if {
            answer
        } else {
            self.record(place, &device, request, judged, now).await?
        };
        Ok(self.response(place, &answer, !request.omit_explanation))
    }

    /// The device as which the caller verifies here.
    fn device(&self, caller: &Caller, place: &PlacePolicy, request: &VerifyRequest) -> Result<String, Problem> {
        let named = request.device.as_str();
        if named.len() > MAX_NAME_BYTES || !named.bytes().all(|byte| byte.is_ascii_graphic()) {
            let detail = format!("a device is named by at most {MAX_NAME_BYTES} visible ASCII characters");
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        let device = match named {
            "" => caller
                .device_at(&place.name)
                .unwrap_or(if caller.is_admin() || caller.is_auditor() {
                    "desk"
                } else {
                    ""
                }),
            named => named,
        };
        let auditor_asks = request.at.is_some() && caller.is_auditor();
        if !device.is_empty() && (caller.may_verify(&place.name, device) || auditor_asks) {
            Ok(device.to_owned())
        } else {
            Err(Problem::new(
                Code::NotAllowed,
                "the caller may not verify at this place as this device",
            ))
        }
    }

    fn code(
        &self,
        caller: &Caller,
        place: &PlacePolicy,
        text: &str,
        id_number: &str,
        now: Timestamp,
        what_if: bool,
    ) -> Result<Judged, Problem> {
        let judge = |id_number| {
            self.scan(&Scan {
                place,
                text,
                id_number,
                now,
                what_if,
            })
        };
        let mut answer;
        if id_number.is_empty() {
            answer = judge(None);
        } else {
            let card = self.id_number(id_number)?;
            let monotonic = self.clock.monotonic();
            self.limits.count_person(caller, &card, monotonic)?;
            answer = judge(None);
            if let Some(claims) = answer.claims.filter(|claims| claims.id_commitment.is_some()) {
                self.limits.count_card(caller, claims.code_id, monotonic)?;
                answer = judge(Some(card.as_bytes()));
            }
        }
        let shown = || match &answer.claims {
            Some(claims) => claims.digest.0.to_vec(),
            None => blake3::hash(text.as_bytes()).as_bytes().to_vec(),
        };
        let shown = ShownBytes::new(if place.registers { shown() } else { Vec::new() });
        Ok(Judged { answer, shown })
    }

    async fn card(&self, caller: &Caller, place: &PlacePolicy, number: &str, what_if: bool) -> Result<Judged, Problem> {
        if !caller.may_read_cards() {
            return Err(Problem::new(
                Code::NotAllowed,
                "the caller may not ask whether an ID card admits",
            ));
        }
        let number = self.id_number(number)?;
        self.limits.count_person(caller, &number, self.clock.monotonic())?;
        let holder = self.vault.find(&number).await.map_err(|error| {
            tracing::error!(%error, "the vault cannot answer");
            Problem::new(Code::Unavailable, "the register of persons cannot be reached")
        })?;
        Ok(Judged {
            answer: self.scan_id_card(place, holder, what_if),
            shown: ShownBytes::new(number.as_bytes().to_vec()),
        })
    }

    fn id_number(&self, text: &str) -> Result<IdNumber, Problem> {
        let today = citycode_policy_file::local_date(&self.policy, Timestamp(self.clock.now().0));
        IdNumber::parse(text, today).map_err(|invalid| Problem::new(Code::InvalidIdNumber, invalid.to_string()))
    }

    /// Records the scan. A sampling desk's is durable before the answer, and a repeat is answered as recorded,
    /// whatever became of the code since (R20).
    async fn record(
        &self,
        place: &PlacePolicy,
        device: &str,
        request: &VerifyRequest,
        judged: Judged,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
        let Judged { answer, shown } = judged;
        let record = ScanRecord {
            at: now.0,
            place: place.name.clone(),
            device: device.to_owned(),
            scan_id: request.scan_id.clone(),
            code_id: answer
                .claims
                .map(|claims| claims.code_id.to_string())
                .unwrap_or_default(),
            reason: answer.verdict.reason.name().to_owned(),
            position: (answer.position.partition, answer.position.sequence),
            age_ms: answer.age_ms,
            shown: [0; 32],
        };
        if !place.registers {
            self.records.note(record);
            return Ok(answer);
        }
        let outcome = if answer.verdict.decision == Decision::Admit {
            self.records.register(record, shown).await.map(Some)
        } else {
            // Not registered by this scan; but perhaps it is the repeat of one that was.
            let before = if request.scan_id.is_empty() {
                Ok(None)
            } else {
                self.records.registered(device, &request.scan_id, &shown)
            };
            if matches!(before, Ok(None)) {
                self.records.note(record);
            }
            before
        };
        match outcome {
            Ok(None | Some(Registered::Now)) => Ok(answer),
            Ok(Some(Registered::Before(record))) => as_recorded(answer, &record),
            Ok(Some(Registered::ForAnother)) => {
                let detail =
                    "this device has used this scan id for another code or card; give every scan an id of its own";
                Err(Problem::new(Code::IdempotencyKeyReused, detail))
            }
            Err(error) => {
                tracing::error!(%error, "a registration could not be recorded");
                let detail = "the registration could not be recorded, so the person is not registered";
                Err(Problem::new(Code::Unavailable, detail))
            }
        }
    }

    fn response(&self, place: &PlacePolicy, answer: &Answer, explain: bool) -> VerifyResponse {
        let code = answer.claims.as_ref().and_then(|claims| {
            let kind = self.kind(claims.kind)?;
            Some(ReadCode {
                kind: &kind.name,
                code_id: claims.code_id,
                expires_at: claims.expires_at,
            })
        });
        VerdictAnswer {
            verdict: answer.verdict,
            code,
            place: &place.name,
            standing: answer.standing,
            position: answer.position,
            age_ms: answer.age_ms,
            explain,
        }
        .into()
    }
}

/// The answer that was given when the scan was recorded.
fn as_recorded(now: Answer, record: &ScanRecord) -> Result<Answer, Problem> {
    let reason = Reason::ALL.into_iter().find(|reason| reason.name() == record.reason);
    let verdict = reason.ok_or_else(Problem::internal)?.verdict();
    let (partition, sequence) = record.position;
    Ok(Answer {
        verdict,
        position: CommitPosition { partition, sequence },
        age_ms: record.age_ms,
        ..now
    })
}
