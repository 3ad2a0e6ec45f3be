//! The dependencies between our crates ("arrows"), so that a review sees every new one.
//!
//! They are derived from `cargo metadata`, compared with the committed `docs/arrows.txt`, and checked against the rules
//! of [`rules`]. `--bless` rewrites the list if the rules permit every dependency.

mod rules;

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Package};

use crate::findings::Findings;
use crate::workspace::Workspace;

const GOLDEN_FILE: &str = "docs/arrows.txt";
const GOLDEN_HEAD: &str = "\
# Dependencies between our crates; (dev) is for tests only.
# Written by `cargo xtask arrows --bless`: a change in this file is a change of the architecture.
";

/// One dependency between two crates, named by their folders (`domain`, not `citycode-domain`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    from: String,
    to: String,
    dev: bool,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} -> {}{}",
            self.from,
            self.to,
            if self.dev { " (dev)" } else { "" }
        )
    }
}

/// `arrows [--bless]`.
pub(crate) fn command(workspace: &Workspace, rest: &[String]) -> Result<()> {
    let bless = match rest {
        [] => false,
        [flag] if flag == "--bless" => true,
        _ => bail!("arrows takes only --bless"),
    };
    let arrows = derive(workspace);
    let mut findings = rules::check(workspace, &arrows)?;
    let derived = golden_text(&arrows);
    if bless && findings.errors.is_empty() {
        std::fs::create_dir_all(workspace.path("docs")).context("docs")?;
        std::fs::write(workspace.path(GOLDEN_FILE), &derived).context(GOLDEN_FILE)?;
    } else {
        let golden = std::fs::read_to_string(workspace.path(GOLDEN_FILE)).unwrap_or_default();
        compare(&golden, &derived, &mut findings);
    }
    findings.conclude("arrows")
}

/// The name of one of our crates in the rules: the last part of its folder, and `tests` for every system test.
pub(crate) fn crate_name(workspace: &Workspace, package: &Package) -> String {
    let folder = workspace.folder(package);
    if folder.starts_with("tests/") {
        return "tests".into();
    }
    folder.rsplit('/').next().unwrap_or(&folder).to_owned()
}

fn derive(workspace: &Workspace) -> BTreeSet<Arrow> {
    let mut arrows = BTreeSet::new();
    for package in &workspace.packages {
        for dependency in &package.dependencies {
            let ours = workspace
                .packages
                .iter()
                .find(|other| other.name.as_str() == dependency.name.as_str());
            if let (Some(other), Some(_)) = (ours, &dependency.path) {
                if crate_name(workspace, package) == crate_name(workspace, other) {
                    continue;
                }
                let dev = dependency.kind == DependencyKind::Development;
                arrows.insert(Arrow {
                    from: crate_name(workspace, package),
                    to: crate_name(workspace, other),
                    dev,
                });
            }
        }
    }
    arrows
}

fn golden_text(arrows: &BTreeSet<Arrow>) -> String {
    arrows
        .iter()
        .fold(GOLDEN_HEAD.to_owned(), |text, arrow| text + &format!("{arrow}\n"))
}

fn compare(golden: &str, derived: &str, findings: &mut Findings) {
    let lines = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    let (old, new) = (lines(golden), lines(derived));
    for arrow in new.difference(&old) {
        findings.error(
            GOLDEN_FILE,
            format!("lacks {arrow}; if it is intended: cargo xtask arrows --bless"),
        );
    }
    for arrow in old.difference(&new) {
        findings.error(
            GOLDEN_FILE,
            format!("still has {arrow}, which no longer exists: cargo xtask arrows --bless"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_and_a_removed_dependency_are_both_found() {
        let mut findings = Findings::default();
        compare("# head\na -> b\nc -> d\n", "a -> b\na -> b (dev)\n", &mut findings);
        assert_eq!(findings.errors.len(), 2, "{findings:?}");
        assert!(findings.errors[0].contains("lacks a -> b (dev)"));
        assert!(findings.errors[1].contains("still has c -> d"));
    }
}
