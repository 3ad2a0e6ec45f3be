//! Verification of a stream of scans, answered in order.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_wire::proto::verifier::v1 as proto;
use http::HeaderMap;

use super::verify::{VerdictAnswer, VerifyBody};
use crate::answer::{Binary, incomplete, invalid};
use crate::call::Call;
use crate::lines::{Line, Lines};
use crate::pipeline::{problem_line, send_lines};
use crate::portal::SharedState;

/// Each line of the request is a scan and is answered by one line with its verdict, in order; LF, CR or both end a
/// line. A line that is malformed or cannot be judged is answered with `{"problem":…}` in order, and the stream
/// continues. A code with bytes that are not UTF-8 is refused as `unreadable`.
#[utoipa::path(post, path = "/api/v1/verify/stream", tag = "checking",
    request_body(content = Binary, content_type = "application/x-ndjson",
        description = "Lines, each a `VerifyBody` as JSON"),
    responses((status = 200, description = "One line of answer for each scan, in order: `VerdictAnswer` as JSON, or `{\"problem\": …}`", body = Binary, content_type = "application/x-ndjson")))]
pub(crate) async fn verify_stream(
    State(shared): SharedState,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let lines = Lines::of(&headers, body)?;
    let (messages, in_progress) = send_lines(lines, None, call.expired(&shared.clock), |line| {
        scan(line).map_err(|problem| problem_line(&problem.of_change()))
    });
    let mut verifier = shared.clients.verifier.clone();
    let answers = verifier.verify_stream(call.with(messages)).await?;
    Ok(in_progress.answer(answers.into_inner(), render))
}

fn scan(line: Line) -> Result<proto::VerifyRequest, Problem> {
    match line {
        Line::TooLong => Err(Problem::new(Code::TooLarge, "the line is longer than allowed")),
        Line::Text(text) => body(&text)?.into_message(),
    }
}

/// Parses a scan. The code that a scanner read may not be UTF-8: such bytes are replaced by U+FFFD, which no code
/// contains, and the verifier answers `unreadable`. In other fields they are refused, because a name or a number with
/// replaced bytes could equal another one.
fn body(line: &[u8]) -> Result<VerifyBody, Problem> {
    let text = String::from_utf8_lossy(line);
    let body = serde_json::from_str::<VerifyBody>(&text)
        .map_err(|_| invalid("the line is not a scan as JSON; see /openapi.json"))?;
    if matches!(text, Cow::Owned(_)) && body.others().any(|other| other.contains(char::REPLACEMENT_CHARACTER)) {
        return Err(invalid("the line is not UTF-8"));
    }
    Ok(body)
}

fn render(answer: proto::VerifyResponse) -> Result<Vec<u8>, Problem> {
    if let Some(problem) = &answer.problem {
        let code = Code::parse(&problem.code).unwrap_or(Code::Internal);
        let said = Problem::new(code, problem.detail.as_str());
        let said = Outcome::parse(&problem.outcome).map_or(said.clone(), |outcome| said.with_outcome(outcome));
        return Ok(problem_line(&said.of_change()));
    }
    let verdict = VerdictAnswer::of(&answer).ok_or_else(|| incomplete("verifier"))?;
    serde_json::to_vec(&verdict).map_err(|_| incomplete("verifier"))
}
