//! The history of a code in the log.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{Code, JsonBody, Problem};
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::proto::audit::v1::history_request::Subject;
use citycode_wire::proto::issuer::v1::ListCodesRequest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::as_of::Past;
use super::verify::PositionAnswer;
use crate::answer::{Instant, incomplete, invalid, json};
use crate::call::Call;
use crate::portal::{Shared, SharedState};

/// The code whose history is requested: either `code_id`, or `kind` and `id_number`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "offline", "id_number": "11010519491231002X"}))]
pub(crate) struct HistoryBody {
    /// Code id, 16 hex digits.
    #[schema(example = "9f86d081884c7d65")]
    code_id: Option<String>,
    /// Name of the kind in the policy.
    kind: Option<String>,
    /// The holder's ID number.
    id_number: Option<String>,
    /// ID number of the guardian who holds it, for kinds that are per guardian.
    guardian: Option<String>,
    /// The history as the log had it at this time (RFC 3339) or up to this position (`PARTITION/SEQUENCE`).
    #[schema(example = "2026-05-03T08:14:00+08:00")]
    as_of: Option<String>,
    /// Why this is asked, without an ID or telephone number; needed with `as_of`.
    #[schema(min_length = 4, max_length = 200)]
    purpose: Option<String>,
}

/// A history.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryAnswer<'a> {
    /// In the order of the log.
    entries: Vec<HistoryEntryAnswer<'a>>,
}

/// One event. It contains nothing personal.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryEntryAnswer<'a> {
    /// Its position in the log.
    position: PositionAnswer,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    decided_at: Instant,
    /// Type of the event.
    #[schema(example = "CodeIssued")]
    event: &'a str,
    /// Role of the caller.
    #[schema(example = "channel:kiosk")]
    actor: &'a str,
    /// Channel of the caller.
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    /// The code that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    code_id: Option<&'a str>,
    /// Further facts by name.
    details: BTreeMap<&'a str, &'a str>,
}

/// Returns the history of a code. With `kind` and `id_number`: of the holder's valid code of that kind or, if there is
/// none, of the last one. With `as_of`: as the log had it then.
#[utoipa::path(post, path = "/api/v1/history", tag = "audit", request_body = HistoryBody,
    responses((status = 200, description = "The code's events in the order of the log", body = HistoryAnswer)))]
pub(crate) async fn history(
    State(shared): SharedState,
    call: Call,
    JsonBody(mut body): JsonBody<HistoryBody>,
) -> Result<Response, Problem> {
    let past = Past::of(body.as_of.as_deref(), body.purpose.take())?;
    // The code of a person is the one of now. At an earlier moment another may have been in its place.
    let whole_slot = past.is_some() && body.code_id.is_none();
    let code_id = match body {
        HistoryBody {
            code_id: Some(code_id),
            kind: None,
            id_number: None,
            guardian: None,
            ..
        } => code_id,
        HistoryBody {
            code_id: None,
            kind: Some(kind),
            id_number: Some(id_number),
            guardian,
            ..
        } => code_of(&shared, &call, &kind, id_number, guardian.unwrap_or_default()).await?,
        _ => {
            return Err(invalid("a history needs either code_id or kind and id_number"));
        }
    };
    let (as_of, purpose) = past.map_or_else(Default::default, |past| (Some(past.as_of), past.purpose));
    let message = proto::HistoryRequest {
        subject: Some(Subject::CodeId(code_id)),
        as_of,
        purpose,
        whole_slot,
    };
    let mut audit = shared.clients.audit.clone();
    let answer = audit.history(call.with(message)).await?.into_inner();
    let entries = answer.entries.iter().map(entry).collect::<Option<_>>();
    json(&HistoryAnswer {
        entries: entries.ok_or_else(|| incomplete("audit"))?,
    })
}

/// The log contains no personal data, so the issuer is asked for the code id, with the caller's token.
async fn code_of(
    shared: &Shared,
    call: &Call,
    kind: &str,
    id_number: String,
    guardian_id_number: String,
) -> Result<String, Problem> {
    use citycode_wire::proto::issuer::v1::CodeLife;
    let message = ListCodesRequest {
        channel: String::new(),
        authentication: None,
        id_number,
        guardian_id_number,
        question_id: Vec::new(),
        actionable: false,
        details: false,
    };
    let mut issuer = shared.clients.issuer.clone();
    let answer = issuer.list_codes(call.with(message)).await?.into_inner();
    answer
        .codes
        .into_iter()
        .filter(|code| code.kind == kind)
        .max_by_key(|code| {
            let lives = matches!(code.state(), CodeLife::Valid | CodeLife::Suspended);
            (lives, code.issued_at)
        })
        .map(|code| code.code_id)
        .ok_or_else(|| Problem::new(Code::NoValidCode, "there is no code of this kind"))
}

fn entry(entry: &proto::HistoryEntry) -> Option<HistoryEntryAnswer<'_>> {
    let position = entry.position.as_ref()?;
    Some(HistoryEntryAnswer {
        position: PositionAnswer::of(position),
        decided_at: Instant(entry.decided_at),
        event: &entry.event_type,
        actor: &entry.actor_role,
        channel: &entry.channel,
        code_id: entry.code_id.as_deref(),
        details: entry
            .details
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
    })
}
