//! `citycode explain`, `citycode audit run` and `citycode what-if`.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::policy;
use super::queries::{self, QueriesArgs};
use super::verify::json_lines;
use super::{DONE, Session, body, maybe, text};
use crate::picture::PreparedFile;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Format, spinner};

/// Exit code if a recorded verdict differs from its recomputation, or records were altered.
pub(super) const DIFFERS: u8 = 3;
/// Exit code if a verdict cannot be recomputed.
const NOT_RECOMPUTABLE: u8 = 5;

/// Longest line that is read as a purpose; the server limits its characters.
const MAX_PURPOSE_BYTES: u64 = 4_096;

/// Why somebody looks at a person, a code or a scan.
#[derive(Args)]
pub(super) struct Purpose {
    /// Why this is asked, 4 to 200 characters without an ID or telephone number.
    #[arg(long, env = "CITYCODE_PURPOSE", value_name = "TEXT")]
    purpose: Option<String>,
}

impl Purpose {
    /// The purpose, if it was given.
    pub(super) fn given(&self) -> Option<&String> {
        self.purpose.as_ref()
    }

    /// The purpose; on a terminal a missing one is asked for.
    pub(super) fn get(&self) -> Result<String, Failure> {
        if let Some(purpose) = &self.purpose {
            return Ok(purpose.clone());
        }
        let missing = || {
            let why = "--purpose is missing: why this is asked";
            Failure::usage(why, "give --purpose TEXT, or set CITYCODE_PURPOSE")
        };
        if !std::io::stdin().is_terminal() {
            return Err(missing());
        }
        let _ = write!(std::io::stderr(), "用途 / purpose: ");
        let mut line = String::new();
        let read = std::io::stdin().lock().take(MAX_PURPOSE_BYTES).read_line(&mut line);
        read.map_err(|_| missing())?;
        Ok(line.trim().to_owned())
    }
}

/// Flags of `explain`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode explain --device gate-7 --scan-id 000123 --purpose \"complaint 17\"\n  citycode explain --code \"$TOKEN\" --place sentinel --at 2026-05-03T08:14:00+08:00 --purpose \"complaint 17\"\n\nExit code: 0 agrees, 3 differs, 4 no such record, 5 cannot be recomputed."
)]
#[group(skip)]
pub(crate) struct ExplainArgs {
    /// The scanning device.
    #[arg(long, requires = "scan_id", required_unless_present = "code")]
    device: Option<String>,
    /// The device's id of the scan.
    #[arg(long, requires = "device")]
    scan_id: Option<String>,
    /// The day of the scan (UTC); all retained days are searched if absent.
    #[arg(long, requires = "scan_id", value_name = "YYYY-MM-DD")]
    day: Option<jiff::civil::Date>,
    /// The text of a code, to ask what a verifier with all knowledge of an instant would have answered.
    #[arg(long, value_name = "TEXT", conflicts_with = "device", requires_all = ["place", "at"])]
    code: Option<String>,
    /// The place.
    #[arg(long, requires = "code")]
    place: Option<String>,
    /// The instant.
    #[arg(long, requires = "code", value_name = "RFC3339")]
    at: Option<jiff::Timestamp>,
    #[command(flatten)]
    purpose: Purpose,
}

/// Explains one verdict.
pub(crate) async fn explain(session: &Session, args: &ExplainArgs) -> Result<u8, Failure> {
    let request = body(&[
        ("purpose", text(&args.purpose.get()?)),
        ("device", maybe(args.device.as_ref())),
        ("scan_id", maybe(args.scan_id.as_ref())),
        ("day", args.day.map(|day| Value::from(day.to_string()))),
        ("code", maybe(args.code.as_ref())),
        ("place", maybe(args.place.as_ref())),
        ("at", args.at.map(|at| Value::from(at.to_string()))),
    ]);
    let answer = session.client.post("/api/v1/audit/explain", &request, None).await?;
    if session.output.format == Format::Table {
        session.output.lines(&told(&answer))?;
    } else {
        session.output.object(&answer)?;
    }
    let agrees = answer.get("agrees").and_then(Value::as_bool);
    Ok(match (answer.get("not_recomputable"), agrees) {
        (Some(_), _) => NOT_RECOMPUTABLE,
        (None, Some(false)) => DIFFERS,
        (None, _) => DONE,
    })
}

