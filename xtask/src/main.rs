//! The development tasks of this repository, as one program: `cargo xtask COMMAND`.
//!
//! It runs every check that CI runs, so that a developer gets the same result by the same command. It derives its input
//! from `cargo metadata` and the files of the repository; a new fuzz target or check script needs no change here. It
//! contains nothing that a shipped program needs at run time.
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
mod kills;
mod map;
mod mutants;
mod pages;
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
                          every check that CI runs; fetches the tools it needs
  arrows [--bless]        dependencies between crates, compared with docs/arrows.txt and the rules
  map                     ARCHITECTURE.md names every crate, and only existing paths
  tidy                    sizes, names, forbidden words, decision records
  bench NAME [--json FILE] | --list
                          measures the promised speeds and sizes and prints their limits
  pages [--all] [FILE…]   journeys through the pages in a real browser; every language, view and size with --all
  screenshots             a picture of every page in both languages and views, in target/screenshots
  fuzz [TARGET…] [--seconds N] [--list]
                          runs the fuzz targets of fuzz/Cargo.toml, each for N seconds (default 20)
  kills [N]               kills a running system N times (default 1000) while it takes writes; no start may be refused;
                          takes half an hour
  mutants CRATE [--again] [--file GLOB]…
                          the share of planted faults that the crate's own tests catch; takes an hour
                          (--again: only those that the last run did not catch)
  tools                   only fetches the external tools into target/tools
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
        "pages" => pages::command(&workspace, rest),
        "screenshots" => no_arguments(rest).and_then(|()| pages::screenshots(&workspace)),
        "fuzz" => fuzz::command(&workspace, rest),
        "kills" => kills::command(&workspace, rest),
        "mutants" => mutants::command(&workspace, rest),
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
