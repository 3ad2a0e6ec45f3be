//! `citycode verify`: one verdict, or one for each line of standard input.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::id_number::IdNumberArg;
use super::{DONE, Session, body, maybe, maybe_number, text};
use crate::client::root_cause;
use crate::failure::Failure;
use crate::output::{Format, Sequence, note, printable};
use crate::policy_view::PolicyView;
use crate::scan_lines::ScanLines;
use citycode_service_kit::problem::Code;

/// Lines on the way to the server at once.
const LINES_AHEAD: usize = 256;
/// Standard input is read in pieces of at most so many bytes.
const READ_BYTES: usize = 16 << 10;

/// Flags of `verify`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode verify --place sentinel --image photo.jpg\n  citycode verify --place staffed --code \"$TOKEN\" --id-number @number.txt\n  citycode verify --place sampling_desk --id-card @number.txt\n  zbarcam --raw | citycode verify --place sentinel -\n\nExit code of one verdict: 0 admit, 3 refuse or only after an ID check, 5 cannot check. With `-`: 0 where every\nline got a verdict, else the code of the first problem; 1 where standard input cannot be read. Lines end with LF, CR\nor both; a line that is no UTF-8 is refused as unreadable. With --output json the answers are one array."
)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(false).args(["code", "image", "id_card", "lines"])))]
#[group(skip)]
pub(crate) struct VerifyArgs {
    /// The place, e.g. sentinel, staffed, sampling_desk.
    #[arg(long)]
    place: String,
    /// What the scanner read.
    #[arg(long, value_name = "TEXT")]
    code: Option<String>,
    /// A photograph or screenshot (PNG, JPEG).
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The ID card itself, without a code.
    #[arg(long, value_name = "N, - or @FILE")]
    id_card: Option<IdNumberArg>,
    /// `-` reads one scan a line from standard input.
    #[arg(value_name = "-", value_parser = ["-"])]
    lines: Option<String>,
    /// The number on the ID card that was shown with the code.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// The device that scans.
    #[arg(long)]
    device: Option<String>,
    /// The device's own name for this scan; sent again it is one record.
    #[arg(long)]
    scan_id: Option<String>,
    /// What the verdict would be at a later time, on what is known now; an auditor's or an admin's, and records nothing.
    #[arg(long, value_name = "RFC3339")]
    at: Option<jiff::Timestamp>,
}

pub(crate) async fn run(session: &Session, args: &VerifyArgs) -> Result<u8, Failure> {
    if args.lines.is_some() {
        if args.id_number.as_ref().is_some_and(IdNumberArg::is_standard_input) {
            let why = "standard input gives the scans, so it cannot give the ID number too";
            return Err(Failure::usage(why, "give --id-number @FILE"));
        }
        return stream(session, args).await;
    }
    let code = match (&args.code, &args.image) {
        (Some(code), _) => Some(code.clone()),
        (None, Some(path)) => Some(read_image(path).await?),
        (None, None) => None,
    };
    let request = request(args, code.as_ref())?;
    let verdict = session.client.post("/api/v1/verify", &request, None).await?;
    let calendar = session.calendar().await;
    if session.output.format == Format::Table && session.output.coloured {
        let (words, colour) = sign(verdict.get("decision").and_then(Value::as_str).unwrap_or_default());
        session.output.lines(&session.output.colour(words, colour))?;
    }
    session.output.thing(&verdict, &facts(&verdict, &calendar))?;
    Ok(exit_code(&verdict))
}

fn request(args: &VerifyArgs, code: Option<&String>) -> Result<Value, Failure> {
    Ok(body(&[
        ("place", text(&args.place)),
        ("code", maybe(code)),
        ("id_card", maybe_number("--id-card", args.id_card.as_ref())?),
        ("id_number", maybe_number("--id-number", args.id_number.as_ref())?),
        ("device", maybe(args.device.as_ref())),
        ("scan_id", maybe(args.scan_id.as_ref())),
        ("at", args.at.map(|at| Value::from(at.to_string()))),
    ]))
}

/// The text of the one symbol in a picture, read on this machine.
pub(crate) async fn read_image(path: &std::path::Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
    let read = tokio::task::spawn_blocking(move || citycode_qr::read_image(&bytes)).await;
    let read = read.map_err(|error| Failure::local("cannot read the picture", error, "try another picture"))?;
    read.map_err(|error| Failure::of_code(Code::UnreadableImage, "the picture cannot be used", error, None))
}

