//! `citycode verify`: one verdict, or one for each line of standard input.

mod lines;

use std::path::PathBuf;

use clap::Args;
use futures::StreamExt as _;
use serde_json::Value;

use super::id_number::IdNumberArg;
use super::{DONE, Session, body, maybe, maybe_number, text};
use crate::client::{MAX_ANSWER_BYTES, too_long};
use crate::policy_view::PolicyView;
use citycode_service_kit::problem::Code;
use citycode_terminal::failure::Failure;
use citycode_terminal::failure::root_cause;
use citycode_terminal::output::Format;

/// Flags of `verify`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode verify --place sentinel --image photo.jpg\n  citycode verify --place staffed --code \"$TOKEN\" --id-number @number.txt\n  citycode verify --place sampling_desk --id-card @number.txt\n  zbarcam --raw | citycode verify --place sentinel -\n\nExit code of one verdict: 0 admit, 3 refuse or only after an ID check, 5 cannot check. With `-`: 0 if every line\ngot a verdict, else the code of the first problem; 1 if standard input cannot be read. Lines end with LF, CR\nor both; a line that is not UTF-8 is refused as unreadable. With --output json the answers are one array."
)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(false).args(["code", "image", "id_card", "lines"])))]
#[group(skip)]
pub(crate) struct VerifyArgs {
    /// The place, e.g. sentinel, staffed, sampling_desk.
    #[arg(long)]
    place: String,
    /// The text that the scanner read.
    #[arg(long, value_name = "TEXT")]
    code: Option<String>,
    /// A photograph or screenshot (PNG, JPEG).
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The ID card itself, without a code.
    #[arg(long, value_name = "N, - or @FILE")]
    id_card: Option<IdNumberArg>,
    /// `-` reads one scan per line from standard input.
    // It is checked in `run`: the parser's message would repeat a code that was given without its flag.
    #[arg(value_name = "-")]
    lines: Option<String>,
    /// The number on the ID card that was shown with the code.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// The person does not match the ID card: a code that would admit is refused, and the scan is recorded.
    #[arg(long, conflicts_with_all = ["id_card", "id_number", "lines"])]
    person_differs: bool,
    /// The scanning device.
    #[arg(long)]
    device: Option<String>,
    /// The device's id of this scan; a repetition with the same id is stored once.
    #[arg(long)]
    scan_id: Option<String>,
    /// Predict the verdict at a later time from the current state; for auditors and admins, stores no scan record.
    #[arg(long, value_name = "RFC3339")]
    at: Option<jiff::Timestamp>,
}

pub(crate) async fn run(session: &Session, args: &VerifyArgs) -> Result<u8, Failure> {
    if let Some(lines) = &args.lines {
        if lines != "-" {
            let why = "the only argument without a flag is -, which reads scans from standard input";
            return Err(Failure::usage(why, "give a code with --code"));
        }
        if args.id_number.as_ref().is_some_and(IdNumberArg::is_standard_input) {
            let why = "standard input contains the scans, so the ID number cannot be read from it too";
            return Err(Failure::usage(why, "give --id-number @FILE"));
        }
        return lines::run(session, args).await;
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
        ("person_differs", args.person_differs.then_some(Value::Bool(true))),
        ("device", maybe(args.device.as_ref())),
        ("scan_id", maybe(args.scan_id.as_ref())),
        ("at", args.at.map(|at| Value::from(at.to_string()))),
    ]))
}

/// Decodes the text of the only symbol in a picture, on this machine.
pub(crate) async fn read_image(path: &std::path::Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
    let read = tokio::task::spawn_blocking(move || citycode_qr::read_image(&bytes)).await;
    let read = read.map_err(|error| Failure::local("cannot read the picture", error, "try another picture"))?;
    read.map_err(|error| Failure::of_code(Code::UnreadableImage, "the picture cannot be used", error, None))
}

/// 0 for admit, 3 for refuse or admit after an ID check, 5 for cannot check.
fn exit_code(verdict: &Value) -> u8 {
    match verdict.get("decision").and_then(Value::as_str) {
        Some("admit") => DONE,
        Some("cannot_check") => 5,
        _ => 3,
    }
}

/// The symbol, words and colour of a decision.
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

/// The lines of a response, each a JSON value.
pub(crate) fn json_lines(response: reqwest::Response) -> impl futures::Stream<Item = Result<Value, Failure>> {
    let state = (Box::pin(response.bytes_stream()), Vec::<u8>::new());
    futures::stream::unfold(Some(state), |state| async move {
        let (mut chunks, mut pending) = state?;
        // Bytes that were searched for the end of the line.
        let mut searched = 0;
        loop {
            if let Some(end) = pending[searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=searched + end).collect();
                let value = serde_json::from_slice(&line).map_err(|error| super::unexpected(&error));
                return Some((value, Some((chunks, pending))));
            }
            searched = pending.len();
            match chunks.next().await {
                Some(Ok(chunk)) if searched + chunk.len() > MAX_ANSWER_BYTES => return Some((Err(too_long()), None)),
                Some(Ok(chunk)) => pending.extend_from_slice(&chunk),
                Some(Err(error)) => {
                    let failure = Failure::of_code(
                        Code::Unavailable,
                        "the connection was lost",
                        root_cause(&error),
                        Some("run the command again; what was answered is done"),
                    );
                    return Some((Err(failure), None));
                }
                None => return None,
            }
        }
    })
}
