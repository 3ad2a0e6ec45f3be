//! `citycode verify`: one verdict, or one for each line of standard input.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{DONE, Session, body, maybe, text};
use crate::client::root_cause;
use crate::failure::Failure;
use crate::output::{Format, note, printable};
use crate::policy_view::PolicyView;
use citycode_service_kit::problem::Code;

/// Lines on the way to the server at once.
const LINES_AHEAD: usize = 256;

/// Flags of `verify`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode verify --place sentinel --image photo.jpg\n  citycode verify --place staffed --code \"$TOKEN\" --id-number 11010519491231002X\n  citycode verify --place sampling_desk --id-card 11010519491231002X\n  zbarcam --raw | citycode verify --place sentinel -\n\nExit code of one verdict: 0 admit, 3 refuse or only after an ID check, 5 cannot check. With `-`: 0 where every\nline got a verdict, else the code of the first problem."
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
    #[arg(long, value_name = "N")]
    id_card: Option<String>,
    /// `-` reads one scan a line from standard input.
    #[arg(value_name = "-", value_parser = ["-"])]
    lines: Option<String>,
    /// The number on the ID card that was shown with the code.
    #[arg(long)]
    id_number: Option<String>,
    /// The device that scans.
    #[arg(long)]
    device: Option<String>,
    /// The device's own name for this scan; sent again it is one record.
    #[arg(long)]
    scan_id: Option<String>,
    /// What the verdict would be at another time; records nothing.
    #[arg(long, value_name = "RFC3339")]
    at: Option<jiff::Timestamp>,
}

pub(crate) async fn run(session: &Session, args: &VerifyArgs) -> Result<u8, Failure> {
    if args.lines.is_some() {
        return stream(session, args).await;
    }
    let code = match (&args.code, &args.image) {
        (Some(code), _) => Some(code.clone()),
        (None, Some(path)) => Some(read_image(path).await?),
        (None, None) => None,
    };
    let request = request(args, code.as_ref(), args.id_card.as_ref());
    let verdict = session.client.post("/api/v1/verify", &request, None).await?;
    let calendar = session.calendar().await;
    if session.output.format == Format::Table && session.output.coloured {
        let (words, colour) = sign(verdict.get("decision").and_then(Value::as_str).unwrap_or_default());
        session.output.lines(&session.output.colour(words, colour))?;
    }
    session.output.thing(&verdict, &facts(&verdict, &calendar))?;
    Ok(exit_code(&verdict))
}

fn request(args: &VerifyArgs, code: Option<&String>, id_card: Option<&String>) -> Value {
    body(&[
        ("place", text(&args.place)),
        ("code", maybe(code)),
        ("id_card", maybe(id_card)),
        ("id_number", maybe(args.id_number.as_ref())),
        ("device", maybe(args.device.as_ref())),
        ("scan_id", maybe(args.scan_id.as_ref())),
        ("at", args.at.map(|at| Value::from(at.to_string()))),
    ])
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
    let (lines, to_send) = tokio::sync::mpsc::channel::<Bytes>(LINES_AHEAD);
    let template = request(args, None, None);
    let reader = tokio::spawn(async move {
        let mut input = BufReader::new(tokio::io::stdin()).lines();
        let mut count = 0u64;
        while let Ok(Some(line)) = input.next_line().await {
            let mut request = template.clone();
            request["code"] = json!(line);
            count += 1;
            if lines.send(Bytes::from(format!("{request}\n"))).await.is_err() {
                break;
            }
        }
        count
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
        match session.output.format {
            Format::Table => session.output.lines(&line(session, &answer))?,
            Format::Json | Format::Ndjson => session.output.lines(&answer.to_string())?,
        }
    }
    let asked = reader.await.unwrap_or(0);
    if answered < asked {
        let why = format!("{answered} of {asked} scans were answered");
        return Err(Failure::of_code(
            Code::Unavailable,
            "the server stopped answering",
            why,
            None,
        ));
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
