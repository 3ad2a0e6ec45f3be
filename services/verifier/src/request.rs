//! A request to verify: who may ask, what was shown, and the answer with its record.

use citycode_domain::admission::{Decision, Reason};
use citycode_domain::id_number::IdNumber;
use citycode_domain::policy::PlacePolicy;
use citycode_domain::time::Timestamp;
use citycode_service_kit::auth::Caller;
use citycode_service_kit::limits::{Rate, RateLimiter};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::verifier::v1::verify_request::Scan as Shown;
use citycode_wire::proto::verifier::v1::{VerifyRequest, VerifyResponse};
use citycode_wire::verdict::{ReadCode, VerdictAnswer};

use crate::records::ScanRecord;
use crate::scan::{Answer, Scan, Verifier};

/// Wrong cards that a caller may try against one code: a person at the desk fumbles, a machine would search.
const MISMATCHES: Rate = Rate {
    burst: 10,
    per_minute: 5,
};
/// Pairs of caller and code that are remembered.
const REMEMBERED: usize = 100_000;
/// Longest device and scan id in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Limits against searching for the ID number behind a code.
pub(crate) struct CardLimits(RateLimiter<(String, [u8; 8])>);

impl Default for CardLimits {
    fn default() -> Self {
        Self(RateLimiter::new(MISMATCHES, REMEMBERED))
    }
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
        let answer = match &request.scan {
            Some(Shown::Code(text)) => self.code(caller, place, text, &request.id_number, now, what_if)?,
            Some(Shown::IdCard(number)) => self.card(caller, place, number, now, what_if).await?,
            None => {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    "the request shows neither a code nor an ID card",
                ));
            }
        };
        metrics::counter!("citycode_verifier_scans_total", "decision" => answer.verdict.decision.name()).increment(1);
        if answer.verdict.reason == Reason::UnknownCode {
            metrics::counter!("citycode_verifier_unknown_codes_total").increment(1);
            tracing::error!(
                place = place.name,
                "ALARM: a token with a good signature that the log does not know"
            );
        }
        let answer = if what_if {
            answer
        } else {
            self.record(place, &device, request, answer, now).await?
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
    ) -> Result<Answer, Problem> {
        let card = if id_number.is_empty() {
            None
        } else {
            Some(self.id_number(id_number)?)
        };
        let id_number = card.as_ref().map(IdNumber::as_bytes);
        let answer = self.scan(&Scan {
            place,
            text,
            id_number,
            now,
            what_if,
        });
        if answer.verdict.reason == Reason::IdMismatch
            && let Some(claims) = &answer.claims
        {
            let key = (caller.id.as_str().to_owned(), claims.code_id.0);
            self.limits.0.admit(&key, self.clock.monotonic()).map_err(|limited| {
                let seconds = limited.retry_after.as_secs().saturating_add(1);
                Problem::new(Code::RateLimited, "too many wrong ID cards for one code").with_retry_after(seconds)
            })?;
        }
        Ok(answer)
    }

    async fn card(
        &self,
        caller: &Caller,
        place: &PlacePolicy,
        number: &str,
        now: Timestamp,
        what_if: bool,
    ) -> Result<Answer, Problem> {
        if !(caller.may_read_cards() || caller.is_admin()) {
            return Err(Problem::new(
                Code::NotAllowed,
                "the caller may not ask whether an ID card admits",
            ));
        }
        let _ = now;
        let number = self.id_number(number)?;
        let holder = self.vault.find(&number).await.map_err(|error| {
            tracing::error!(%error, "the vault cannot answer");
            Problem::new(Code::Unavailable, "the register of persons cannot be reached")
        })?;
        Ok(self.scan_id_card(place, holder, what_if))
    }

    fn id_number(&self, text: &str) -> Result<IdNumber, Problem> {
        let today = citycode_policy_file::local_date(&self.policy, Timestamp(self.clock.now().0));
        IdNumber::parse(text, today).map_err(|invalid| Problem::new(Code::InvalidIdNumber, invalid.to_string()))
    }

    /// Records the scan. A sampling desk's is durable before the answer, and a repeat gets the recorded verdict.
    async fn record(
        &self,
        place: &PlacePolicy,
        device: &str,
        request: &VerifyRequest,
        answer: Answer,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
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
        };
        if !place.registers || answer.verdict.decision != Decision::Admit {
            self.records.note(record);
            return Ok(answer);
        }
        let code_id = record.code_id.clone();
        let kept = self.records.register(record).await.map_err(|error| {
            tracing::error!(%error, "a registration could not be recorded");
            Problem::new(
                Code::Unavailable,
                "the registration could not be recorded, so the person is not registered",
            )
        })?;
        if kept.code_id != code_id {
            let detail = "this device has used this scan id for another code; give every scan an id of its own";
            return Err(Problem::new(Code::IdempotencyKeyReused, detail));
        }
        Ok(answer)
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