/// Admitted 0, refused or only after an ID check 3, cannot check 5.
fn exit_code(verdict: &Value) -> u8 {
    match verdict.get("decision").and_then(Value::as_str) {
        Some("admit") => DONE,
        Some("cannot_check") => 5,
        _ => 3,
    }
}

/// A decision as a sign and words, and the colour for them.
fn sign(decision: &str) -> (&'static str, u8) {
    match decision {
        "admit" => ("✔ ADMIT", 32),
        "admit_after_id_check" => ("! ADMIT AFTER ID CHECK", 33),
        "cannot_check" => ("? CANNOT CHECK", 35),
        _ => ("✘ REFUSE", 31),
    }
}

fn facts(verdict: &Value, calendar: &PolicyView) -> Vec<(&'static str, String)> {
    let text = |key: &str| verdict.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (words, _) = sign(&text("decision"));
    let mut facts = vec![("verdict", words.to_owned()), ("reason", text("reason"))];
    for (name, key) in [
        ("kind", "kind"),
        ("code", "code_id"),
        ("expires", "expires_at"),
        ("standing", "standing"),
    ] {
        if verdict.get(key).is_some_and(Value::is_string) {
            facts.push((name, calendar.local_time(&text(key))));
        }
    }
    for language in ["zh", "en"] {
        if let Some(words) = verdict
            .pointer(&format!("/explanation/{language}"))
            .and_then(Value::as_str)
        {
            facts.push((if language == "zh" { "说明" } else { "" }, words.to_owned()));
        }
    }
    facts
}

/// Sends every line of standard input and prints every answer, in order.
async fn stream(session: &Session, args: &VerifyArgs) -> Result<u8, Failure> {
    let mut answers = session.output.sequence();
    let ended = answer_lines(session, args, &mut answers).await;
    answers.end(ended)
}

async fn answer_lines(session: &Session, args: &VerifyArgs, printed: &mut Sequence) -> Result<u8, Failure> {
    let (lines, to_send) = tokio::sync::mpsc::channel::<Bytes>(LINES_AHEAD);
    let (tell_end, mut input_ended) = tokio::sync::oneshot::channel();
    let template = request(args, None)?;
    tokio::spawn(async move {
        let read = read_scans(&template, &lines).await;
        // Before the body of the call ends, and with it the answers.
        let _ = tell_end.send(read);
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
            "it ended the stream while scans were still coming",
        ));
    };
    if answered < read.scans {
        let why = format!("{answered} of {} scans were answered", read.scans);
        return Err(stopped_answering(first_problem, &why));
    }
    if read.looks_like_utf16 {
        note("lines of standard input have zero bytes inside: is it UTF-16 without a byte order mark? Send UTF-8");
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

/// A problem among the answers says best why a stream ended early.
fn stopped_answering(problem: Option<Failure>, why: &str) -> Failure {
    problem.unwrap_or_else(|| Failure::of_code(Code::Unavailable, "the server stopped answering", why, None))
}

/// What was read of standard input.
struct Read {
    scans: u64,
    looks_like_utf16: bool,
    error: Option<std::io::Error>,
}

/// Makes a line of the call of each scan on standard input, until it ends or nobody takes them any more.
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

/// Why a scan of a stream got no verdict.
fn problem_of(answer: &Value) -> Option<&Value> {
    answer.get("problem").filter(|problem| !problem.is_null())
}

/// One answer of many, for people: sign and words, reason, code; or why there is no verdict.
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

/// The lines of a response, each a JSON value.
pub(crate) fn json_lines(response: reqwest::Response) -> impl futures::Stream<Item = Result<Value, Failure>> {
    let state = (Box::pin(response.bytes_stream()), Vec::<u8>::new());
    futures::stream::unfold(Some(state), |state| async move {
        let (mut chunks, mut pending) = state?;
        loop {
            if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let value = serde_json::from_slice(&line).map_err(|error| super::unexpected(&error));
                return Some((value, Some((chunks, pending))));
            }
            match chunks.next().await {
                Some(Ok(chunk)) => pending.extend_from_slice(&chunk),
                Some(Err(error)) => {
                    let failure = Failure::of_code(
                        Code::Unavailable,
                        "the connection was lost",
                        root_cause(&error),
                        Some("run it again: what was answered stands"),
                    );
                    return Some((Err(failure), None));
                }
                None => return None,
            }
        }
    })
}
