//! Checks that rules, documents, decision records, links and their anchors exist if code, tests or documents cite them,
//! and that messages exist if the operations documents quote them.
//!
//! At least one test cites every rule of `docs/rules.md`. A test cites a rule in a comment, in a message or in its name
//! (`r24_a_stale_verifier_says_so`). Each check is a pure function over texts, so that unit tests can plant faults.

mod links;
mod messages;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::findings::Findings;
use crate::workspace::Workspace;

const RULES: &str = "docs/rules.md";
const DECISIONS: &str = "docs/decisions/";
/// Extensions of the files that are checked. Lock files and generated assets cite nothing.
const KINDS: [&str; 8] = ["rs", "proto", "toml", "md", "py", "yml", "yaml", "sh"];

/// Checks every file that is or would be committed.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let files = workspace.files()?;
    let mut texts = BTreeMap::new();
    for file in &files {
        let kind = file.rsplit_once('.').map_or("", |(_, kind)| kind);
        // The planted faults in this check's own tests cite things that do not exist.
        if KINDS.contains(&kind) && !file.starts_with("xtask/src/") {
            let text = std::fs::read_to_string(workspace.path(file)).with_context(|| file.clone())?;
            texts.insert(file.clone(), text);
        }
    }
    let mut findings = Findings::default();
    rules(&texts, &mut findings);
    decisions(&texts, &files, &mut findings);
    documents(&texts, &files, &mut findings);
    links::check(&texts, &files, &mut findings);
    messages::check(&texts, &mut findings);
    findings.conclude("citations")
}

/// Checks that every cited rule exists, and that a test cites every rule.
fn rules(texts: &BTreeMap<String, String>, findings: &mut Findings) {
    let Some(text) = texts.get(RULES) else {
        findings.error(RULES, "is missing: it contains the rules that comments cite");
        return;
    };
    let defined: BTreeSet<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- **R")?.split_once(".**")?.0.parse().ok())
        .collect();
    let mut tested = BTreeSet::new();
    for (file, text) in texts {
        // Unit tests are at the end of their file.
        let tests_from = if file.contains("tests/") || file.ends_with("tests.rs") {
            0
        } else {
            text.find("#[cfg(test)]").unwrap_or(usize::MAX)
        };
        for (at, rule) in cited_rules(text) {
            if !defined.contains(&rule) {
                let place = format!("{file}:{}", line_of(text, at));
                findings.error(place, format!("cites R{rule}, which {RULES} does not define"));
            }
            if file.ends_with(".rs") && at >= tests_from {
                tested.insert(rule);
            }
        }
    }
    for rule in defined.difference(&tested) {
        findings.error(RULES, format!("no test cites R{rule}"));
    }
}

/// `R24` as a separate word, and `r24_` at the start of an identifier, each with its offset in the text.
fn cited_rules(text: &str) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    for (at, letter) in text.char_indices().filter(|(_, letter)| matches!(letter, 'R' | 'r')) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || "_-+/\\#".contains(before)) {
            continue;
        }
        let rest = &text[at + 1..];
        let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let after = rest[digits..].chars().next();
        let ends = match letter {
            'R' => !after.is_some_and(|after| after.is_alphanumeric() || "_-+/\\".contains(after)),
            _ => after == Some('_'),
        };
        if (1..=2).contains(&digits)
            && ends
            && let Ok(rule) = rest[..digits].parse()
        {
            found.push((at, rule));
        }
    }
    found
}

/// Checks that `decision 18` names an existing record.
fn decisions(texts: &BTreeMap<String, String>, files: &[String], findings: &mut Findings) {
    let exists = |number: &str| {
        let prefix = format!("{DECISIONS}{number:0>4}-");
        files.iter().any(|file| file.starts_with(&prefix))
    };
    for (file, text) in texts {
        for (at, words) in text.match_indices("ecision ") {
            let rest = &text[at + words.len()..];
            let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
            let number = &rest[..digits];
            if !number.is_empty() && !exists(number) {
                let place = format!("{file}:{}", line_of(text, at));
                findings.error(place, format!("cites decision {number}, which has no record"));
            }
        }
    }
}

