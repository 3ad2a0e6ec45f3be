//! The chores of this repository, as one program: `cargo xtask COMMAND`.
//!
//! Whatever CI does, this does, so that a person gets the same answer by the same command. It derives
//! what it needs from `cargo metadata` and the tree; a new crate, fuzz target or check script needs no
//! change here. Left out on purpose: anything that a shipped program needs at run time.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program for developers: its output is the point"
)]

mod arrows;
mod bench;
mod citations;
mod deploy;
mod findings;
mod fuzz;
mod map;
mod process;
mod proto;
mod steps;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--only A,B] [--from STEP] [--keep-going] [--list]
                          everything that CI runs, fetching the tools it needs
  arrows [--bless]        which crate may know which, against docs/arrows.txt and the rules
  map                     ARCHITECTURE.md names every crate, and only paths that exist
  tidy                    sizes, names, forbidden words, decision records
  bench NAME [--json FILE] | --list
                          the promised speeds and sizes, beside their limits
  fuzz [TARGET…] [--seconds N] [--list]
                          the fuzz targets of fuzz/Cargo.toml, each N seconds (default 20)
  tools                   only fetch the outside tools into target/tools
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command\n\n{USAGE}");
    };
    if matches!(command.as_str(), "help" | "--help" | "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    let workspace = Workspace::find()?;
    match command.as_str() {
        "test" => test::command(&workspace, rest),
        "arrows" => arrows::command(&workspace, rest),
        "map" => no_arguments(rest).and_then(|()| map::check(&workspace)),
        "tidy" => no_arguments(rest).and_then(|()| tidy::check(&workspace)),
        "bench" => bench::command(&workspace, rest),
        "fuzz" => fuzz::command(&workspace, rest),
        "tools" => no_arguments(rest).and_then(|()| tools::ensure(&workspace)),
        other => bail!("unknown command {other:?}\n\n{USAGE}"),
    }
}

fn no_arguments(rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(extra) => bail!("unexpected argument {extra:?}\n\n{USAGE}"),
    }
}
