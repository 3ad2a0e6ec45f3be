//! `citycode explain`, `citycode audit` and `citycode what-if`.

mod city_state;
mod resumed;

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde_json::{Value, json};

use self::city_state::StateArgs;
use self::resumed::Unfinished;
use super::policy;
use super::queries::{self, QueriesArgs};
use super::verify::json_lines;
use super::{DONE, Session, body, maybe, text};
use crate::picture::PreparedFile;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Format, note, spinner};

/// Exit code if a recorded verdict differs from its recomputation, or records were altered.
pub(super) const DIFFERS: u8 = 3;
/// Exit code if a verdict cannot be recomputed.
const NOT_RECOMPUTABLE: u8 = 5;

/// Longest line that is read as a purpose; the server limits its characters.
const MAX_PURPOSE_BYTES: u64 = 4_096;
/// How long a server that reads a log may send neither progress nor a result.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

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

/// A moment of the past, and why somebody asks about it.
#[derive(Args)]
#[group(skip)]
pub(super) struct PastArgs {
    /// Answer as the log had it then: a time (RFC 3339), or a position of the log.
    #[arg(long, value_name = "TIME or PARTITION/SEQUENCE")]
    as_of: Option<Moment>,
    #[command(flatten)]
    purpose: Purpose,
}

impl PastArgs {
    /// The moment as a part of a body.
    pub(super) fn as_of(&self) -> Option<Value> {
        self.as_of.as_ref().map(|moment| Value::from(moment.0.as_str()))
    }

    /// The purpose as a part of a body; absent for a question about the present, which needs none.
    pub(super) fn purpose(&self) -> Result<Option<Value>, Failure> {
        let purpose = self.as_of.as_ref().map(|_| self.purpose.get()).transpose()?;
        Ok(purpose.map(Value::from))
    }
}

/// A time or a position, in the text that the server reads.
#[derive(Clone)]
struct Moment(String);

impl std::str::FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_position = |(partition, sequence)| is_number(partition) && is_number(sequence);
        if text.split_once('/').is_some_and(is_position) {
            return Ok(Self(text.to_owned()));
        }
        let time: jiff::Timestamp = text
            .parse()
            .map_err(|_| "neither a time, e.g. 2026-05-03T08:14:00+08:00, nor a position, e.g. 3/1042")?;
        Ok(Self(time.to_string()))
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
    /// Count the whole city's codes by kind and state, as they were at an instant.
    State(StateArgs),
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
    /// Write the whole result to this file, as JSON. An interrupted audit is continued by the same command.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    purpose: Purpose,
}

pub(crate) async fn run(session: &Session, args: &AuditArgs) -> Result<u8, Failure> {
    match &args.command {
        AuditCommand::Run(args) => run_audit(session, args).await,
        AuditCommand::State(args) => city_state::run(session, args).await.map(|()| DONE),
        AuditCommand::Queries(args) => queries::run(session, args).await.map(|()| DONE),
    }
}

async fn run_audit(session: &Session, args: &RunArgs) -> Result<u8, Failure> {
    let purpose = args.purpose.get()?;
    let result = match &args.out {
        Some(out) => run_into(session, args, &purpose, out).await?,
        None => {
            let (from, to) = (args.period.from.to_string(), args.period.to.to_string());
            let request = json!({ "purpose": purpose, "from": from, "to": to });
            long_answer(session, "/api/v1/audit/run", &request).await?
        }
    };
    let count = |name: &str| result.get(name).and_then(Value::as_u64).unwrap_or_default();
    let names = resumed::COUNTS.into_iter().chain(["log_faults_total"]);
    let mut facts: Vec<_> = names.map(|name| (name, count(name).to_string())).collect();
    let altered = result.get("altered").and_then(Value::as_array).map_or(0, Vec::len);
    facts.push(("altered", altered.to_string()));
    let reasons = result.get("not_recomputable").and_then(Value::as_object);
    for (why, count) in reasons.into_iter().flatten() {
        facts.push(("not recomputed", format!("{count} {why}")));
    }
    facts.extend(not_audited(&result).map(|part| ("not audited", part)));
    session.output.thing(&result, &facts)?;
    let is_readable = reasons.is_none_or(|reasons| !reasons.contains_key("unreadable_batch"));
    let whole = is_readable
        && altered == 0
        && ["differ_total", "missing", "extra", "log_faults_total"]
            .iter()
            .all(|name| count(name) == 0);
    Ok(if whole { DONE } else { DIFFERS })
}

