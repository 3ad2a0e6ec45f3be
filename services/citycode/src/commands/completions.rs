//! `citycode completions`.

use clap::{Args, CommandFactory as _};
use serde_json::json;

use crate::cli::{Cli, CompletionShell};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Format, Output};

/// Flags of `completions`.
#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: CompletionShell,
}

pub(crate) fn run(args: &CompletionsArgs, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "citycode", &mut script);
    let script = String::from_utf8_lossy(&script);
    match output.format {
        Format::Table => output.lines(script.trim_end()),
        Format::Json | Format::Ndjson => output.object(&json!({ "shell": args.shell.to_string(), "script": script })),
    }
}
