//! The whole city's counts at an instant.

use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{JsonBody, Problem};
use citycode_wire::answer::code_life_name;
use citycode_wire::proto::audit::v1 as proto;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{line, lines, progress_line};
use crate::answer::{Binary, Instant, instant};
use crate::call::Call;
use crate::portal::SharedState;

/// The instant at which codes are counted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"as_of": "2026-05-03T08:14:00+08:00"}))]
pub(crate) struct StateBody {
    /// The instant.
    #[schema(format = DateTime)]
    as_of: String,
    /// Whether small counts are shown too; only for auditors and admins.
    #[serde(default)]
    exact: bool,
    /// Why this is asked, without an ID or telephone number; may be left out, because counts show nobody.
    #[schema(min_length = 4, max_length = 200)]
    purpose: Option<String>,
}

/// Codes of one kind in one state.
#[derive(Serialize, ToSchema)]
struct StateGroupAnswer<'a> {
    /// Name of the kind; its number if the policy no longer has it.
    kind: &'a str,
    /// `valid`, `suspended`, `expired`, `superseded`, `reported_lost`, `revoked`.
    state: &'static str,
    /// How many; absent if the count is suppressed because it, or one that it would reveal, is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// The whole city's codes at an instant.
#[derive(Serialize, ToSchema)]
pub(crate) struct StateAnswer<'a> {
    /// The instant.
    #[schema(value_type = String, format = DateTime)]
    as_of: Instant,
    /// All codes that were issued until then; absent if suppressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    codes: Option<u64>,
    /// By kind and state; groups without codes are left out.
    by: Vec<StateGroupAnswer<'a>>,
}

/// Counts the whole city's codes by kind and state as of an instant. The answer is lines of JSON as of `audit/run`. Counts
/// under ten are suppressed unless `exact`.
#[utoipa::path(post, path = "/api/v1/audit/state", tag = "audit", request_body = StateBody,
    responses((status = 200, description = "Lines: progress, then `{\"result\": StateAnswer}`", body = Binary, content_type = "application/x-ndjson")))]
pub(crate) async fn state(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<StateBody>,
) -> Result<Response, Problem> {
    let message = proto::StateRequest {
        purpose: body.purpose.unwrap_or_default(),
        as_of: instant("as_of", &body.as_of)?,
        exact: body.exact,
    };
    let mut audit = shared.clients.audit.clone();
    let updates = audit.state(call.with(message)).await?.into_inner();
    Ok(lines(updates, |update| match update.update? {
        proto::state_response::Update::Progress(progress) => progress_line(&progress),
        proto::state_response::Update::Result(result) => line("result", &answer(&result)?),
    }))
}

fn answer(result: &proto::StateResult) -> Option<StateAnswer<'_>> {
    let by = result.by.iter().map(|group| {
        Some(StateGroupAnswer {
            kind: &group.kind,
            state: code_life_name(group.state())?,
            count: group.count,
        })
    });
    Some(StateAnswer {
        as_of: Instant(result.as_of),
        codes: result.codes,
        by: by.collect::<Option<_>>()?,
    })
}
