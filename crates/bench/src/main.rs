//! Measures the performance figures: `citycode-bench NAME [--json FILE]`, `--list` for all names.
//!
//! Each bench builds what it measures, measures a limit or a reference in the same run, and prints both with the goal.
//! A figure that could not be measured is omitted and reported on standard error. `--scale N` divides every size by N,
//! to try a bench; such figures are printed but never written as JSON.
//!
//! The figures hold for one machine only, which every report describes.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program prints, and reads the machine's clock"
)]

mod allocation;
mod audit;
mod city;
mod folder;
mod issue;
mod pages;
mod projection;
mod records;
mod recovery;
mod replay;
mod replay_nats;
mod report;
mod roles;
mod scale;
mod scan;
mod snapshot;
mod store;
mod transparency;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use report::Report;

/// A bench: its name, its description, and its function.
struct Bench {
    name: &'static str,
    measures: &'static str,
    run: fn(&mut Report, Scale) -> Result<()>,
}

const BENCHES: [Bench; 14] = [
    Bench {
        name: "audit",
        measures: "recomputing verdicts, the memory of a timeline, checking a log, and histories compared with PostgreSQL",
        run: audit::run,
    },
    Bench {
        name: "city",
        measures: "issuing over gRPC on NATS, one server and three, and the time until every verifier has folded a revocation",
        run: city::run,
    },
    Bench {
        name: "issue",
        measures: "importing and issuing on the embedded store, over gRPC",
        run: issue::run,
    },
    Bench {
        name: "pages",
        measures: "the web pages over HTTP, compared with constant pages of the same size",
        run: pages::run,
    },
    Bench {
        name: "projection",
        measures: "memory of both projections, starting from a snapshot and by replay",
        run: projection::run,
    },
    Bench {
        name: "records",
        measures: "registrations and scan records on JetStream by two verifiers, one server and three",
        run: records::run,
    },
    Bench {
        name: "recovery",
        measures: "opening a log after kill -9, with and without redb's quick repair",
        run: recovery::run,
    },
    Bench {
        name: "replay",
        measures: "a verifier catching up from JetStream, compared with draining the streams without processing",
        run: replay_nats::run,
    },
    Bench {
        name: "roles",
        measures: "the cost of a writer's role in each commit's subject, one server and three",
        run: roles::run,
    },
    Bench {
        name: "scale",
        measures: "scans by one, two and four verifier processes on one log",
        run: scale::run,
    },
    Bench {
        name: "scan",
        measures: "one scan: a new token, a token seen before, and a live code",
        run: scan::run,
    },
    Bench {
        name: "snapshot",
        measures: "a real verifier with a hundred million codes: startup from a snapshot, and memory",
        run: snapshot::run,
    },
    Bench {
        name: "store",
        measures: "appends on JetStream, one server and three, compared with bare publishes",
        run: store::run,
    },
    Bench {
        name: "transparency",
        measures: "from events to leaves, tiles and proofs, compared with hashing the same bytes",
        run: transparency::run,
    },
];

/// The divisor of every size.
#[derive(Clone, Copy)]
pub(crate) struct Scale(u64);

impl Scale {
    /// A size at this scale.
    pub(crate) fn of(self, size: u64) -> u64 {
        size / self.0
    }
}

struct Arguments {
    name: String,
    json: Option<PathBuf>,
    scale: Scale,
}

fn arguments() -> Result<Arguments> {
    let (mut name, mut json, mut scale) = (None, None, Scale(1));
    let mut rest = std::env::args().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--json" => json = Some(PathBuf::from(rest.next().context("--json needs a file")?)),
            "--scale" => {
                let number = rest.next().context("--scale needs a number")?;
                scale = Scale(number.parse::<u64>().context("--scale needs a number")?.max(1));
            }
            flag if flag.starts_with('-') && flag != "--list" => bail!("unknown flag {flag}"),
            _ if name.is_some() => bail!("one bench at a time"),
            _ => name = Some(word),
        }
    }
    let name = name.context("give the name of a bench, or --list for all names")?;
    if json.is_some() && scale.0 != 1 {
        bail!("scaled figures are not comparable: --json cannot be combined with --scale");
    }
    Ok(Arguments { name, json, scale })
}

fn run() -> Result<ExitCode> {
    if let Some(folder) = recovery::writer_folder() {
        return recovery::write_until_killed(&folder);
    }
    if let Some(folder) = scale::verifier_folder() {
        return scale::verify_until_input_ends(&folder);
    }
    let arguments = arguments()?;
    if arguments.name == "--list" {
        for bench in &BENCHES {
            println!("{:<14}{}", bench.name, bench.measures);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let known = BENCHES.iter().find(|bench| bench.name == arguments.name);
    let bench = known.with_context(|| {
        let names: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        format!("no bench {}; there are {}", arguments.name, names.join(", "))
    })?;
    let mut report = Report::new(bench.name);
    let outcome = (bench.run)(&mut report, arguments.scale);
    println!("{}", report.table());
    if let Some(file) = &arguments.json {
        report.write_json(file)?;
    }
    outcome?;
    Ok(if report.all_hold() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("citycode-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
