//! Verification of one scan.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::deadline;
use citycode_service_kit::problem::{Code, JsonBody, Problem};
use citycode_wire::answer::standing;
use citycode_wire::proto::audit::v1::VerifyAtRequest;
use citycode_wire::proto::model::v1::Position;
use citycode_wire::proto::verifier::v1 as proto;
use citycode_wire::verdict::{decision, reason};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{Instant, incomplete, instant, invalid, json};
use crate::call::Call;
use crate::portal::{Shared, SharedState};
use citycode_service_clients::ServedBy;

/// Timeout of the second verifier after the first one answered `cannot_check`: a person is waiting at the gate.
const SECOND_ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// One scan: either `code` or `id_card`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"place": "sentinel", "id_card": "11010519491231002X"}))]
pub(crate) struct VerifyBody {
    /// Name of the place in the policy.
    #[schema(example = "sentinel")]
    place: String,
    /// Text of a code, or of a presentation.
    code: Option<String>,
    /// Number of an ID card that is presented instead of a code.
    id_card: Option<String>,
    /// Number of the ID card that is presented with the code.
    id_number: Option<String>,
    /// The scanning device; the caller's own if absent.
    #[schema(example = "gate-7")]
    device: Option<String>,
    /// The device's id for this scan; scans with the same id have one record.
    #[schema(example = "2026-11-24/000123")]
    scan_id: Option<String>,
    /// Staff compared the person with the ID card, and they do not match: a code that would admit is refused as
    /// `id_mismatch`, and the scan is recorded. Only with a code.
    #[serde(default)]
    person_differs: bool,
    /// Requests the verdict for this time; this needs a right and records nothing. A time more than 5 s ago is judged
    /// with what the log had then, a later one on the current state.
    #[schema(format = DateTime)]
    at: Option<String>,
}

impl VerifyBody {
    /// Every text except the code.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        let optional = [&self.id_card, &self.id_number, &self.device, &self.scan_id, &self.at];
        let optional = optional.into_iter().filter_map(Option::as_deref);
        std::iter::once(self.place.as_str()).chain(optional)
    }

    /// The scan as a message.
    ///
    /// # Errors
    /// `invalid_request` if there is not exactly one of `code` and `id_card`, or if the time is malformed.
    pub(crate) fn into_message(self) -> Result<proto::VerifyRequest, Problem> {
        use proto::verify_request::Scan;
        let scan = match (self.code, self.id_card) {
            (Some(code), None) => Scan::Code(code),
            (None, Some(number)) => Scan::IdCard(number),
            (Some(_), Some(_)) => {
                return Err(invalid("a scan is either a code or an ID card, not both"));
            }
            (None, None) => return Err(invalid("a scan needs a code or an id_card")),
        };
        let at = self.at.map(|text| instant("at", &text)).transpose()?;
        Ok(proto::VerifyRequest {
            place: self.place,
            scan: Some(scan),
            id_number: self.id_number.unwrap_or_default(),
            device: self.device.unwrap_or_default(),
            scan_id: self.scan_id.unwrap_or_default(),
            at,
            omit_explanation: false,
            person_differs: self.person_differs,
        })
    }
}

/// The answer to a scan.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerdictAnswer<'a> {
    /// `admit`, `admit_after_id_check`, `refuse` or `cannot_check`.
    #[schema(example = "admit")]
    decision: &'static str,
    /// The reason.
    #[schema(example = "ok")]
    reason: &'static str,
    /// Name of the code's kind, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "sampling")]
    kind: Option<&'a str>,
    /// Code id, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "9f86d081884c7d65")]
    code_id: Option<&'a str>,
    /// The place of the request.
    #[schema(example = "sampling_desk")]
    place: &'a str,
    /// Expires at, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
    /// `green`, `yellow` or `red`; present only if the place takes it into account.
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<&'static str>,
    /// The state on which the verdict is based.
    as_of: AsOfAnswer,
    /// The reason in words.
    explanation: ExplanationAnswer<'a>,
}

/// The state on which a verdict is based.
#[derive(Serialize, ToSchema)]
struct AsOfAnswer {
    /// The position up to which the log was folded; only in answers to auditors and admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<PositionAnswer>,
    /// The age of that state in milliseconds; rounded up to a multiple of 500 except for auditors and admins.
    age_ms: u64,
}

