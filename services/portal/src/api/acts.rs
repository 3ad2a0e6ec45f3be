//! Loss reports, acts of officers, and standings set by the health authority.

use axum::extract::State;
use axum::response::Response;
use citycode_domain::standing::Standing;
use citycode_service_kit::problem::{JsonBody, Problem};
use citycode_wire::answer::standing_value;
use citycode_wire::proto::revocation::v1 as proto;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{Authentication, Done, invalid, json};
use crate::call::Call;
use crate::portal::SharedState;

/// The code that was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConcernedCode<'a> {
    /// Code id, 16 hex digits; absent if a hold was lifted but the code is no longer valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "9f86d081884c7d65")]
    code_id: Option<&'a str>,
}

/// Reports a code lost.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "offline", "id_number": "11010519491231002X", "channel": "kiosk"}))]
pub(crate) struct ReportLossBody {
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
    /// How the acting person (the guardian, if given, else the holder) was authenticated.
    authentication: Option<Authentication>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Reports a code lost; it becomes invalid. The code itself is not needed.
#[utoipa::path(post, path = "/api/v1/report-loss", tag = "codes", request_body = ReportLossBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The code that became invalid", body = ConcernedCode)))]
pub(crate) async fn report_loss(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<ReportLossBody>,
) -> Result<Response, Problem> {
    let message = proto::ReportLossRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        channel: body.channel,
        authentication: body.authentication.map(Into::into),
        kind: body.kind,
        id_number: body.id_number,
        guardian_id_number: body.guardian.unwrap_or_default(),
    };
    let mut revocation = shared.clients.revocation.clone();
    let answer = revocation.report_loss(call.with(message)).await?;
    concerned(Some(&answer.get_ref().code_id))
}

/// An officer's act on a holder's code of one kind.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "offline", "id_number": "11010519491231002X", "reason": "reported by the district office"}))]
pub(crate) struct OfficerBody {
    /// Name of the kind in the policy.
    #[schema(example = "offline")]
    kind: String,
    /// The holder's ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// The reason, at most 200 characters.
    #[schema(example = "reported by the district office")]
    reason: String,
    /// ID number of the guardian who holds the code, for kinds that are per guardian.
    guardian: Option<String>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// The messages of the three acts have the same fields but different types.
macro_rules! officer_message {
    ($name:ident, $call:expr, $body:expr) => {{
        let body: OfficerBody = $body;
        proto::$name {
            command_id: $call.command_id(body.command_id.as_deref())?,
            kind: body.kind,
            id_number: body.id_number,
            guardian_id_number: body.guardian.unwrap_or_default(),
            reason: body.reason,
        }
    }};
}

/// Revokes a code permanently.
#[utoipa::path(post, path = "/api/v1/revoke", tag = "officers", request_body = OfficerBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The code that became invalid", body = ConcernedCode)))]
pub(crate) async fn revoke(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<OfficerBody>,
) -> Result<Response, Problem> {
    let message = officer_message!(RevokeRequest, call, body);
    let mut revocation = shared.clients.revocation.clone();
    let answer = revocation.revoke(call.with(message)).await?;
    concerned(Some(&answer.get_ref().code_id))
}

/// An officer's act on one code by its id.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeCodeBody {
    /// Code id, 16 hex digits.
    #[schema(example = "9f86d081884c7d65", pattern = "^[0-9a-f]{16}$")]
    code_id: String,
    /// The reason, at most 200 characters.
    #[schema(example = "the holder is no longer known")]
    reason: String,
    /// Instead of the header Idempotency-Key.
    command_id: Option<String>,
}

/// Revokes a code by its id, if its holder is no longer known.
#[utoipa::path(post, path = "/api/v1/revoke-code", tag = "officers", request_body = RevokeCodeBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The code that became invalid", body = ConcernedCode)))]
pub(crate) async fn revoke_code(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<RevokeCodeBody>,
) -> Result<Response, Problem> {
    let message = proto::RevokeCodeRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        code_id: body.code_id,
        reason: body.reason,
    };
    let mut revocation = shared.clients.revocation.clone();
    let answer = revocation.revoke_code(call.with(message)).await?;
    concerned(Some(&answer.get_ref().code_id))
}

/// Puts a hold on a kind of a holder: its code is refused until it is reinstated, and none can be issued.
#[utoipa::path(post, path = "/api/v1/suspend", tag = "officers", request_body = OfficerBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The code that is on hold", body = ConcernedCode)))]
pub(crate) async fn suspend(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<OfficerBody>,
) -> Result<Response, Problem> {
    let message = officer_message!(SuspendRequest, call, body);
    let mut revocation = shared.clients.revocation.clone();
    let answer = revocation.suspend(call.with(message)).await?;
    concerned(Some(&answer.get_ref().code_id))
}

/// Lifts a hold.
#[utoipa::path(post, path = "/api/v1/reinstate", tag = "officers", request_body = OfficerBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The hold is lifted", body = ConcernedCode)))]
pub(crate) async fn reinstate(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<OfficerBody>,
) -> Result<Response, Problem> {
    let message = officer_message!(ReinstateRequest, call, body);
    let mut revocation = shared.clients.revocation.clone();
    let answer = revocation.reinstate(call.with(message)).await?;
    concerned(answer.get_ref().code_id.as_deref())
}

fn concerned(code_id: Option<&str>) -> Result<Response, Problem> {
    json(&ConcernedCode { code_id })
}

/// Sets a holder's standing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id_number": "11010519491231002X", "standing": "yellow", "reason": "close contact"}))]
pub(crate) struct StandingBody {
    /// The holder's ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// `green`, `yellow` or `red`.
    #[schema(example = "yellow", pattern = "^(green|yellow|red)$")]
    standing: String,
    /// The reason, at most 200 characters.
    #[schema(example = "close contact")]
    reason: String,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Sets a holder's standing. It applies to all of the holder's codes at once and does not change their validity.
#[utoipa::path(post, path = "/api/v1/standing", tag = "officers", request_body = StandingBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The standing is recorded, or was already", body = Done)))]
pub(crate) async fn standing(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<StandingBody>,
) -> Result<Response, Problem> {
    let standing =
        Standing::from_name(&body.standing).ok_or_else(|| invalid("standing must be green, yellow or red"))?;
    let message = proto::SetStandingRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        id_number: body.id_number,
        standing: standing_value(standing).into(),
        reason: body.reason,
    };
    let mut revocation = shared.clients.revocation.clone();
    revocation.set_standing(call.with(message)).await?;
    json(&Done {})
}