/// Checks that a document exists, relative to the root, to `docs/` or to the file, if code, configuration or a schema
/// names it.
fn documents(texts: &BTreeMap<String, String>, files: &[String], findings: &mut Findings) {
    let exists = |path: &str| files.iter().any(|file| file == path);
    for (file, text) in texts.iter().filter(|(file, _)| !file.ends_with(".md")) {
        for (at, extension) in text.match_indices(".md") {
            let end = at + extension.len();
            if text[end..].starts_with(|after: char| after.is_ascii_alphanumeric() || after == '_') {
                continue;
            }
            let is_path = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
            let start = text[..at]
                .rfind(|letter: char| !is_path(letter))
                .map_or(0, |before| before + 1);
            let start = (start..=at).find(|start| text.is_char_boundary(*start)).unwrap_or(at);
            let name = text[start..end].trim_start_matches("../").trim_start_matches('/');
            let is_address = text[..start].ends_with(':') && text[start..].starts_with("//");
            if name.is_empty() || name.starts_with('.') || is_address {
                continue;
            }
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            if ![name.to_owned(), format!("docs/{name}"), format!("{folder}/{name}")]
                .iter()
                .any(|path| exists(path))
            {
                let place = format!("{file}:{}", line_of(text, at));
                findings.error(place, format!("names the document {name}, which does not exist"));
            }
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()))
            .collect()
    }

    fn errors(check: impl FnOnce(&mut Findings)) -> Vec<String> {
        let mut findings = Findings::default();
        check(&mut findings);
        findings.errors
    }

    #[test]
    fn rules_are_found_as_words_and_in_names_of_tests_only() {
        let text = "R1, (R24) R3: fn r12_a() ER5 R100 R2D2 addr7_x http_r8_ \"R31\" 界R9 R";
        let found: Vec<u32> = cited_rules(text).into_iter().map(|(_, rule)| rule).collect();
        assert_eq!(found, [1, 24, 3, 12, 31]);
    }

    #[test]
    fn a_rule_that_is_not_defined_and_one_that_no_test_cites_are_errors() {
        let rules_text = "- **R1.** One.\n- **R2.** Two.\n";
        let fine = [
            (RULES, rules_text),
            (
                "crates/a/src/lib.rs",
                "// R1\n#[cfg(test)]\nmod tests { fn r1_holds() {} }\n",
            ),
            ("crates/a/tests/b.rs", "// R2\n"),
        ];
        assert_eq!(errors(|findings| rules(&texts(&fine), findings)), [""; 0]);
        let wrong = [
            (RULES, rules_text),
            ("crates/a/src/lib.rs", "\n// R3, R2\n"),
            ("docs/x.md", "R1"),
        ];
        assert_eq!(
            errors(|findings| rules(&texts(&wrong), findings)),
            [
                "crates/a/src/lib.rs:2: cites R3, which docs/rules.md does not define",
                "docs/rules.md: no test cites R1",
                "docs/rules.md: no test cites R2",
            ]
        );
    }

    #[test]
    fn a_decision_without_a_record_is_an_error() {
        let files = ["docs/decisions/0008-the-vault.md".to_owned()];
        let sources = texts(&[("a.rs", "// Decision 8 and\n// decision 9, decision none\n")]);
        assert_eq!(
            errors(|findings| decisions(&sources, &files, findings)),
            ["a.rs:2: cites decision 9, which has no record"]
        );
    }

    #[test]
    fn a_document_that_does_not_exist_is_an_error() {
        let files = ["README.md", "docs/operations.md", "crates/a/notes.md"].map(str::to_owned);
        let sources = texts(&[(
            "crates/a/lib.rs",
            "// README.md, ../docs/operations.md, operations.md, notes.md\n// 见missing.md x.mdx .md https://x.example/a.md\n",
        )]);
        assert_eq!(
            errors(|findings| documents(&sources, &files, findings)),
            ["crates/a/lib.rs:2: names the document missing.md, which does not exist"]
        );
    }
}
