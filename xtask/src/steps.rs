//! Runs steps in order, names the step that failed, and prints the times at the end.

#![expect(
    clippy::disallowed_methods,
    reason = "xtask measures its own steps; no code of the product runs here"
)]

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// How a step ended if it did not fail.
pub(crate) enum Outcome {
    /// It ran and found no error.
    Done,
    /// It had nothing to check, for this reason.
    Skipped(String),
}

/// One check of CI.
pub(crate) struct Step {
    /// One word, as passed to `--only`.
    pub(crate) name: &'static str,
    /// A description in one line.
    pub(crate) what: &'static str,
    /// Runs the step.
    pub(crate) run: fn(&Workspace) -> Result<Outcome>,
}

struct Record {
    name: &'static str,
    took: Duration,
    note: String,
}

/// Runs `steps`; stops at the first failure unless `keep_going` is set.
pub(crate) fn run(workspace: &Workspace, steps: &[&Step], keep_going: bool) -> Result<()> {
    let mut records = Vec::new();
    let mut failures: Vec<&'static str> = Vec::new();
    for step in steps {
        println!("\n== {}: {}", step.name, step.what);
        let begun = Instant::now();
        let outcome = (step.run)(workspace);
        let note = match outcome {
            Ok(Outcome::Done) => "passed".to_owned(),
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Err(error) => {
                println!("error: step {} failed: {error:#}", step.name);
                failures.push(step.name);
                "FAILED".to_owned()
            }
        };
        records.push(Record {
            name: step.name,
            took: begun.elapsed(),
            note,
        });
        if !failures.is_empty() && !keep_going {
            break;
        }
    }
    conclude(&records, &failures, steps.len())
}

fn conclude(records: &[Record], failures: &[&str], planned: usize) -> Result<()> {
    println!("\n== times");
    for record in records {
        println!(
            "{:>8.1} s  {:<10} {}",
            record.took.as_secs_f64(),
            record.name,
            record.note
        );
    }
    let total: Duration = records.iter().map(|record| record.took).sum();
    println!("{:>8.1} s  in all", total.as_secs_f64());
    if records.len() < planned {
        println!("{} steps were not reached", planned - records.len());
    }
    let skipped = records
        .iter()
        .filter(|record| record.note.starts_with("skipped"))
        .count();
    let passed = records.len() - skipped - failures.len();
    println!("steps: {passed} passed, {} failed, {skipped} skipped", failures.len());
    if !failures.is_empty() {
        bail!("failed: {}", failures.join(", "));
    }
    Ok(())
}
