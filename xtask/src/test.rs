//! `cargo xtask test`: every check that CI runs, in order, the cheapest first.
//!
//! To add a step, write its function and add a row to [`STEPS`]. A step that has nothing to check reports that and is
//! counted as skipped, never as passed.

use anyhow::{Context, Result, bail, ensure};

use crate::process::{at_root, cargo, run};
use crate::steps::{self, Outcome, Step};
use crate::workspace::Workspace;
use crate::{arrows, citations, deploy, fuzz, map, pages, proto, tidy, tools};

/// How long CI runs each fuzz target: long enough to explore the grammar from the seeds, short enough for a dozen
/// targets on two cores. Long runs are started by hand: `cargo xtask fuzz TARGET --seconds 3600`.
const FUZZ_SECONDS_IN_CI: u32 = 20;

const STEPS: [Step; 18] = [
    Step {
        name: "tools",
        what: "external programs at pinned versions",
        run: |w| done(tools::ensure(w)),
    },
    Step {
        name: "fmt",
        what: "rustfmt changes nothing",
        run: |w| done(run(cargo(w).args(["fmt", "--all", "--check"]))),
    },
    Step {
        name: "arrows",
        what: "dependencies between crates follow the rules",
        run: |w| done(arrows::command(w, &[])),
    },
    Step {
        name: "map",
        what: "ARCHITECTURE.md names every crate and only existing paths",
        run: |w| done(map::check(w)),
    },
    Step {
        name: "tidy",
        what: "file sizes, names, forbidden words, decision records",
        run: |w| done(tidy::check(w)),
    },
    Step {
        name: "citations",
        what: "cited rules, documents, links and messages exist",
        run: |w| done(citations::check(w)),
    },
    Step {
        name: "deny",
        what: "licences, bans and sources of dependencies",
        run: |w| done(deny(w)),
    },
    Step {
        name: "proto",
        what: "protobuf lint and compatibility",
        run: proto::check,
    },
    Step {
        name: "rules",
        what: "alerts fire when they must, and each has a runbook",
        run: |w| done(deploy::rules(w)),
    },
    Step {
        name: "manifests",
        what: "manifests conform to the Kubernetes schemas",
        run: |w| done(deploy::manifests(w)),
    },
    Step {
        name: "clippy",
        what: "no warnings",
        run: |w| done(clippy(w)),
    },
    Step {
        name: "nextest",
        what: "all tests",
        run: |w| done(nextest(w)),
    },
    Step {
        name: "doctests",
        what: "examples in the documentation run",
        run: |w| {
            done(run(cargo(w).args([
                "test",
                "--locked",
                "--workspace",
                "--doc",
                "--quiet",
            ])))
        },
    },
    Step {
        name: "docs",
        what: "the documentation builds without warnings",
        run: |w| done(docs(w)),
    },
    Step {
        name: "demo",
        what: "the verdicts of the demo agree with the rules",
        run: demo,
    },
    Step {
        name: "outsiders",
        what: "third-party programs read our codes, files and API",
        run: outsiders,
    },
    Step {
        name: "pages",
        what: "journeys through the pages in a real browser",
        run: pages::check,
    },
    Step {
        name: "fuzz",
        what: "each fuzz target runs for a limited time",
        run: fuzz_all,
    },
];

/// `test [--only A,B] [--from STEP] [--keep-going] [--list]`.
pub(crate) fn command(workspace: &Workspace, rest: &[String]) -> Result<()> {
    let mut chosen: Vec<&Step> = STEPS.iter().collect();
    let mut keep_going = false;
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--keep-going" => keep_going = true,
            "--list" => {
                STEPS
                    .iter()
                    .for_each(|step| println!("{:<10} {}", step.name, step.what));
                return Ok(());
            }
            "--only" => {
                let names: Vec<&str> = words.next().context("--only needs names")?.split(',').collect();
                names.iter().try_for_each(|name| known(name))?;
                chosen.retain(|step| names.contains(&step.name));
            }
            "--from" => {
                let name = words.next().context("--from needs a name")?;
                known(name)?;
                chosen = chosen.into_iter().skip_while(|step| step.name != name).collect();
            }
            other => bail!("unknown argument of test: {other:?}"),
        }
    }
    steps::run(workspace, &chosen, keep_going)
}

