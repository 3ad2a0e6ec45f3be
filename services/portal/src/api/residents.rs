//! Registering, relating, renaming and erasing persons.

use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{JsonBody, Problem};
use citycode_wire::proto::issuer::v1 as proto;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::{Authentication, Done, attestation, json};
use crate::call::Call;
use crate::portal::SharedState;

/// A registration of a resident.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id_number": "11010519491231002X", "name": "张小三", "channel": "kiosk"}))]
pub(crate) struct RegisterBody {
    /// Resident ID number, GB 11643.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// Letters, marks, spaces, hyphens, apostrophes and middle dots, at most 64 characters.
    #[schema(example = "张小三")]
    name: String,
    /// The channel attests the city's disability certificate.
    #[serde(default)]
    disability: bool,
    /// The channel attests a special group of the policy.
    group: Option<String>,
    /// The channel; the caller's own if absent.
    #[schema(example = "kiosk")]
    channel: Option<String>,
    /// How the person was authenticated.
    authentication: Option<Authentication>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Registers a resident. Repeating it with the same number changes nothing and has the same answer.
#[utoipa::path(post, path = "/api/v1/register", tag = "residents", request_body = RegisterBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The person is registered; the same if it was registered before", body = Done)))]
pub(crate) async fn register(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<Response, Problem> {
    let message = proto::RegisterRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        channel: body.channel.unwrap_or_default(),
        authentication: body.authentication.map(Into::into),
        id_number: body.id_number,
        name: body.name,
        attestation: attestation(body.disability, body.group),
    };
    let mut issuer = shared.clients.issuer.clone();
    issuer.register(call.with(message)).await?;
    json(&Done {})
}

/// Records a family relationship.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"guardian": "11010519491231002X", "dependent": "310101201001010012"}))]
pub(crate) struct RelateBody {
    /// ID number of the guardian.
    #[schema(example = "11010519491231002X")]
    guardian: String,
    /// ID number of the dependent.
    #[schema(example = "310101201001010012")]
    dependent: String,
    /// The channel; absent if an officer records it.
    channel: Option<String>,
    /// How the guardian was authenticated.
    guardian_authentication: Option<Authentication>,
    /// How the dependent was authenticated.
    dependent_authentication: Option<Authentication>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Records a family relationship.
#[utoipa::path(post, path = "/api/v1/relate", tag = "residents", request_body = RelateBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The relationship is recorded, or was already", body = Done)))]
pub(crate) async fn relate(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<RelateBody>,
) -> Result<Response, Problem> {
    let message = proto::RelateRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        channel: body.channel.unwrap_or_default(),
        guardian_authentication: body.guardian_authentication.map(Into::into),
        dependent_authentication: body.dependent_authentication.map(Into::into),
        guardian_id_number: body.guardian,
        dependent_id_number: body.dependent,
    };
    let mut issuer = shared.clients.issuer.clone();
    issuer.relate(call.with(message)).await?;
    json(&Done {})
}

/// Ends a family relationship.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"guardian": "11010519491231002X", "dependent": "310101201001010012"}))]
pub(crate) struct UnrelateBody {
    /// ID number of the guardian.
    #[schema(example = "11010519491231002X")]
    guardian: String,
    /// ID number of the dependent.
    #[schema(example = "310101201001010017")]
    dependent: String,
    /// The channel; absent if an officer ends it.
    channel: Option<String>,
    /// How the requesting person was authenticated.
    authentication: Option<Authentication>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Ends a family relationship and the codes that depend on it.
#[utoipa::path(post, path = "/api/v1/unrelate", tag = "residents", request_body = UnrelateBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The relationship has ended, or had already", body = Done)))]
pub(crate) async fn unrelate(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<UnrelateBody>,
) -> Result<Response, Problem> {
    let message = proto::UnrelateRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        channel: body.channel.unwrap_or_default(),
        authentication: body.authentication.map(Into::into),
        guardian_id_number: body.guardian,
        dependent_id_number: body.dependent,
    };
    let mut issuer = shared.clients.issuer.clone();
    issuer.unrelate(call.with(message)).await?;
    json(&Done {})
}

/// Corrects a person's name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id_number": "11010519491231002X", "name": "张晓三", "reason": "a typing error at registration"}))]
pub(crate) struct RenameBody {
    /// The person's ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// The correct name: letters, marks, spaces, hyphens, apostrophes and middle dots, at most 64 characters.
    #[schema(example = "张晓三")]
    name: String,
    /// The reason, at most 200 characters.
    #[schema(example = "a typing error at registration")]
    reason: String,
    /// The channel; absent if an officer corrects it.
    channel: Option<String>,
    /// How the person was authenticated; a channel needs an assertion.
    authentication: Option<Authentication>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Corrects a person's name. Codes do not change, new prints show the new name, and the old name is destroyed.
#[utoipa::path(post, path = "/api/v1/rename", tag = "officers", request_body = RenameBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The person has the new name", body = Done)))]
pub(crate) async fn rename(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<RenameBody>,
) -> Result<Response, Problem> {
    let message = proto::RenameRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        channel: body.channel.unwrap_or_default(),
        authentication: body.authentication.map(Into::into),
        id_number: body.id_number,
        name: body.name,
        reason: body.reason,
    };
    let mut issuer = shared.clients.issuer.clone();
    issuer.rename(call.with(message)).await?;
    json(&Done {})
}

/// A request to erase a person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id_number": "11010519491231002X"}))]
pub(crate) struct EraseBody {
    /// The holder's ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// The channel; absent if an officer orders it.
    channel: Option<String>,
    /// How the holder was authenticated.
    authentication: Option<Authentication>,
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Ends the holder's codes, then destroys the personal data. It cannot be undone.
#[utoipa::path(post, path = "/api/v1/erase", tag = "residents", request_body = EraseBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The person is erased", body = Done)))]
pub(crate) async fn erase(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<EraseBody>,
) -> Result<Response, Problem> {
    let message = proto::EraseRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        channel: body.channel.unwrap_or_default(),
        authentication: body.authentication.map(Into::into),
        id_number: body.id_number,
    };
    let mut issuer = shared.clients.issuer.clone();
    issuer.erase(call.with(message)).await?;
    json(&Done {})
}
