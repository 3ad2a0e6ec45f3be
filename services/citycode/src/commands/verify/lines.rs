//! `citycode verify -`: one verdict for each line of standard input.

use bytes::Bytes;
use citycode_service_kit::problem::Code;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::{VerifyArgs, json_lines, request, sign};
use crate::commands::{DONE, Session};
use crate::scan_lines::ScanLines;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Sequence, note, printable};

/// Lines queued to be sent to the server.
const LINES_AHEAD: usize = 256;
/// Size of one read from standard input, in bytes.
const READ_BYTES: usize = 16 << 10;

/// Sends every line of standard input and prints every answer, in order.
pub(super) async fn run(session: &Session, args: &VerifyArgs) -> Result<u8, Failure> {
    let mut answers = session.output.sequence();
    let ended = answer_lines(session, args, &mut answers).await;
    answers.end(ended)
}

async fn answer_lines(session: &Session, args: &VerifyArgs, printed: &mut Sequence) -> Result<u8, Failure> {
    let (lines, to_send) = tokio::sync::mpsc::channel::<Bytes>(LINES_AHEAD);
    let (input_end, mut input_ended) = tokio::sync::oneshot::channel();
    let template = request(args, None)?;
    tokio::spawn(async move {
        let read = read_scans(&template, &lines).await;
        // This is sent before the body of the call ends, and with it the answers.
        let _ = input_end.send(read);
        drop(lines);
    });
    let body = futures::stream::unfold(to_send, |mut lines| async move {
        let line = lines.recv().await?;
        Some((Ok::<_, std::io::Error>(line), lines))
    });
    let response = session
        .client
        .stream("/api/v1/verify/stream", reqwest::Body::wrap_stream(body))
        .await?;
    let (mut answered, mut problems, mut first_problem) = (0u64, 0u64, None::<Failure>);
    let mut answers = std::pin::pin!(json_lines(response));
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        answered += 1;
        if let Some(problem) = problem_of(&answer) {
            problems += 1;
            first_problem.get_or_insert_with(|| Failure::from_problem(problem.clone()));
        }
        printed.add(&answer, || line(session, &answer))?;
    }
    let Ok(read) = input_ended.try_recv() else {
        return Err(stopped_answering(
            first_problem,
            "it ended the stream while scans were still being sent",
        ));
    };
    if answered < read.scans {
        let why = format!("{answered} of {} scans were answered", read.scans);
        return Err(stopped_answering(first_problem, &why));
    }
    if read.looks_like_utf16 {
        note("lines of standard input contain zero bytes and may be UTF-16 without a byte order mark; send UTF-8");
    }
    if let Some(error) = read.error {
        let fix = "give it a pipe or a file; the scans before it were answered";
        return Err(Failure::local("cannot read standard input", error, fix));
    }
    match first_problem {
        None => Ok(DONE),
        Some(problem) => {
            note(format_args!(
                "{problems} of {answered} scans got no verdict, the first for this reason:"
            ));
            note(problem.line().trim_start_matches("citycode: "));
            Ok(problem.exit())
        }
    }
}

/// A problem among the answers explains best why a stream ended early.
fn stopped_answering(problem: Option<Failure>, why: &str) -> Failure {
    problem.unwrap_or_else(|| Failure::of_code(Code::Unavailable, "the server stopped answering", why, None))
}

/// The result of reading standard input.
struct Read {
    scans: u64,
    looks_like_utf16: bool,
    error: Option<std::io::Error>,
}

/// Sends a request line for each scan on standard input, until the input ends or the receiver is dropped.
async fn read_scans(template: &Value, lines: &tokio::sync::mpsc::Sender<Bytes>) -> Read {
    let (mut input, mut buffer) = (tokio::io::stdin(), vec![0; READ_BYTES]);
    let (mut scans, mut found, mut cut) = (0, Vec::new(), ScanLines::default());
    let error = loop {
        let ended = match input.read(&mut buffer).await {
            Ok(0) => Some(None),
            Ok(read) => {
                cut.push(&buffer[..read], |scan| found.push(scan));
                None
            }
            Err(error) => Some(Some(error)),
        };
        if ended.is_some() {
            cut.finish(|scan| found.push(scan));
        }
        for scan in found.drain(..) {
            let mut request = template.clone();
            request["code"] = json!(scan);
            scans += 1;
            if lines.send(Bytes::from(format!("{request}\n"))).await.is_err() {
                break;
            }
        }
        if let Some(error) = ended {
            break error;
        }
        if lines.is_closed() {
            break None;
        }
    };
    Read {
        scans,
        looks_like_utf16: cut.looks_like_utf16(),
        error,
    }
}

/// The problem because of which a scan got no verdict.
fn problem_of(answer: &Value) -> Option<&Value> {
    answer.get("problem").filter(|problem| !problem.is_null())
}

/// One line of a table: the decision, reason and code, or the reason for a missing verdict.
fn line(session: &Session, answer: &Value) -> String {
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match problem_of(answer) {
        Some(_) => {
            let words = session.output.colour("– NO VERDICT", 31);
            format!(
                "{words}\t{}\t{}",
                printable(text("/problem/code")),
                printable(text("/problem/detail"))
            )
        }
        None => {
            let (words, colour) = sign(text("/decision"));
            let words = session.output.colour(words, colour);
            format!(
                "{words}\t{}\t{}",
                printable(text("/reason")),
                printable(text("/code_id"))
            )
        }
    }
}
