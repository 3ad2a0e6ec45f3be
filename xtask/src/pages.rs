//! `cargo xtask pages` and `screenshots`: the pages in a real browser, Debian's Chromium.
//!
//! The journeys are `tests/browser/*.test.mjs`; Node runs two files at a time, each with a program and a browser of its
//! own. Where a journey fails, a picture of the page is in `target/browser/failures`.

use std::path::Path;

use anyhow::{Result, bail};

use crate::process::{at_root, run};
use crate::steps::Outcome;
use crate::test::tested_program;
use crate::tools;
use crate::workspace::Workspace;

const JOURNEYS: &str = "tests/browser";
const SOURCES: &str = "services/pages/web";
/// A copy of the list of packages that are installed in a folder; if it differs, they are installed again.
const STAMP: &str = "node_modules/.installed-package-lock.json";

/// `pages [--all] [FILE…]`: the step of `cargo xtask test`, or every combination of languages, views and sizes.
pub(crate) fn command(workspace: &Workspace, rest: &[String]) -> Result<()> {
    let (all, files): (Vec<&String>, Vec<&String>) = rest.iter().partition(|word| *word == "--all");
    if let Some(flag) = files.iter().find(|word| word.starts_with('-')) {
        bail!("unknown argument of pages: {flag:?}");
    }
    tools::ensure_debian(workspace)?;
    journeys(workspace, !all.is_empty(), &files).map(|_| ())
}

/// The step of `cargo xtask test`.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    journeys(workspace, false, &[])
}

/// `screenshots`: a picture of every page in both languages and views.
pub(crate) fn screenshots(workspace: &Workspace) -> Result<()> {
    tools::ensure_debian(workspace)?;
    install(workspace, JOURNEYS)?;
    let program = tested_program(workspace)?;
    run(at_root(workspace, "node")
        .env("CITYCODE_BIN", program)
        .arg(workspace.path(JOURNEYS).join("screenshots.mjs"))
        .arg(workspace.path("target/screenshots")))
}

fn journeys(workspace: &Workspace, all: bool, files: &[&String]) -> Result<Outcome> {
    install(workspace, SOURCES)?;
    run(npm(workspace, SOURCES).args(["run", "--silent", "check"]))?;
    run(npm(workspace, SOURCES).args(["test", "--silent"]))?;
    install(workspace, JOURNEYS)?;
    let program = tested_program(workspace)?;
    let mut node = at_root(workspace, "node");
    node.current_dir(workspace.path(JOURNEYS))
        .env("CITYCODE_BIN", program)
        .env("CITYCODE_FAILURES", workspace.path("target/browser/failures"))
        .env("CITYCODE_PAGES", if all { "all" } else { "pairwise" })
        .args(["--test", "--test-concurrency=2", "--test-reporter=spec"]);
    if files.is_empty() {
        node.args(test_files(&workspace.path(JOURNEYS))?);
    } else {
        node.args(files);
    }
    run(&mut node)?;
    Ok(Outcome::Done)
}

/// The longest file first, so that the two that run at a time end together.
fn test_files(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".test.mjs") {
            files.push(name);
        }
    }
    files.sort_by_key(|name| (!name.starts_with("every-page"), name.clone()));
    Ok(files)
}

/// Installs the packages of a folder at the versions of its lock file.
fn install(workspace: &Workspace, folder: &str) -> Result<()> {
    let wanted = std::fs::read(workspace.path(folder).join("package-lock.json"))?;
    let stamp = workspace.path(folder).join(STAMP);
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run(npm(workspace, folder).args(["ci", "--no-audit", "--no-fund"]))?;
    Ok(std::fs::write(stamp, wanted)?)
}

fn npm(workspace: &Workspace, folder: &str) -> std::process::Command {
    let mut npm = at_root(workspace, "npm");
    npm.current_dir(workspace.path(folder));
    npm
}
