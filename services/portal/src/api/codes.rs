//! Issuing, reprinting, and listing a holder's codes.

use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{JsonBody, Problem};
use citycode_wire::answer::code_life_name;
use citycode_wire::proto::audit::v1::CodesRequest;
use citycode_wire::proto::issuer::v1 as proto;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::as_of::Past;
use crate::answer::{Authentication, CodeAnswer, Instant, attestation, incomplete, invalid, json};
use crate::call::Call;
use crate::device_key::DeviceKeyJwk;
use crate::portal::SharedState;

/// A request for a code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "offline", "id_number": "11010519491231002X", "channel": "kiosk"}))]
pub(crate) struct IssueBody {
    /// Name of the kind in the policy.
    #[schema(example = "offline")]
    kind: String,
    /// The holder's ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// The channel.
    #[schema(example = "kiosk")]
    channel: String,
    /// ID number of a family member who acts for the holder.
    guardian: Option<String>,
    /// The phone's public key, for kinds that are bound to a phone.
    device_key: Option<DeviceKeyJwk>,
    /// The channel attests the city's disability certificate.
    #[serde(default)]
    disability: bool,
    /// The channel attests a special group of the policy.
    group: Option<String>,
    /// Whether the answer includes the masked name for a print.
    #[serde(default)]
    print: bool,
    /// How the acting person (the guardian, if given, else the holder) was authenticated.
    authentication: Option<Authentication>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Issues a code. An earlier valid code of the kind is superseded by it.
#[utoipa::path(post, path = "/api/v1/issue", tag = "codes", request_body = IssueBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The issued code", body = CodeAnswer)))]
pub(crate) async fn issue(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<IssueBody>,
) -> Result<Response, Problem> {
    let device_key = body.device_key.as_ref().map(DeviceKeyJwk::raw).transpose()?;
    let message = proto::IssueRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        channel: body.channel,
        authentication: body.authentication.map(Into::into),
        kind: body.kind,
        id_number: body.id_number,
        guardian_id_number: body.guardian.unwrap_or_default(),
        device_key: device_key.unwrap_or_default(),
        attestation: attestation(body.disability, body.group),
        print: body.print,
    };
    let mut issuer = shared.clients.issuer.clone();
    let answer = issuer.issue(call.with(message)).await?.into_inner();
    code_answer(answer.code.as_ref())
}

/// A request for the same code again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "offline", "id_number": "11010519491231002X", "channel": "pc"}))]
pub(crate) struct ReprintBody {
    /// Name of the kind in the policy.
    #[schema(example = "offline")]
    kind: String,
    /// The holder's ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// The channel.
    #[schema(example = "pc")]
    channel: String,
    /// ID number of a family member who acts for the holder.
    guardian: Option<String>,
    /// Whether the answer includes the masked name for a print.
    #[serde(default)]
    print: bool,
    /// How the acting person (the guardian, if given, else the holder) was authenticated.
    authentication: Option<Authentication>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Returns the same code again, byte for byte; nothing changes.
#[utoipa::path(post, path = "/api/v1/reprint", tag = "codes", request_body = ReprintBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The same code, as it was issued", body = CodeAnswer)))]
pub(crate) async fn reprint(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<ReprintBody>,
) -> Result<Response, Problem> {
    let message = proto::ReprintRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        channel: body.channel,
        authentication: body.authentication.map(Into::into),
        kind: body.kind,
        id_number: body.id_number,
        guardian_id_number: body.guardian.unwrap_or_default(),
        print: body.print,
    };
    let mut issuer = shared.clients.issuer.clone();
    let answer = issuer.reprint(call.with(message)).await?.into_inner();
    code_answer(answer.code.as_ref())
}

fn code_answer(code: Option<&proto::IssuedCode>) -> Result<Response, Problem> {
    match code.and_then(CodeAnswer::of) {
        Some(answer) => json(&answer),
        None => Err(incomplete("issuer")),
    }
}