/// A position in the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct PositionAnswer {
    /// Partition, from 0.
    pub(crate) partition: u32,
    /// Sequence in the partition, from 1; 0 if nothing was folded.
    pub(crate) sequence: u64,
}

impl PositionAnswer {
    pub(crate) fn of(position: &Position) -> Self {
        Self {
            partition: position.partition,
            sequence: position.sequence,
        }
    }
}

/// A reason in words.
#[derive(Serialize, ToSchema)]
struct ExplanationAnswer<'a> {
    /// 中文.
    zh: &'a str,
    /// English.
    en: &'a str,
}

impl<'a> VerdictAnswer<'a> {
    /// `None` if the verifier's answer lacks a required field.
    pub(crate) fn of(answer: &'a proto::VerifyResponse) -> Option<Self> {
        let as_of = answer.as_of.as_ref()?;
        let explanation = answer.explanation.as_ref()?;
        Some(Self {
            decision: decision(answer.decision)?.name(),
            reason: reason(answer.reason)?.name(),
            kind: answer.kind.as_deref(),
            code_id: answer.code_id.as_deref(),
            place: &answer.place,
            expires_at: answer.expires_at.map(Instant),
            standing: standing(answer.standing).map(|standing| standing.name()),
            as_of: AsOfAnswer {
                position: as_of
                    .partition
                    .zip(as_of.sequence)
                    .map(|(partition, sequence)| PositionAnswer { partition, sequence }),
                age_ms: as_of.age_ms,
            },
            explanation: ExplanationAnswer {
                zh: &explanation.zh,
                en: &explanation.en,
            },
        })
    }
}

/// Verifies one scan. A refusal is an answer, not an error.
#[utoipa::path(post, path = "/api/v1/verify", tag = "checking", request_body = VerifyBody,
    responses((status = 200, description = "The verdict; a refusal is one too", body = VerdictAnswer)))]
pub(crate) async fn verify(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<VerifyBody>,
) -> Result<Response, Problem> {
    ask(&shared, &call, body.into_message()?).await
}

/// Calls the verifier and renders its verdict.
pub(crate) async fn ask(shared: &Shared, call: &Call, mut message: proto::VerifyRequest) -> Result<Response, Problem> {
    // The message may be sent to two verifiers, and without an id each would record another scan (R20). At places
    // that do not register, an id would only make the records longer.
    let registers = |place: &str| shared.policy.place(place).is_none_or(|place| place.registers);
    if message.scan_id.is_empty() && registers(&message.place) {
        message.scan_id = call.drawn_scan_id();
    }
    let mut verifier = shared.clients.verifier.clone();
    let mut answered = match verifier.verify(call.with(message.clone())).await {
        Ok(answered) => answered,
        Err(status) => {
            let problem = Problem::from(status);
            // Verifiers know the present; the audit service answers for the past.
            if problem.code() == Code::PastNotSupported {
                return verify_at(shared, call, message).await;
            }
            return Err(problem);
        }
    };
    if answered.get_ref().decision() == proto::Decision::CannotCheck
        && let Some(served_by) = answered.extensions().get::<ServedBy>().cloned()
    {
        // This verifier's state is too old, for example after a pause that its health does not reflect yet; another one
        // may be fresh. A scan that cannot be checked registers nobody, so it may be repeated.
        let mut again = call.with(message);
        again.extensions_mut().insert(served_by);
        // The first answer is valid, and is returned if the second attempt fails or takes too long.
        let left = deadline::current().map_or(SECOND_ANSWER_WITHIN, |deadline| deadline.remaining() / 2);
        let second = tokio::time::timeout(left.min(SECOND_ANSWER_WITHIN), verifier.verify(again)).await;
        if let Ok(Ok(second)) = second {
            answered = second;
        }
    }
    rendered(&answered.into_inner(), "verifier")
}

async fn verify_at(shared: &Shared, call: &Call, scan: proto::VerifyRequest) -> Result<Response, Problem> {
    let mut audit = shared.clients.audit.clone();
    let message = VerifyAtRequest { scan: Some(scan) };
    let answer = audit.verify_at(call.with(message)).await?.into_inner();
    rendered(&answer.verdict.unwrap_or_default(), "audit")
}

fn rendered(answer: &proto::VerifyResponse, service: &'static str) -> Result<Response, Problem> {
    match VerdictAnswer::of(answer) {
        Some(verdict) => json(&verdict),
        None => Err(incomplete(service)),
    }
}
