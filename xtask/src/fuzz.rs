//! `cargo xtask fuzz`: libFuzzer over the targets in `fuzz/Cargo.toml`, on the stable compiler.
//!
//! cargo-fuzz is not used: the coverage instrumentation is a stable codegen option, and our code has no `unsafe` for
//! the address sanitizer (which needs nightly) to check. An input that fails is written to `fuzz/regressions/TARGET/`,
//! where an ordinary test of the workspace replays it from then on: commit it with the fix. Seeds are committed; the
//! corpus that a run finds stays in `fuzz/corpus`, which is not.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{at_root, cargo, run};
use crate::workspace::Workspace;

const MANIFEST: &str = "fuzz/Cargo.toml";
const PACKAGE: &str = "citycode-fuzz";
const TARGET_TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// A separate folder: otherwise the different flags would rebuild everything each time.
const BUILD_FOLDER: &str = "target/fuzz";
const SECONDS_BY_HAND: u32 = 20;
/// Time limit for one input in seconds; decoding a hostile image takes longest.
const SECONDS_PER_INPUT: u32 = 10;
/// Memory limit for a target in MB, well above the image limits of the product.
const MEMORY_MB: u32 = 2_048;
/// SanitizerCoverage as libFuzzer needs it; one codegen unit, because the pass runs per unit.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// `fuzz [TARGET…] [--seconds N] [--list]`.
pub(crate) fn command(workspace: &Workspace, rest: &[String]) -> Result<()> {
    let mut chosen = Vec::new();
    let mut seconds = SECONDS_BY_HAND;
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => {
                targets(workspace)?.iter().for_each(|name| println!("{name}"));
                return Ok(());
            }
            "--seconds" => {
                seconds = words
                    .next()
                    .context("--seconds needs a number")?
                    .parse()
                    .context("--seconds")?;
            }
            flag if flag.starts_with('-') => bail!("unknown flag of fuzz: {flag:?}"),
            name => chosen.push(name.to_owned()),
        }
    }
    run_targets(workspace, &chosen, seconds)
}

/// Builds and runs the chosen targets (all if none is chosen), as many concurrently as there are cores.
pub(crate) fn run_targets(workspace: &Workspace, chosen: &[String], seconds: u32) -> Result<()> {
    let known = targets(workspace)?;
    for name in chosen {
        ensure!(
            known.contains(name),
            "there is no fuzz target {name:?}; there are: {}",
            known.join(" ")
        );
    }
    let names: Vec<&str> = known
        .iter()
        .filter(|name| chosen.is_empty() || chosen.contains(name))
        .map(String::as_str)
        .collect();
    build(workspace, &names)?;
    let at_a_time = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failed = Vec::new();
    for group in names.chunks(at_a_time) {
        let running = group
            .iter()
            .map(|name| Ok((*name, start(workspace, name, seconds)?)))
            .collect::<Result<Vec<_>>>()?;
        for (name, mut child) in running {
            let status = child.wait().context("waiting for a fuzz target")?;
            let log = std::fs::read_to_string(log_file(workspace, name)).unwrap_or_default();
            println!("{name}: {}", summary(&log));
            if !status.success() {
                println!("{}", end_of(&log));
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!(
            "fuzz targets that failed: {} (the inputs are in fuzz/regressions/TARGET/)",
            failed.join(" ")
        );
    }
    Ok(())
}

/// The names of the binaries in `fuzz/Cargo.toml`.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let manifest: toml::Table = std::fs::read_to_string(workspace.path(MANIFEST))
        .context(MANIFEST)?
        .parse()
        .context(MANIFEST)?;
    let binaries = manifest
        .get("bin")
        .and_then(toml::Value::as_array)
        .context("fuzz/Cargo.toml lists no [[bin]]")?;
    Ok(binaries
        .iter()
        .filter_map(|binary| binary.get("name")?.as_str().map(str::to_owned))
        .collect())
}

fn build(workspace: &Workspace, names: &[&str]) -> Result<()> {
    let mut command = cargo(workspace);
    command.args([
        "build",
        "--locked",
        "--quiet",
        "--release",
        "--package",
        PACKAGE,
        "--features",
        "libfuzzer",
    ]);
    command.args(["--target", TARGET_TRIPLE, "--target-dir", BUILD_FOLDER]);
    names.iter().for_each(|name| {
        command.args(["--bin", name]);
    });
    command.env("RUSTFLAGS", INSTRUMENTATION);
    // An arithmetic overflow that would wrap in production must fail here.
    command
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    run(&mut command)
}

fn start(workspace: &Workspace, name: &str, seconds: u32) -> Result<Child> {
    let folder = |kind: &str| format!("fuzz/{kind}/{name}");
    for kind in ["corpus", "regressions", "seeds"] {
        std::fs::create_dir_all(workspace.path(&folder(kind))).with_context(|| folder(kind))?;
    }
    let log = File::create(log_file(workspace, name)).context("the log of a fuzz target")?;
    let mut command: Command = at_root(
        workspace,
        workspace
            .path(BUILD_FOLDER)
            .join(TARGET_TRIPLE)
            .join("release")
            .join(name),
    );
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SECONDS_PER_INPUT}"));
    command
        .arg(format!("-rss_limit_mb={MEMORY_MB}"))
        .arg("-print_final_stats=1");
    command.arg(format!("-artifact_prefix={}/", folder("regressions")));
    let dictionary = format!("fuzz/seeds/{name}.dict");
    if workspace.path(&dictionary).is_file() {
        command.arg(format!("-dict={dictionary}"));
    }
    // libFuzzer writes new inputs to the first folder and only reads the others.
    command.args([folder("corpus"), folder("seeds"), folder("regressions")]);
    command
        .stdout(log.try_clone().context("the log of a fuzz target")?)
        .stderr(log);
    #[expect(
        clippy::disallowed_methods,
        reason = "a fuzz target ends after its seconds, and the caller waits for it"
    )]
    let started = command.spawn();
    started.with_context(|| format!("fuzz target {name}"))
}

fn log_file(workspace: &Workspace, name: &str) -> std::path::PathBuf {
    Path::new(&workspace.path(BUILD_FOLDER)).join(format!("{name}.log"))
}

/// The number of runs and the coverage, from libFuzzer's output.
fn summary(log: &str) -> String {
    let last = |needle: &str| {
        log.lines()
            .rev()
            .find(|line| line.contains(needle))
            .unwrap_or("")
            .trim()
    };
    let done = last("DONE");
    if done.is_empty() {
        last("SUMMARY").to_owned()
    } else {
        format!("{} {}", last("Done "), done)
    }
}

fn end_of(log: &str) -> String {
    const LINES_SHOWN: usize = 40;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_runs_and_coverage_or_the_failure() {
        let fine = "#8\tDONE   cov: 105 ft: 436\nDone 8 runs in 9 second(s)\nstat::x: 1\n";
        assert_eq!(summary(fine), "Done 8 runs in 9 second(s) #8\tDONE   cov: 105 ft: 436");
        assert_eq!(
            summary("x\nSUMMARY: libFuzzer: deadly signal\n"),
            "SUMMARY: libFuzzer: deadly signal"
        );
    }
}
