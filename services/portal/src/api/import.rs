//! Bulk import: registers residents and issues their codes.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_wire::answer::import_outcome_name;
use citycode_wire::proto::issuer::v1 as proto;
use citycode_wire::proto::issuer::v1::import_request::Part;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{Binary, CodeAnswer, attestation, incomplete, invalid};
use crate::call::Call;
use crate::lines::{Line, Lines};
use crate::pipeline::send_lines;
use crate::portal::SharedState;

/// The first line: the options for all rows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "offline", "channel": "counter"}))]
pub(crate) struct ImportOptions {
    /// Name of the kind to issue.
    #[schema(example = "offline")]
    kind: String,
    /// The channel in whose name it is issued.
    #[schema(example = "counter")]
    channel: String,
    /// Whether persons with a valid code of the kind get a new one.
    #[serde(default)]
    reissue: bool,
    /// Whether the answer includes the data for prints.
    #[serde(default)]
    print: bool,
}

/// Every further line: one resident.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"line": 2, "id_number": "11010519491231002X", "name": "张小三"}))]
pub(crate) struct ImportRow {
    /// Line in the caller's file; it is returned in the answer.
    #[schema(example = 2)]
    line: u64,
    /// Resident ID number.
    #[schema(example = "11010519491231002X")]
    id_number: String,
    /// Name.
    #[schema(example = "张小三")]
    name: String,
    /// The channel attests the city's disability certificate.
    #[serde(default)]
    disability: bool,
    /// The channel attests a special group of the policy.
    group: Option<String>,
}

/// The result of a row.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportAnswer<'a> {
    /// The row's line; if it could not be read, the number of the row in this stream, from 1.
    line: u64,
    /// `issued`, `kept` or `rejected`.
    #[schema(example = "issued")]
    outcome: &'a str,
    /// The issued code; or the existing one, if prints were requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<CodeAnswer<'a>>,
    /// The reason of the rejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<RowProblem<'a>>,
}

/// Why a row was rejected.
#[derive(Serialize, ToSchema)]
struct RowProblem<'a> {
    /// Stable code.
    #[schema(example = "invalid_id_number")]
    code: &'a str,
    /// One sentence.
    detail: &'a str,
    /// `not_done`, or `unknown` if the row may have been imported: import it again.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(example = "not_done")]
    outcome: &'a str,
}

/// The first line contains the options for all rows, each further line is a resident; each row is answered by one
/// line, in order. A malformed row is `rejected` and the stream continues. If the whole import fails midway, the last
/// line is `{"problem":…}` and rows without an answer may or may not have been imported: run it again.
#[utoipa::path(post, path = "/api/v1/import", tag = "codes",
    request_body(content = Binary, content_type = "application/x-ndjson",
        description = "Lines: first `ImportOptions` as JSON, then an `ImportRow` as JSON for each resident"),
    responses((status = 200, description = "One line of answer for each row, in order: `ImportAnswer` as JSON, or `{\"problem\": …}`", body = Binary, content_type = "application/x-ndjson")))]
pub(crate) async fn import(
    State(shared): SharedState,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut lines = Lines::of(&headers, body)?;
    let Some(Ok(Line::Text(first))) = lines.next().await else {
        return Err(invalid("the first line of an import must contain its options"));
    };
    let options: ImportOptions = serde_json::from_slice(&first)
        .map_err(|_| invalid("the first line is not an import's options: kind, channel, reissue, print"))?;
    let options = Part::Options(proto::ImportOptions {
        kind: options.kind,
        channel: options.channel,
        reissue: options.reissue,
        print: options.print,
    });
    let mut row_number = 0;
    let (messages, in_progress) = send_lines(
        lines,
        Some(message(options)),
        call.expired(&shared.clock),
        move |line| {
            row_number += 1;
            row(&line, row_number)
        },
    );
    let mut issuer = shared.clients.issuer.clone();
    let answers = issuer.import(call.with(messages)).await?;
    Ok(in_progress.answer(answers.into_inner(), render))
}

fn message(part: Part) -> proto::ImportRequest {
    proto::ImportRequest { part: Some(part) }
}

/// The row as a message, or the answer to a malformed row.
fn row(line: &Line, row_number: u64) -> Result<proto::ImportRequest, Vec<u8>> {
    let Line::Text(text) = line else {
        return Err(rejected(row_number, Code::TooLarge, "the line is longer than allowed"));
    };
    let Ok(row) = serde_json::from_slice::<ImportRow>(text) else {
        let readable = String::from_utf8_lossy(text);
        let said = serde_json::from_str::<serde_json::Value>(&readable)
            .ok()
            .and_then(|row| row.get("line")?.as_u64());
        let detail = match readable {
            std::borrow::Cow::Borrowed(_) => "the line is not a row as JSON; see /openapi.json",
            std::borrow::Cow::Owned(_) => "the line is not UTF-8",
        };
        return Err(rejected(said.unwrap_or(row_number), Code::InvalidRequest, detail));
    };
    Ok(message(Part::Row(proto::ImportRow {
        line: row.line,
        id_number: row.id_number,
        name: row.name,
        attestation: attestation(row.disability, row.group),
    })))
}

fn rejected(line: u64, code: Code, detail: &str) -> Vec<u8> {
    let answer = ImportAnswer {
        line,
        outcome: "rejected",
        code: None,
        problem: Some(RowProblem {
            code: code.as_str(),
            detail,
            outcome: Outcome::NotDone.as_str(),
        }),
    };
    serde_json::to_vec(&answer).expect("strings and numbers are JSON")
}

fn render(answer: proto::ImportResponse) -> Result<Vec<u8>, Problem> {
    let outcome = import_outcome_name(answer.outcome()).ok_or_else(|| incomplete("issuer"))?;
    let line = ImportAnswer {
        line: answer.line,
        outcome,
        code: answer.code.as_ref().and_then(CodeAnswer::of),
        problem: answer.problem.as_ref().map(|problem| RowProblem {
            code: &problem.code,
            detail: &problem.detail,
            outcome: &problem.outcome,
        }),
    };
    serde_json::to_vec(&line).map_err(|_| incomplete("issuer"))
}
