//! Rules over one file's text.

use crate::findings::Findings;

/// A source file above this size causes a warning …
const SIZE_TO_WARN: usize = 12_000;
/// … and above this size an error, unless a decision record names it.
const SIZE_TO_REFUSE: usize = 25_000;

/// Source files, in which size and white space are checked.
const SOURCE_KINDS: [&str; 8] = ["rs", "proto", "py", "sh", "ts", "js", "css", "html"];
const PROSE_KINDS: [&str; 5] = ["md", "toml", "yaml", "yml", "ftl"];

/// Unfinished work and disabled warnings, concatenated from parts, so that this file does not violate the rule.
const FORBIDDEN_IN_RUST: [(&str, &str); 7] = [
    (concat!("to", "do!("), "unfinished"),
    (concat!("unimple", "mented!("), "unfinished"),
    (concat!("FIX", "ME"), "unfinished: open an issue instead"),
    (concat!("XX", "X"), "unfinished: open an issue instead"),
    (concat!("#[", "ignore"), "a test runs or is deleted"),
    (concat!("#[", "allow("), "use #[expect(…, reason = …)]"),
    (concat!("#![", "allow("), "use #![expect(…, reason = …)]"),
];
/// Paths that exist only on one developer's machine.
const LOCAL_PATHS: [&str; 4] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
];

/// The folder of files that a build wrote from committed sources: their form is the build's.
const BUILT: &str = "services/pages/web/dist/";

/// Adds every fault of one file. `decisions` is the text of all decision records.
pub(super) fn check(file: &str, content: &str, decisions: &str, findings: &mut Findings) {
    let kind = file.rsplit_once('.').map_or("", |(_, kind)| kind);
    let source = (SOURCE_KINDS.contains(&kind) && !file.starts_with(BUILT)) || file.starts_with(".ci/");
    if source {
        size(file, content.len(), decisions, findings);
    }
    if source || PROSE_KINDS.contains(&kind) {
        white_space(file, content, findings);
        local_paths(file, content, findings);
    }
    if kind == "rs" {
        forbidden_words(file, content, findings);
        sleeping_tests(file, content, findings);
    }
}

fn size(file: &str, bytes: usize, decisions: &str, findings: &mut Findings) {
    let excused = decisions.contains(file);
    if bytes > SIZE_TO_REFUSE && !excused {
        findings.error(
            file,
            format!("{bytes} bytes: split it, or name it in a decision record (limit {SIZE_TO_REFUSE})"),
        );
    } else if bytes > SIZE_TO_WARN && !excused {
        findings.warn(
            file,
            format!("{bytes} bytes: does it have one purpose? (above {SIZE_TO_WARN})"),
        );
    }
}

fn white_space(file: &str, content: &str, findings: &mut Findings) {
    for (number, line) in lines(content) {
        if line.ends_with([' ', '\t', '\r']) {
            findings.error(format!("{file}:{number}"), "white space at the end of the line");
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        findings.error(file, "no newline at the end of the file");
    }
}

fn local_paths(file: &str, content: &str, findings: &mut Findings) {
    for (number, line) in lines(content) {
        for path in LOCAL_PATHS {
            let begins = |at: usize| {
                !line[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || "_-.}/*>".contains(before))
            };
            if line.match_indices(path).any(|(at, _)| begins(at)) {
                findings.error(
                    format!("{file}:{number}"),
                    format!("names {path}, a folder of one developer's machine"),
                );
            }
        }
    }
}

fn forbidden_words(file: &str, content: &str, findings: &mut Findings) {
    for (number, line) in lines(content) {
        for (word, reason) in FORBIDDEN_IN_RUST {
            if contains_word(line, word) {
                findings.error(format!("{file}:{number}"), format!("{word}: {reason}"));
            }
        }
    }
}

/// Whether `line` contains `word`, and not only as part of a longer word.
fn contains_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(joins) && word.starts_with(joins);
        let after = line[at + word.len()..].chars().next().is_some_and(joins) && word.ends_with(joins);
        !before && !after
    })
}

/// Finds tests that sleep instead of waiting for a condition or moving the clock. Everything after a file's
/// `#[cfg(test)] mod` is a test, because tests are at the end of a file here.
fn sleeping_tests(file: &str, content: &str, findings: &mut Findings) {
    let mut in_tests = file.contains("/tests/") || file.starts_with("tests/") || file.ends_with("/tests.rs");
    let mut previous = "";
    for (number, line) in lines(content) {
        let trimmed = line.trim();
        in_tests |= previous == "#[cfg(test)]" && trimmed.starts_with("mod ") && trimmed.ends_with('{');
        if in_tests && contains_word(line, concat!("sle", "ep(")) {
            findings.error(
                format!("{file}:{number}"),
                "a test sleeps: wait for a condition, or move the clock",
            );
        }
        previous = trimmed;
    }
}

fn lines(content: &str) -> impl Iterator<Item = (usize, &str)> {
    content.split('\n').enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, content: &str) -> Findings {
        let mut findings = Findings::default();
        check(file, content, "0009 excuses crates/a/src/table.rs", &mut findings);
        findings
    }

    fn one_error(file: &str, content: &str) {
        let findings = found(file, content);
        assert_eq!(findings.errors.len(), 1, "{file}: {content:?}: {findings:?}");
    }

    fn no_error(file: &str, content: &str) {
        let findings = found(file, content);
        assert!(findings.errors.is_empty(), "{file}: {findings:?}");
    }

    #[test]
    fn a_big_file_is_warned_of_and_a_huge_one_refused_unless_a_decision_names_it() {
        let line = "// x\n";
        assert_eq!(found("crates/a/src/lib.rs", &line.repeat(2_500)).warnings.len(), 1);
        one_error("crates/a/src/lib.rs", &line.repeat(6_000));
        no_error("crates/a/src/table.rs", &line.repeat(6_000));
    }

    #[test]
    fn every_forbidden_word_is_found_with_its_line() {
        for (word, _) in FORBIDDEN_IN_RUST {
            let findings = found("crates/a/src/lib.rs", &format!("//! a\n{word} x\n"));
            assert_eq!(findings.errors.len(), 1, "{word}");
            assert!(
                findings.errors[0].starts_with("crates/a/src/lib.rs:2: "),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn longer_words_are_not_taken_for_forbidden_ones() {
        no_error("a.rs", concat!("let name = \"XX", "XX\"; fn into", "_ignored() {}\n"));
    }

    #[test]
    fn folders_of_a_machine_are_found_and_urls_let_be() {
        for path in LOCAL_PATHS {
            one_error("docs/a.md", &format!("see {path}x\n"));
            no_error("docs/a.md", &format!("see https://city.example{path}x\n"));
        }
    }

    #[test]
    fn trailing_white_space_and_a_missing_line_end_are_found() {
        one_error("a.toml", "a = 1 \n");
        one_error("a.rs", "fn a() {}\t\n");
        one_error("a.md", "text");
        no_error("a.bin", "text ");
    }

    #[test]
    fn a_sleeping_test_is_found_and_a_sleeping_service_is_not() {
        let call = concat!("    tokio::time::sle", "ep(x).await;\n");
        one_error("crates/a/tests/it.rs", call);
        one_error(
            "crates/a/src/lib.rs",
            &format!("#[cfg(test)]\nmod tests {{\n{call}}}\n"),
        );
        no_error("services/a/src/retry.rs", call);
    }
}
