//! `citycode policy diff`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use citycode_policy_file::{PolicyChange, changes};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Format, Output, printable};

/// Flags of `policy`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode policy diff policies/shanghai.toml june.toml")]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// List what a policy changes, compared with another one, in Chinese and English.
    Diff(DiffArgs),
}

/// Flags of `policy diff`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode policy diff policies/shanghai.toml june.toml --output json")]
struct DiffArgs {
    /// The present policy's file.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// The other policy's file.
    #[arg(value_name = "OTHER")]
    to: PathBuf,
}

/// Compares two policy files of this machine.
pub(crate) fn run(args: &PolicyArgs, output: Output) -> Result<(), Failure> {
    let PolicyCommand::Diff(args) = &args.command;
    let (from, to) = (read(&args.from)?, read(&args.to)?);
    let found = changes(&from, &to);
    let differences: Vec<_> = found.iter().map(difference).collect();
    let answer = json!({ "differences": differences });
    if output.format == Format::Table {
        output.lines(&told(&answer).join("\n"))
    } else {
        output.object(&answer)
    }
}

fn read(path: &Path) -> Result<citycode_domain::policy::Policy, Failure> {
    citycode_policy_file::read(path).map_err(|error| Failure::file("read", path, error))
}

fn difference(change: &PolicyChange) -> Value {
    json!({ "path": change.path, "zh": change.zh, "en": change.en })
}

/// The `differences` of an answer as lines for people.
pub(super) fn told(answer: &Value) -> Vec<String> {
    let differences = answer
        .get("differences")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if differences.is_empty() {
        return vec!["规则相同。 The policies do not differ.".to_owned()];
    }
    let text = |of: &Value, name: &str| printable(of.get(name).and_then(Value::as_str).unwrap_or_default());
    let lines = differences
        .iter()
        .map(|difference| format!("{} {}", text(difference, "zh"), text(difference, "en")));
    lines.collect()
}
