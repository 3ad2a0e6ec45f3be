//! The stream of queries: who looked at a person, a code or a scan, when and why.

use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{JsonBody, Problem};
use citycode_wire::proto::audit::v1::{ListQueriesRequest, QueryEntry};
use citycode_wire::proto::issuer::v1::{ListQueriesAboutRequest, QueryAbout};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{Authentication, Instant, json};
use crate::call::Call;
use crate::portal::SharedState;

/// A part of the stream of queries.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"purpose": "quarterly review", "from": 1, "limit": 100}))]
pub(crate) struct QueriesBody {
    /// Why this is asked, without an ID or telephone number.
    #[schema(min_length = 4, max_length = 200)]
    purpose: Option<String>,
    /// The first sequence; the start of the stream if absent.
    from: Option<u64>,
    /// Most entries, up to 500.
    #[schema(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// A recorded query.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueryAnswer<'a> {
    /// Its place in the stream, from 1.
    sequence: u64,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    asked_at: Instant,
    /// Who asked: issuer and subject of the access token.
    #[schema(example = "https://id.example auditor-3")]
    asker: &'a str,
    /// The caller's roles.
    roles: &'a [String],
    /// The kind of the question.
    #[schema(example = "explain")]
    kind: &'a str,
    /// Number of rows of the answer.
    rows: u64,
    /// Why it was asked; absent once its retention has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    /// Number of the person who was looked at; absent if it was nobody, the person is erased, or the retention has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "3f9c2a7704d1e5b8")]
    person: Option<&'a str>,
}

/// Queries in the order of the stream.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueriesAnswer<'a> {
    /// The queries.
    queries: Vec<QueryAnswer<'a>>,
    /// The sequence to continue with; absent at the end of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// Lists the recorded queries: who looked at a person, a code or a scan, when and why. For the role `privacy`; the look is
/// itself recorded.
#[utoipa::path(post, path = "/api/v1/audit/queries", tag = "audit", request_body = QueriesBody,
    responses((status = 200, description = "A part of the stream of queries", body = QueriesAnswer)))]
pub(crate) async fn queries(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<QueriesBody>,
) -> Result<Response, Problem> {
    let message = ListQueriesRequest {
        purpose: body.purpose.unwrap_or_default(),
        from: body.from.unwrap_or_default(),
        limit: body.limit.unwrap_or_default(),
    };
    let mut audit = shared.clients.audit.clone();
    let answer = audit.list_queries(call.with(message)).await?.into_inner();
    json(&QueriesAnswer {
        queries: answer.entries.iter().map(entry).collect(),
        next: answer.next,
    })
}

fn entry(entry: &QueryEntry) -> QueryAnswer<'_> {
    QueryAnswer {
        sequence: entry.sequence,
        asked_at: Instant(entry.asked_at),
        asker: &entry.asker,
        roles: &entry.roles,
        kind: &entry.kind,
        rows: entry.rows,
        purpose: entry.purpose.as_deref(),
        person: entry.person.as_deref(),
    }
}

/// The person whose queries are listed. A privacy officer gives a purpose; the person asks through a channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id_number": "11010519491231002X", "channel": "kiosk"}))]
pub(crate) struct QueriesAboutBody {
    /// The person's ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// Why this is asked, without an ID or telephone number; absent if the person asks.
    #[schema(min_length = 4, max_length = 200)]
    purpose: Option<String>,
    /// The channel; absent for a privacy officer.
    channel: Option<String>,
    /// How the person was authenticated.
    authentication: Option<Authentication>,
}

/// One query about a person, without who asked.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueryAboutAnswer<'a> {
    /// The date in the policy's time zone.
    #[schema(value_type = String, format = Date, example = "2026-11-29")]
    date: &'a str,
    /// The kind of the question.
    #[schema(example = "explain")]
    kind: &'a str,
    /// Why it was asked; absent if the question needed no purpose.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(example = "complaint 17")]
    purpose: &'a str,
}

/// The queries about a person.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueriesAboutAnswer<'a> {
    /// The newest thousand whose purpose is retained, in the order in which they were recorded.
    queries: Vec<QueryAboutAnswer<'a>>,
}

/// Lists when and why somebody looked at a person, without who it was: for the person, and for the role `privacy`.
#[utoipa::path(post, path = "/api/v1/audit/queries/about", tag = "audit", request_body = QueriesAboutBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid",
        description = "The question's id: the same question with the same assertion is answered again")),
    responses((status = 200, description = "The queries about the person", body = QueriesAboutAnswer)))]
pub(crate) async fn queries_about(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<QueriesAboutBody>,
) -> Result<Response, Problem> {
    let message = ListQueriesAboutRequest {
        purpose: body.purpose.unwrap_or_default(),
        channel: body.channel.unwrap_or_default(),
        authentication: body.authentication.map(Into::into),
        id_number: body.id_number,
        question_id: call.command_id(None)?,
    };
    let mut issuer = shared.clients.issuer.clone();
    let answer = issuer.list_queries_about(call.with(message)).await?.into_inner();
    json(&QueriesAboutAnswer {
        queries: answer.queries.iter().map(about).collect(),
    })
}

fn about(query: &QueryAbout) -> QueryAboutAnswer<'_> {
    QueryAboutAnswer {
        date: &query.date,
        kind: &query.kind,
        purpose: &query.purpose,
    }
}
