//! How a failed command reports: one line for people, a problem object (RFC 9457) for programs, an exit code.

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;

use citycode_service_kit::problem::{Code, Outcome};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::output::{Format, Output};

/// Exit code of a command that was used wrongly.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a command that a rule refused, or of a verdict that does not admit.
pub const EXIT_REFUSED: u8 = 3;
/// Exit code of a command that could not be decided or carried out.
pub const EXIT_UNAVAILABLE: u8 = 5;
/// Code of a failure on this machine: a file, a picture, a font.
const LOCAL: &str = "local";

/// Why a command failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    what: String,
    why: String,
    fix: Option<String>,
    code: String,
    exit: u8,
    problem: Option<Value>,
}

impl Failure {
    /// The command line is invalid; nothing was done.
    pub fn usage(why: impl fmt::Display, fix: &str) -> Self {
        Self::of_code(Code::InvalidRequest, "wrong usage", why, Some(fix))
    }

    /// A resource of this machine failed, e.g. a file.
    pub fn local(what: impl fmt::Display, why: impl fmt::Display, fix: &str) -> Self {
        Self {
            what: what.to_string(),
            why: why.to_string(),
            fix: Some(fix.to_owned()),
            code: LOCAL.to_owned(),
            exit: 1,
            problem: None,
        }
    }

    /// As [`Self::local`], for a file.
    pub fn file(doing: &str, path: &std::path::Path, why: impl fmt::Display) -> Self {
        Self::local(
            format_args!("cannot {doing} {}", path.display()),
            why,
            "check the path, its permissions and the free disk space",
        )
    }

    /// A failure with one of the stable codes that this program detected itself.
    pub fn of_code(code: Code, what: impl fmt::Display, why: impl fmt::Display, fix: Option<&str>) -> Self {
        Self {
            what: what.to_string(),
            why: why.to_string(),
            fix: fix.or(code.advice()).map(str::to_owned),
            code: code.as_str().to_owned(),
            exit: code.exit_code(),
            problem: None,
        }
    }

    /// From the problem object of a server. A code that is unknown to this version determines the exit code by its
    /// HTTP status.
    pub fn from_problem(problem: Value) -> Self {
        let text = |key: &str| problem.get(key).and_then(Value::as_str).map(str::to_owned);
        let status = problem.get("status").and_then(Value::as_u64).unwrap_or(500);
        let code = text("code").unwrap_or_else(|| Code::Internal.as_str().to_owned());
        let known = Code::parse(&code);
        Self {
            what: text("title").unwrap_or_else(|| "the server refused".to_owned()),
            why: text("detail").unwrap_or_else(|| format!("it gave no reason (HTTP status {status})")),
            fix: text("fix").or_else(|| known.and_then(Code::advice).map(str::to_owned)),
            exit: known.map_or_else(|| exit_of_status(status), Code::exit_code),
            code,
            problem: Some(problem),
        }
    }

    /// A failure on this machine after the server issued the code, e.g. while its picture was written.
    #[must_use]
    pub fn after_issue(self, code: &Value) -> Self {
        let failed = Self {
            what: format!("the code was issued, but {}", uncapitalised(&self.what)),
            fix: Some(
                "fix the cause and get the same code with 'citycode reprint', or issue a new one if its kind has no reprint"
                    .to_owned(),
            ),
            exit: 1,
            code: LOCAL.to_owned(),
            problem: None,
            ..self
        };
        let mut problem = failed.problem();
        problem["issued"] = code.clone();
        Self {
            problem: Some(problem),
            ..failed
        }
    }

    /// Corrects the outcome if an earlier attempt was sent and its answer was lost. A refusal of the later attempt for
    /// lack of service, a rate limit or an expired token does not show whether the earlier attempt succeeded.
    #[must_use]
    pub fn after_a_lost_answer(mut self) -> Self {
        let inconclusive = [Code::Unavailable, Code::Internal, Code::RateLimited, Code::NotAllowed];
        let is_inconclusive = inconclusive.iter().any(|code| self.exit == code.exit_code());
        if let Some(problem) = self
            .problem
            .as_mut()
            .filter(|problem| is_inconclusive && problem.get("outcome").is_some())
        {
            problem["outcome"] = json!(Outcome::Unknown.as_str());
        }
        self
    }

