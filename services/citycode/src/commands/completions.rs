//! `citycode completions`.

use clap::{Args, CommandFactory as _};

use crate::cli::{Cli, CompletionShell};
use crate::failure::Failure;

/// Flags of `completions`.
#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell.
    #[arg(value_enum)]
    shell: CompletionShell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    clap_complete::generate(args.shell, &mut Cli::command(), "citycode", &mut std::io::stdout());
    Ok(())
}
