//! One scan, one verdict.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::deadline;
use citycode_service_kit::problem::{JsonBody, Problem};
use citycode_wire::answer::standing;
use citycode_wire::proto::verifier::v1 as proto;
use citycode_wire::verdict::{decision, reason};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{Instant, incomplete, invalid, json};
use crate::call::Call;
use crate::portal::{Shared, SharedState};
use crate::spread::CarriedBy;

/// How long a second verifier may take to know more than the first one, which said `cannot_check`: a person stands at
/// the gate.
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
    /// Number of an ID card shown instead of a code.
    id_card: Option<String>,
    /// Number of the ID card read beside the code.
    id_number: Option<String>,
    /// Which device scans; the caller's own if absent.
    #[schema(example = "gate-7")]
    device: Option<String>,
    /// The device's name for this scan: the same twice is one record.
    #[schema(example = "2026-11-24/000123")]
    scan_id: Option<String>,
    /// What the verdict would be at this time, on what is known now; needs the right to ask, and records nothing. More
    /// than 5 s ago is `past_not_supported`.
    #[schema(format = DateTime)]
    at: Option<String>,
}

impl VerifyBody {
    /// Every text but the code.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        let optional = [&self.id_card, &self.id_number, &self.device, &self.scan_id, &self.at];
        let optional = optional.into_iter().filter_map(Option::as_deref);
        std::iter::once(self.place.as_str()).chain(optional)
    }

    /// The message of it.
    ///
    /// # Errors
    /// `invalid_request`: not exactly one thing shown, or a time that is none.
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
        let at = match self.at {
            Some(text) => Some(instant(&text)?),
            None => None,
        };
        Ok(proto::VerifyRequest {
            place: self.place,
            scan: Some(scan),
            id_number: self.id_number.unwrap_or_default(),
            device: self.device.unwrap_or_default(),
            scan_id: self.scan_id.unwrap_or_default(),
            at,
            omit_explanation: false,
        })
    }
}

/// Seconds since 1970 of an RFC 3339 time; parts of a second do not count.
fn instant(text: &str) -> Result<i64, Problem> {
    text.parse::<jiff::Timestamp>()
        .map(|time| time.as_millisecond().div_euclid(1000))
        .map_err(|_| invalid("at is not a time as in RFC 3339, e.g. 2026-11-24T08:00:00Z"))
}

/// The answer to a scan.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerdictAnswer<'a> {
    /// `admit`, `admit_after_id_check`, `refuse` or `cannot_check`.
    #[schema(example = "admit")]
    decision: &'static str,
    /// Why.
    #[schema(example = "ok")]
    reason: &'static str,
    /// Name of the code's kind, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "sampling")]
    kind: Option<&'a str>,
    /// Code id, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "9f86d081884c7d65")]
    code_id: Option<&'a str>,
    /// The place asked for.
    #[schema(example = "sampling_desk")]
    place: &'a str,
    /// Dead from, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
    /// `green`, `yellow` or `red`, only where the place rests on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<&'static str>,
    /// What the verdict rests on.
    as_of: AsOfAnswer,
    /// The reason in words.
    explanation: ExplanationAnswer<'a>,
}

/// What a verdict rests on.
#[derive(Serialize, ToSchema)]
struct AsOfAnswer {
    /// Up to where in the log the verdict knows; only in answers to auditors and admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<PositionAnswer>,
    /// How old that knowledge was; rounded up to 500 for everybody but auditors and admins.
    age_ms: u64,
}

/// A place in the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct PositionAnswer {
    /// Partition, from 0.
    pub(crate) partition: u32,
    /// Place in it, from 1; 0 where nothing is known.
    pub(crate) sequence: u64,
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
    /// `None` where the verifier left out what it must say.
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

/// One scan, one verdict. A refusal is an answer, not an error.
#[utoipa::path(post, path = "/api/v1/verify", tag = "checking", request_body = VerifyBody,
    responses((status = 200, description = "The verdict; a refusal is one too", body = VerdictAnswer)))]
pub(crate) async fn verify(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<VerifyBody>,
) -> Result<Response, Problem> {
    ask(&shared, &call, body.into_message()?).await
}

/// Asks the verifier and renders its verdict.
pub(crate) async fn ask(shared: &Shared, call: &Call, mut message: proto::VerifyRequest) -> Result<Response, Problem> {
    // The message may be carried to two verifiers, and a scan without an id is another one at each (R20). Where nobody
    // is registered an id would only make the records longer.
    let registers = |place: &str| shared.policy.place(place).is_none_or(|place| place.registers);
    if message.scan_id.is_empty() && registers(&message.place) {
        message.scan_id = call.drawn_scan_id();
    }
    let mut verifier = shared.clients.verifier.clone();
    let mut answered = verifier.verify(call.with(message.clone())).await?;
    if answered.get_ref().decision() == proto::Decision::CannotCheck
        && let Some(asked) = answered.extensions().get::<CarriedBy>().cloned()
    {
        // This one knows too little at the moment, as after a pause that its health has not told of yet; another one
        // may know. A scan that cannot be checked registers nobody.
        let mut again = call.with(message);
        again.extensions_mut().insert(asked);
        // The first answer is a valid one, and holds where the second attempt fails or takes too long.
        let left = deadline::current().map_or(SECOND_ANSWER_WITHIN, |deadline| deadline.remaining() / 2);
        let second = tokio::time::timeout(left.min(SECOND_ANSWER_WITHIN), verifier.verify(again)).await;
        if let Ok(Ok(second)) = second {
            answered = second;
        }
    }
    let answer = answered.into_inner();
    match VerdictAnswer::of(&answer) {
        Some(verdict) => json(&verdict),
        None => Err(incomplete("verifier")),
    }
}