/// The explanation as lines: the verdicts, the questions in their order, and the events.
fn told(answer: &Value) -> String {
    let word = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let verdict = |of: &Value| format!("{} ({})", word(of, "decision"), word(of, "reason"));
    let mut lines = Vec::new();
    if let Some(recorded) = answer.get("recorded") {
        let (at, place) = (word(recorded, "at"), word(recorded, "place"));
        lines.push(format!("记录 recorded    {} {at} {place}", verdict(recorded)));
    }
    match (
        answer.get("recomputed"),
        answer.get("not_recomputable").and_then(Value::as_str),
    ) {
        (Some(recomputed), _) => {
            let agrees = match answer.get("agrees").and_then(Value::as_bool) {
                Some(true) => " 一致 agrees",
                Some(false) => " 不一致 DIFFERS",
                None => "",
            };
            lines.push(format!("重算 recomputed  {}{agrees}", verdict(recomputed)));
        }
        (None, why) => lines.push(format!("无法重算 cannot be recomputed: {}", why.unwrap_or_default())),
    }
    if let Some(policy) = answer.get("policy") {
        let digest = word(policy, "digest");
        let short = digest.get(..16).unwrap_or(&digest);
        lines.push(format!("规则 policy      {} {short}", word(policy, "name")));
    }
    let list = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for event in list("rests_on") {
        let position = event.get("position").cloned().unwrap_or_default();
        let number = |name: &str| position.get(name).and_then(Value::as_u64).unwrap_or_default();
        let position = format!("{:02}/{}", number("partition"), number("sequence"));
        lines.push(format!(
            "依据 rests on    {position} {} {}",
            word(&event, "event"),
            word(&event, "decided_at")
        ));
    }
    for step in list("steps") {
        let mark = match &*word(&step, "outcome") {
            "passed" => "✓",
            "spoke" => "✗",
            _ => "·",
        };
        lines.push(format!(
            "{mark} {:<4} {:<14} {} {}",
            word(&step, "rule"),
            word(&step, "check"),
            word(&step, "zh"),
            word(&step, "en")
        ));
    }
    lines.join("\n")
}

/// Flags of `audit`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode audit run --from 2026-05-01T00:00:00+08:00 --to 2026-06-01T00:00:00+08:00 --purpose \"monthly audit\""
)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Recompute every recorded verdict of a period, and compare the records with their digests in the log.
    Run(RunArgs),
    /// List who looked at a person, a code or a scan, when and why.
    Queries(QueriesArgs),
}

/// A period.
#[derive(Args)]
pub(super) struct PeriodArgs {
    /// Start, inclusive.
    #[arg(long, value_name = "RFC3339")]
    pub(super) from: jiff::Timestamp,
    /// End, exclusive.
    #[arg(long, value_name = "RFC3339")]
    pub(super) to: jiff::Timestamp,
}

/// Flags of `audit run`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode audit run --from 2026-05-01T00:00:00+08:00 --to 2026-06-01T00:00:00+08:00 --purpose \"monthly audit\"\n\nExit code: 0 if no verdict differs and no record was altered, else 3."
)]
struct RunArgs {
    #[command(flatten)]
    period: PeriodArgs,
    /// Write the whole result to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    purpose: Purpose,
}

pub(crate) async fn run(session: &Session, args: &AuditArgs) -> Result<u8, Failure> {
    match &args.command {
        AuditCommand::Run(args) => run_period(session, args).await,
        AuditCommand::Queries(args) => queries::run(session, args).await.map(|()| DONE),
    }
}

