//! The code map in ARCHITECTURE.md: it names every crate of ours, and no file that does not exist.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::findings::Findings;
use crate::workspace::Workspace;

const MAP_FILE: &str = "ARCHITECTURE.md";
/// A word that begins with one of these folders is a path.
const TOP_FOLDERS: [&str; 11] = [
    "crates", "services", "xtask", "fuzz", "policies", "proto", "docs", "tests", "deploy", "benches", ".ci",
];

/// Compares the map with the packages and the files.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let file = workspace.path(MAP_FILE);
    if !file.is_file() {
        bail!("{MAP_FILE} is missing: write the code map, naming each folder as in `crates/domain`");
    }
    let text = std::fs::read_to_string(&file).with_context(|| MAP_FILE.to_owned())?;
    let folders: Vec<String> = workspace
        .packages
        .iter()
        .map(|package| workspace.folder(package))
        .collect();
    compare(&text, &folders, &workspace.root).conclude("map")
}

fn compare(text: &str, folders: &[String], root: &Path) -> Findings {
    let mut findings = Findings::default();
    let named = named_paths(text);
    for folder in folders {
        let shown = |path: &str| {
            path == folder
                || path
                    .strip_prefix(folder.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let top_level = !folder.contains('/') && text.contains(&format!("`{folder}`"));
        if !top_level && !named.iter().any(|(_, path)| shown(path)) {
            findings.error(MAP_FILE, format!("does not name {folder}"));
        }
    }
    for (line, path) in &named {
        if !root.join(path).exists() {
            findings.error(
                format!("{MAP_FILE}:{line}"),
                format!("names {path}, which does not exist"),
            );
        }
    }
    findings
}

/// Words such as `crates/domain/src/lib.rs` with their line. A pattern (`proto/citycode/*/v1`) stands for its last
/// complete folder.
fn named_paths(text: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let stops = |c: char| !(c.is_ascii_alphanumeric() || "_./-*{}<>,".contains(c));
        for word in line.split(stops) {
            let plain = word
                .find(['*', '{', '<'])
                .map_or(word, |cut| word[..cut].rsplit_once('/').map_or("", |(whole, _)| whole));
            let plain = plain
                .split([',', '>', '}'])
                .next()
                .unwrap_or_default()
                .trim_end_matches(['.', '/']);
            let Some((top, rest)) = plain.split_once('/') else {
                continue;
            };
            if TOP_FOLDERS.contains(&top) && !rest.is_empty() {
                paths.push((number + 1, plain.to_owned()));
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str, folders: &[&str]) -> Vec<String> {
        let folders: Vec<String> = folders.iter().map(|&folder| folder.to_owned()).collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask is in a folder below the root");
        compare(text, &folders, root).errors
    }

    #[test]
    fn a_complete_map_has_no_errors() {
        assert_eq!(
            errors(
                "`crates/domain` and `xtask`.\nSee crates/domain/src/lib.rs.",
                &["crates/domain", "xtask"]
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_missing_crate_is_found() {
        assert_eq!(
            errors("`crates/domain`", &["crates/domain", "crates/token"]),
            ["ARCHITECTURE.md: does not name crates/token"]
        );
    }

    #[test]
    fn a_longer_name_does_not_count_for_a_shorter_one() {
        assert_eq!(
            errors("`crates/event-store-embedded`", &["crates/event-store"]).len(),
            1
        );
    }

    #[test]
    fn a_missing_path_is_found_with_its_line() {
        assert_eq!(
            errors("x\n(crates/moon).", &[]),
            ["ARCHITECTURE.md:2: names crates/moon, which does not exist"]
        );
    }

    #[test]
    fn a_pattern_stands_for_its_last_complete_folder() {
        assert_eq!(
            named_paths("`proto/citycode/*/v1/a.proto` `docs/{a,b}` `crates/x.`"),
            [(1, "proto/citycode".to_owned()), (1, "crates/x".to_owned())]
        );
    }
}
