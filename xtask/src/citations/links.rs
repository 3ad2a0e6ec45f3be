//! Checks that the files and anchors of relative links in Markdown documents exist.

use std::collections::{BTreeMap, BTreeSet};

use crate::findings::Findings;

/// Checks every `](target)` that is not a web address.
pub(super) fn check(texts: &BTreeMap<String, String>, files: &[String], findings: &mut Findings) {
    for (file, text) in texts.iter().filter(|(file, _)| file.ends_with(".md")) {
        for (number, line) in prose(text) {
            for target in targets(line) {
                if let Err(what) = resolve(file, target, texts, files) {
                    findings.error(format!("{file}:{number}"), what);
                }
            }
        }
    }
}

/// The lines outside fenced code blocks, numbered from 1.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then_some((number + 1, line))
    })
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, opening)| {
        let rest = &line[at + opening.len()..];
        rest.split_once(')').map(|(target, _)| target)
    })
}

fn resolve(file: &str, target: &str, texts: &BTreeMap<String, String>, files: &[String]) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        file.to_owned()
    } else {
        join(file, path)
    };
    let folder = format!("{}/", path.trim_end_matches('/'));
    if !files.iter().any(|file| *file == path || file.starts_with(&folder)) {
        return Err(format!("links to {path}, which does not exist"));
    }
    match texts.get(&path) {
        Some(text) if !anchor.is_empty() && path.ends_with(".md") && !anchors(text).contains(anchor) => Err(format!(
            "links to the section #{anchor} of {path}, which does not exist"
        )),
        _ => Ok(()),
    }
}

/// The path of a link in `file`, relative to the root.
fn join(file: &str, path: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Anchors of a document's headings as Git hosting sites generate them: lower case, spaces become hyphens, other
/// punctuation is dropped, and a second heading of the same name gets `-1`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        let again = (1..).map(|number| format!("{slug}-{number}"));
        let free = std::iter::once(slug.clone())
            .chain(again)
            .find(|slug| !found.contains(slug));
        found.extend(free);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_missing_files_and_sections_are_errors() {
        let texts: BTreeMap<String, String> = [
            (
                "docs/a.md",
                "# A `b` (c), d\n[1](b.md) [2](../README.md#two) [3](#a-b-c-d) [4](https://x.example/y) [5](x)\n```\n[6](no)\n```\n[7](missing.md) [8](../README.md#three)\n",
            ),
            ("docs/b.md", ""),
            ("README.md", "## Two\n## Two\n[dir](docs) [again](#two-1)\n"),
        ]
        .map(|(file, text)| (file.to_owned(), text.to_owned()))
        .into();
        let files: Vec<String> = texts.keys().cloned().chain(["docs/x/y.rs".to_owned()]).collect();
        let mut findings = Findings::default();
        check(&texts, &files, &mut findings);
        assert_eq!(
            findings.errors,
            [
                "docs/a.md:6: links to docs/missing.md, which does not exist",
                "docs/a.md:6: links to the section #three of README.md, which does not exist",
            ]
        );
    }
}
