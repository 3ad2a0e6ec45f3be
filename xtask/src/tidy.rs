//! Conventions of this repository, checked for every file that is or would be committed.
//!
//! Each rule is a pure function over one file's name and text (in [`text`]) or over the list of files (here), so that
//! unit tests can plant faults. Forbidden words are concatenated from parts, so that these files do not violate the
//! rules.

mod text;

use std::path::Path;

use anyhow::{Context, Result};

use crate::findings::Findings;
use crate::workspace::Workspace;

const DECISIONS: &str = "docs/decisions/";
/// Files that every repository should have.
const EXPECTED_FILES: [&str; 4] = ["README.md", "README.zh-CN.md", "CHANGELOG.md", "LICENSE"];
/// Names that do not describe the content.
const VAGUE_NAMES: [&str; 9] = [
    "util", "utils", "common", "manager", "managers", "helper", "helpers", "misc", "shared",
];
/// Keys that every manifest inherits from the workspace.
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// Runs every rule over the tree.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let files = workspace.files()?;
    let mut findings = Findings::default();
    let decisions = decision_texts(workspace, &files)?;
    for file in &files {
        // A file that is not UTF-8 is an image, a font or a byte sample, and has no lines to check.
        let Ok(content) = std::fs::read_to_string(workspace.path(file)) else {
            continue;
        };
        text::check(file, &content, &decisions, &mut findings);
    }
    expected_files(&files, &mut findings);
    names(&files, &mut findings);
    decision_numbers(&files, &mut findings);
    for package in &workspace.packages {
        let manifest = format!("{}/Cargo.toml", workspace.folder(package));
        let content = std::fs::read_to_string(workspace.path(&manifest)).context(manifest.clone())?;
        inheritance(&manifest, &content, &mut findings);
    }
    findings.conclude("tidy")
}

fn decision_texts(workspace: &Workspace, files: &[String]) -> Result<String> {
    let mut all = String::new();
    for file in files.iter().filter(|file| file.starts_with(DECISIONS)) {
        all += &std::fs::read_to_string(workspace.path(file)).with_context(|| file.clone())?;
    }
    Ok(all)
}

fn expected_files(files: &[String], findings: &mut Findings) {
    for expected in EXPECTED_FILES {
        if !files.iter().any(|file| file == expected) {
            findings.error(expected, "is missing");
        }
    }
}

fn names(files: &[String], findings: &mut Findings) {
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        for part in Path::new(file).with_extension("").components() {
            let name = part.as_os_str().to_string_lossy();
            if VAGUE_NAMES.contains(&&*name) {
                findings.error(file, format!("the name {name:?} does not describe the content"));
            }
        }
    }
}

/// Checks that decisions are named like `0001-what-was-decided.md` and numbered without gaps or duplicates.
fn decision_numbers(files: &[String], findings: &mut Findings) {
    let mut expected = 1_u32;
    for file in files {
        let Some(name) = file.strip_prefix(DECISIONS).filter(|name| *name != "README.md") else {
            continue;
        };
        let number = name.split_once('-').filter(|(digits, _)| digits.len() == 4);
        match number.and_then(|(digits, _)| digits.parse::<u32>().ok()) {
            Some(number) if number == expected => expected += 1,
            Some(number) => {
                findings.error(file, format!("is number {number}, but {expected} comes next"));
                expected = number + 1;
            }
            None => findings.error(file, "is not named like 0001-what-was-decided.md"),
        }
    }
}

fn inheritance(manifest: &str, content: &str, findings: &mut Findings) {
    let parsed: toml::Table = match content.parse() {
        Ok(parsed) => parsed,
        Err(error) => return findings.error(manifest, error),
    };
    let inherits = |value: Option<&toml::Value>| {
        value
            .and_then(|value| value.get("workspace"))
            .and_then(toml::Value::as_bool)
            == Some(true)
    };
    if !inherits(parsed.get("lints")) {
        findings.error(
            manifest,
            "does not inherit the workspace's lints: [lints] workspace = true",
        );
    }
    for key in INHERITED {
        if !inherits(parsed.get("package").and_then(|package| package.get(key))) {
            findings.error(manifest, format!("does not inherit {key}.workspace = true"));
        }
    }
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let dependencies = parsed.get(table).and_then(toml::Value::as_table);
        for (name, value) in dependencies.into_iter().flatten() {
            if !inherits(Some(value)) {
                findings.error(
                    manifest,
                    format!("{name} in [{table}] does not inherit its version from the workspace"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(rule: impl Fn(&mut Findings)) -> Vec<String> {
        let mut findings = Findings::default();
        rule(&mut findings);
        findings.errors
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn consecutive_decisions_have_no_errors() {
        let files = list(&[
            "docs/decisions/0001-a.md",
            "docs/decisions/0002-b.md",
            "docs/decisions/README.md",
        ]);
        assert_eq!(errors(|f| decision_numbers(&files, f)), [""; 0]);
    }

    #[test]
    fn a_gap_a_duplicate_and_an_unnumbered_decision_are_found() {
        for wrong in ["0003-c.md", "0001-again.md", "later.md", "2-b.md"] {
            let files = list(&["docs/decisions/0001-a.md", &format!("docs/decisions/{wrong}")]);
            assert_eq!(errors(|f| decision_numbers(&files, f)).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn vague_names_of_files_and_folders_are_found() {
        let files = list(&[
            "crates/a/src/utils.rs",
            "crates/a/tests/common/mod.rs",
            "crates/a/src/fine.rs",
        ]);
        assert_eq!(errors(|f| names(&files, f)).len(), 2);
    }

    #[test]
    fn a_missing_changelog_is_found() {
        let found = errors(|f| expected_files(&list(&["README.md", "README.zh-CN.md", "LICENSE"]), f));
        assert_eq!(found, ["CHANGELOG.md: is missing"]);
    }

    #[test]
    fn a_crate_that_does_not_inherit_is_found() {
        let good = "[package]\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
                    license.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n\
                    [dependencies]\nx.workspace = true\ny = { workspace = true, features = [\"z\"] }\n";
        assert_eq!(errors(|f| inheritance("Cargo.toml", good, f)), [""; 0]);
        for (from, to) in [
            ("[lints]\nworkspace = true\n", ""),
            ("edition.workspace = true", "edition = \"2021\""),
            ("x.workspace = true", "x = \"1\""),
        ] {
            assert_eq!(
                errors(|f| inheritance("Cargo.toml", &good.replace(from, to), f)).len(),
                1,
                "{from}"
            );
        }
    }
}