fn known(name: &str) -> Result<()> {
    ensure!(
        STEPS.iter().any(|step| step.name == name),
        "there is no step {name:?}; see cargo xtask test --list"
    );
    Ok(())
}

fn done(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Done)
}

/// Runs offline: advisories need an external database, and only a change in this repository may make CI fail.
fn deny(workspace: &Workspace) -> Result<()> {
    run(cargo(workspace).args(["fetch", "--locked", "--quiet"]))?;
    run(at_root(workspace, tools::program(workspace, "cargo-deny")).args([
        "--offline",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    run(cargo(workspace).args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn nextest(workspace: &Workspace) -> Result<()> {
    // The folder of the pinned tools comes first on the path, so that no other version of cargo-nextest is used.
    let mut command = cargo(workspace);
    let arguments: Vec<_> = ["nextest", "run", "--locked", "--workspace", "--no-fail-fast"]
        .map(String::from)
        .into();
    command.env("PATH", tools::path_with_tools(workspace)?);
    run(command.args(arguments))
}

fn docs(workspace: &Workspace) -> Result<()> {
    run(cargo(workspace).env("RUSTDOCFLAGS", "-Dwarnings").args([
        "doc",
        "--locked",
        "--workspace",
        "--no-deps",
        "--quiet",
    ]))
}

fn demo(workspace: &Workspace) -> Result<Outcome> {
    let written = ["services/citycode/src/demo.rs", "services/citycode/src/demo"];
    if !written.iter().any(|path| workspace.path(path).exists()) {
        return Ok(Outcome::Skipped("citycode has no demo yet".into()));
    }
    let program = tested_program(workspace)?;
    done(run(at_root(workspace, program).arg("demo")))
}

/// The program of the command line as the tests use it. It is built like the tests, with all packages together: for one
/// package alone cargo selects other features and compiles most dependencies again.
pub(crate) fn tested_program(workspace: &Workspace) -> Result<std::path::PathBuf> {
    run(cargo(workspace).args(["build", "--locked", "--quiet", "--workspace", "--bins", "--tests"]))?;
    Ok(workspace.path("target/debug/citycode"))
}

/// Runs every `tests/outsiders/*.py` with the pinned packages. Each gets the path of the program in the variable
/// `CITYCODE_BIN` and a writable folder as its only argument, and fails with a status other than 0.
fn outsiders(workspace: &Workspace) -> Result<Outcome> {
    let scripts: Vec<String> = workspace
        .files()?
        .into_iter()
        .filter(|file| is_outsider_script(file))
        .collect();
    if scripts.is_empty() {
        return Ok(Outcome::Skipped("no script in tests/outsiders yet".into()));
    }
    let program = tested_program(workspace)?;
    for script in scripts {
        let name = script.trim_start_matches("tests/outsiders/").trim_end_matches(".py");
        let folder = workspace.path("target/outsiders").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let python = tools::program(workspace, "python");
        run(at_root(workspace, python)
            .env("CITYCODE_BIN", &program)
            .arg(&script)
            .arg(&folder))?;
    }
    Ok(Outcome::Done)
}

/// Whether this file is a script to run; scripts share files whose names begin with `_`.
fn is_outsider_script(file: &str) -> bool {
    file.strip_prefix("tests/outsiders/")
        .is_some_and(|name| name.ends_with(".py") && !name.contains('/') && !name.starts_with('_'))
}

fn fuzz_all(workspace: &Workspace) -> Result<Outcome> {
    done(fuzz::run_targets(workspace, &[], FUZZ_SECONDS_IN_CI))
}