async fn run_period(session: &Session, args: &RunArgs) -> Result<u8, Failure> {
    let request = json!({
        "purpose": args.purpose.get()?,
        "from": args.period.from.to_string(),
        "to": args.period.to.to_string(),
    });
    let out = args.out.as_deref().map(PreparedFile::beside).transpose()?;
    let result = long_answer(session, "/api/v1/audit/run", &request).await?;
    if let Some(out) = out {
        let mut bytes = serde_json::to_vec_pretty(&result).expect("a JSON value");
        bytes.push(b'\n');
        out.finish(&bytes)?;
    }
    let count = |name: &str| result.get(name).and_then(Value::as_u64).unwrap_or_default();
    let names = [
        "scans",
        "recomputed",
        "agree",
        "differ_total",
        "missing",
        "extra",
        "sealed_late",
    ];
    let mut facts: Vec<_> = names.iter().map(|name| (*name, count(name).to_string())).collect();
    let altered = result.get("altered").and_then(Value::as_array).map_or(0, Vec::len);
    facts.push(("altered", altered.to_string()));
    let reasons = result.get("not_recomputable").and_then(Value::as_object);
    for (why, count) in reasons.into_iter().flatten() {
        facts.push(("not recomputed", format!("{count} {why}")));
    }
    session.output.thing(&result, &facts)?;
    let is_readable = reasons.is_none_or(|reasons| !reasons.contains_key("unreadable_batch"));
    let whole = is_readable && altered == 0 && ["differ_total", "missing", "extra"].iter().all(|name| count(name) == 0);
    Ok(if whole { DONE } else { DIFFERS })
}

/// Flags of `what-if`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode what-if --policy june.toml --from 2026-05-01T00:00:00+08:00 --to 2026-06-01T00:00:00+08:00 --purpose \"effect of the new rules\""
)]
pub(crate) struct WhatIfArgs {
    /// The other policy's file.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    period: PeriodArgs,
    #[command(flatten)]
    purpose: Purpose,
}

pub(crate) async fn what_if(session: &Session, args: &WhatIfArgs) -> Result<(), Failure> {
    let policy = std::fs::read_to_string(&args.policy).map_err(|error| Failure::file("read", &args.policy, error))?;
    let request = json!({
        "purpose": args.purpose.get()?,
        "policy": policy,
        "from": args.period.from.to_string(),
        "to": args.period.to.to_string(),
    });
    let result = long_answer(session, "/api/v1/audit/what-if", &request).await?;
    if session.output.format != Format::Table {
        return session.output.object(&result);
    }
    let number = |of: &Value, name: &str| match of.get(name).and_then(Value::as_u64) {
        Some(number) => number.to_string(),
        None => "<10".to_owned(),
    };
    let word = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines = policy::told(&result);
    lines.push(format!(
        "scans {}  changed {}",
        number(&result, "scans"),
        number(&result, "changed")
    ));
    for group in result.get("by").and_then(Value::as_array).into_iter().flatten() {
        let side = |name: &str| group.get(name).map(|side| word(side, "reason")).unwrap_or_default();
        lines.push(format!(
            "{:<10} {:<16} {:<22} → {:<22} {}",
            word(group, "kind"),
            word(group, "place"),
            side("from"),
            side("to"),
            number(group, "count")
        ));
    }
    session.output.lines(&lines.join("\n"))
}

/// The result of a question whose answer takes long. Progress is shown on standard error if it is a terminal.
pub(super) async fn long_answer(session: &Session, path: &str, request: &Value) -> Result<Value, Failure> {
    let response = session.client.post_for_lines(path, request).await?;
    let mut lines = std::pin::pin!(json_lines(response));
    let bar = spinner();
    while let Some(line) = lines.next().await {
        let mut line = line?;
        if let Some(problem) = line.get_mut("problem") {
            return Err(Failure::from_problem(problem.take()));
        }
        if let Some(progress) = line.get("progress") {
            bar.set_message(progress_sentence(progress));
        }
        if let Some(result) = line.get_mut("result") {
            bar.finish_and_clear();
            return Ok(result.take());
        }
    }
    Err(stopped())
}

/// The server ended a stream without a result.
pub(super) fn stopped() -> Failure {
    Failure::local("the audit stopped", "the server ended the stream", "run it again")
}

pub(super) fn progress_sentence(progress: &Value) -> String {
    let number = |name: &str| progress.get(name).and_then(Value::as_u64).unwrap_or_default();
    match progress.get("day").and_then(Value::as_str) {
        Some(day) => format!("{day}: {} scans", number("scans")),
        None => format!("{} commits of the log", number("commits")),
    }
}