    /// The outcome of the change, if the server stated one.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let outcome = self.problem.as_ref().and_then(|problem| problem.get("outcome"));
        outcome.and_then(Value::as_str).and_then(Outcome::parse)
    }

    /// Replaces the advice by one that fits the outcome of the requested change.
    #[must_use]
    pub fn of_command(mut self, command_id: Option<Uuid>) -> Self {
        let fix = match (self.outcome(), command_id) {
            (Some(Outcome::Unknown), Some(id)) => {
                format!(
                    "it may have been done: run the same command again with --command-id {id}, which has no second effect"
                )
            }
            // A refusal by a rule already implies that nothing was changed.
            (Some(Outcome::NotDone), _) if self.exit == EXIT_UNAVAILABLE => {
                format!(
                    "nothing was changed, {}",
                    uncapitalised(self.fix.as_deref().unwrap_or("try again"))
                )
            }
            _ => return self,
        };
        if let Some(problem) = &mut self.problem {
            problem["fix"] = json!(fix);
        }
        self.fix = Some(fix);
        self
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> u8 {
        self.exit
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The reason, as a sentence.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The line for standard error: `citycode: WHAT: WHY, and what to do [code]`.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("citycode: {}: {}", uncapitalised(&self.what), uncapitalised(&self.why));
        if let Some(fix) = &self.fix {
            line.push_str(", ");
            line.push_str(&uncapitalised(fix));
        }
        format!("{} [{}]", one_line(&line), one_line(&self.code))
    }

    /// The problem object for programs.
    #[must_use]
    pub fn problem(&self) -> Value {
        self.problem.clone().unwrap_or_else(|| {
            let mut object = json!({
                "type": format!("urn:citycode:problem:{}", self.code),
                "title": self.what,
                "code": self.code,
                "detail": self.why,
            });
            if let Some(fix) = &self.fix {
                object["fix"] = json!(fix);
            }
            object
        })
    }

    /// Prints it on standard error, and as a problem object on standard output if JSON was requested. Returns the exit
    /// code.
    pub fn report(&self, output: Output) -> u8 {
        let _ = writeln!(std::io::stderr(), "{}", self.line());
        if output.format != Format::Table && !output.is_complete() {
            let _ = output.object(&self.problem());
        }
        self.exit
    }
}

/// Reports an invalid command line, or prints the requested help. Returns the exit code.
pub fn report_usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return 0;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return EXIT_USAGE;
        }
        _ => {}
    }
    let failure = usage_failure(&without_value(error));
    failure.report(Output::new(requested_format(arguments)))
}

/// clap's text. An argument that no flag precedes is left out of it: it may be an ID number, a code or a credential.
fn without_value(error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let text = error.to_string();
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(value))
            if error.kind() == ErrorKind::UnknownArgument && !value.is_empty() && !value.starts_with('-') =>
        {
            text.replace(&format!("'{value}'"), "'…'")
                .replace(&format!("'-- {value}'"), "'-- …'")
        }
        _ => text,
    }
}

/// clap prints several lines: the error, hints, and the usage. The first two are joined to one line; the usage is
/// left to `--help`.
fn usage_failure(text: &str) -> Failure {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let why = lines.join(" ");
    Failure::usage(
        why.trim_start_matches("error: "),
        "see the command with --help for its flags and examples",
    )
}

fn requested_format(arguments: &[OsString]) -> Format {
    let parse = |value: &str| match value {
        "json" => Some(Format::Json),
        "ndjson" => Some(Format::Ndjson),
        _ => None,
    };
    let texts: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let joined = texts.iter().find_map(|text| text.strip_prefix("--output="));
    let separate = texts
        .iter()
        .position(|text| *text == "--output")
        .and_then(|at| texts.get(at + 1))
        .copied();
    joined.or(separate).and_then(parse).unwrap_or(Format::Table)
}

/// The text of the innermost source: the outer errors of an HTTP client only repeat the address.
#[must_use]
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn exit_of_status(status: u64) -> u8 {
    match status {
        401 | 403 | 429 => Code::NotAllowed.exit_code(),
        404 => Code::NotFound.exit_code(),
        502..=504 => EXIT_UNAVAILABLE,
        _ => 1,
    }
}

/// Text from outside may contain line ends or terminal control sequences; both are replaced by spaces.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Prepares a sentence for use inside another: removes its full stop and lowercases its first letter, unless it starts
/// with an acronym.
fn uncapitalised(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && (second.is_lowercase() || second == ' ') => {
            first.to_ascii_lowercase().to_string() + &text[1..]
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