/// A sentence for each damaged part of the log, whose verdicts were not audited.
fn not_audited(result: &Value) -> impl Iterator<Item = String> {
    let parts = result.get("unaudited").and_then(Value::as_array);
    parts.into_iter().flatten().map(|part| {
        let number = |name: &str| part.get("from").and_then(|from| from.get(name)).and_then(Value::as_u64);
        let partition = number("partition").unwrap_or_default();
        let sequence = number("sequence").unwrap_or_default();
        let why = part.get("why").and_then(Value::as_str).unwrap_or_default();
        format!("verdicts that rest on partition {partition:02} from {partition:02}/{sequence} on: {why}")
    })
}

/// Runs the audit, or the rest of one that was interrupted, and writes the whole result to a file.
async fn run_into(session: &Session, args: &RunArgs, purpose: &str, out: &Path) -> Result<Value, Failure> {
    let file = PreparedFile::beside(out)?;
    let (from, to) = (args.period.from.to_string(), args.period.to.to_string());
    let unfinished = Unfinished::open(out, session.client.server(), &from, &to);
    let rest_from = unfinished.next().unwrap_or(&from);
    if rest_from != from {
        note(format_args!("continues an interrupted audit from {rest_from}"));
    }
    let is_done = rest_from
        .parse::<jiff::Timestamp>()
        .is_ok_and(|rest_from| rest_from >= args.period.to);
    let result = if is_done {
        unfinished.result()
    } else {
        let request = json!({ "purpose": purpose, "from": rest_from, "to": to });
        let keep = |part: &mut Value| unfinished.keep(part);
        let rest = long_answer_in_parts(session, "/api/v1/audit/run", &request, keep).await?;
        unfinished.with(rest)
    };
    let mut bytes = serde_json::to_vec_pretty(&result).expect("a JSON value");
    bytes.push(b'\n');
    file.finish(&bytes)?;
    unfinished.finished();
    Ok(result)
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
    long_answer_in_parts(session, path, request, |_| Ok(())).await
}

/// The same, of which every part is passed on.
async fn long_answer_in_parts(
    session: &Session,
    path: &str,
    request: &Value,
    keep: impl Fn(&mut Value) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    let response = session.client.post_for_lines(path, request).await?;
    let mut lines = std::pin::pin!(json_lines(response));
    let bar = spinner();
    while let Some(line) = next_line(&mut lines).await? {
        let mut line = line?;
        if let Some(problem) = line.get_mut("problem") {
            return Err(Failure::from_problem(problem.take()));
        }
        if let Some(progress) = line.get("progress") {
            bar.set_message(progress_sentence(progress));
        }
        if let Some(part) = line.get_mut("part") {
            keep(part)?;
        }
        if let Some(result) = line.get_mut("result") {
            bar.finish_and_clear();
            return Ok(result.take());
        }
    }
    Err(stopped())
}

/// The next line of an answer in which a server that works reports its progress.
///
/// # Errors
/// The server says nothing any more.
async fn next_line<T>(lines: &mut (impl futures::Stream<Item = T> + Unpin)) -> Result<Option<T>, Failure> {
    let next = tokio::time::timeout(LONGEST_SILENCE, lines.next()).await;
    next.map_err(|_| {
        let minutes = LONGEST_SILENCE.as_secs() / 60;
        let why = format!("the server has sent nothing for {minutes} minutes");
        Failure::local("the audit stopped", why, "look at the server's log, and run it again")
    })
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

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_any_more_ends_the_wait() {
        let mut ended = stream::iter([7]);
        assert_eq!(next_line(&mut ended).await.ok(), Some(Some(7)));
        assert_eq!(next_line(&mut ended).await.ok(), Some(None));
        let mut silent = stream::pending::<u8>();
        assert!(next_line(&mut silent).await.is_err());
    }
}
