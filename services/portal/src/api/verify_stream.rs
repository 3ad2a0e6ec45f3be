//! Many scans over one call, answered in order.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::verifier::v1 as proto;
use http::HeaderMap;

use super::verify::{VerdictAnswer, VerifyBody};
use crate::answer::{incomplete, invalid};
use crate::call::Call;
use crate::lines::{Line, Lines};
use crate::pipeline::{problem_line, send_lines};
use crate::portal::SharedState;

/// A line a scan in, a line a verdict out, in order. A line that cannot be understood or judged is answered with
/// `{"problem":…}` in its place, and the stream goes on.
#[utoipa::path(post, path = "/api/v1/verify/stream", tag = "checking",
    request_body(content = VerifyBody, content_type = "application/x-ndjson"),
    responses((status = 200, body = VerdictAnswer, content_type = "application/x-ndjson")))]
pub(crate) async fn verify_stream(
    State(shared): SharedState,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let lines = Lines::of(&headers, body)?;
    let (messages, under_way) = send_lines(lines, None, |line| scan(line).map_err(|problem| problem_line(&problem)));
    let mut verifier = shared.clients.verifier.clone();
    let answers = verifier.verify_stream(call.with(messages)).await?;
    Ok(under_way.answer(answers.into_inner(), render))
}

fn scan(line: Line) -> Result<proto::VerifyRequest, Problem> {
    match line {
        Line::TooLong => Err(Problem::new(Code::TooLarge, "the line is longer than allowed")),
        Line::Text(text) => serde_json::from_slice::<VerifyBody>(&text)
            .map_err(|_| invalid("the line is not a scan as JSON; see /openapi.json"))?
            .into_message(),
    }
}

fn render(answer: proto::VerifyResponse) -> Result<Vec<u8>, Problem> {
    if let Some(problem) = &answer.problem {
        let code = Code::parse(&problem.code).unwrap_or(Code::Internal);
        return Ok(problem_line(&Problem::new(code, problem.detail.as_str())));
    }
    let verdict = VerdictAnswer::of(&answer).ok_or_else(|| incomplete("verifier"))?;
    serde_json::to_vec(&verdict).map_err(|_| incomplete("verifier"))
}