/// A request for a holder's codes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id_number": "11010519491231002X"}))]
pub(crate) struct CodesBody {
    /// The holder's ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// The channel.
    channel: Option<String>,
    /// How the person was authenticated.
    authentication: Option<Authentication>,
    /// The codes and states as the log had them at this time (RFC 3339), or up to this position
    /// (`PARTITION/SEQUENCE`); only for officers, auditors and admins.
    #[schema(example = "2026-05-03T08:14:00+08:00")]
    as_of: Option<String>,
    /// Why this is asked, without an ID or telephone number; needed with `as_of`.
    #[schema(min_length = 4, max_length = 200)]
    purpose: Option<String>,
}

/// A holder's codes.
#[derive(Serialize, ToSchema)]
pub(crate) struct CodesAnswer<'a> {
    /// In no particular order.
    codes: Vec<CodeStateAnswer<'a>>,
}

/// One code and its state.
#[derive(Serialize, ToSchema)]
pub(crate) struct CodeStateAnswer<'a> {
    /// Code id, 16 hex digits.
    #[schema(example = "9f86d081884c7d65")]
    code_id: &'a str,
    /// Name of its kind.
    #[schema(example = "offline")]
    kind: &'a str,
    /// Whether a guardian holds it; the answer does not identify the guardian.
    through_guardian: bool,
    /// Valid from.
    #[schema(value_type = String, format = DateTime)]
    issued_at: Instant,
    /// Expires at.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
    /// `valid`, `suspended`, `expired`, `superseded`, `reported_lost`, `revoked`.
    #[schema(example = "valid")]
    state: &'static str,
}

/// Returns the holder's codes and their states; with `as_of`, as they were then.
#[utoipa::path(post, path = "/api/v1/codes", tag = "codes", request_body = CodesBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid",
        description = "The request's id: the same request with the same assertion is answered again")),
    responses((status = 200, description = "The holder's codes", body = CodesAnswer)))]
pub(crate) async fn codes(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<CodesBody>,
) -> Result<Response, Problem> {
    let past = Past::of(body.as_of.as_deref(), body.purpose)?;
    if past.is_some() && (body.channel.is_some() || body.authentication.is_some()) {
        return Err(invalid("as_of is for officers and auditors, not for channels"));
    }
    let message = proto::ListCodesRequest {
        channel: body.channel.unwrap_or_default(),
        authentication: body.authentication.map(Into::into),
        id_number: body.id_number,
        guardian_id_number: String::new(),
        // The id allows a retry with the same assertion.
        question_id: call.command_id(None)?,
        actionable: false,
        details: false,
    };
    let mut issuer = shared.clients.issuer.clone();
    let answer = issuer.list_codes(call.with(message)).await?.into_inner();
    let Some(past) = past else {
        return codes_answer(&answer.codes, "issuer");
    };
    // The log has no personal data; a code leads to its holder there.
    let any = answer.codes.into_iter().next();
    let message = CodesRequest {
        purpose: past.purpose,
        code_id: any.map(|code| code.code_id).unwrap_or_default(),
        as_of: Some(past.as_of),
    };
    let mut audit = shared.clients.audit.clone();
    let answer = audit.codes(call.with(message)).await?.into_inner();
    codes_answer(&answer.codes, "audit")
}

fn codes_answer(codes: &[proto::CodeState], service: &'static str) -> Result<Response, Problem> {
    let codes = codes.iter().map(code_state).collect::<Option<_>>();
    json(&CodesAnswer {
        codes: codes.ok_or_else(|| incomplete(service))?,
    })
}

fn code_state(code: &proto::CodeState) -> Option<CodeStateAnswer<'_>> {
    Some(CodeStateAnswer {
        code_id: &code.code_id,
        kind: &code.kind,
        through_guardian: code.through_guardian,
        issued_at: Instant(code.issued_at),
        expires_at: Instant(code.expires_at),
        state: code_life_name(code.state())?,
    })
}
