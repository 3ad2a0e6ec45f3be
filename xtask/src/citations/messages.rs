//! Checks that messages and metrics exist if the operations documents quote them, so that rewording a message cannot make
//! its runbook impossible to find.

use std::collections::BTreeMap;

use crate::findings::Findings;

const DOCUMENTS: &str = "docs/operations";
const METRICS: &str = "docs/metrics.md";
/// Code spans that begin with one of these words are commands or settings, not messages.
const COMMANDS: [&str; 10] = [
    "#", "cargo", "citycode", "kill", "kubectl", "nats", "object", "server", "stream", "ulimit",
];
/// Quoted texts that other programs produce or read.
const OF_OTHER_PROGRAMS: [&str; 2] = ["permissions violation", "sync_interval: always"];
/// Shorter fragments of a message prove nothing.
const SHORTEST_FRAGMENT: usize = 4;

/// Compares the code spans of `docs/operations*` with the Rust sources and with the list of metrics.
pub(super) fn check(texts: &BTreeMap<String, String>, findings: &mut Findings) {
    let sources: String = texts
        .iter()
        .filter(|(file, _)| file.ends_with(".rs"))
        .map(|(_, text)| joined_strings(text))
        .collect();
    let metrics = texts.get(METRICS).map_or("", String::as_str);
    for (file, text) in texts {
        if !file.starts_with(DOCUMENTS) || !file.ends_with(".md") {
            continue;
        }
        for (line, span) in
            super::links::prose(text).flat_map(|(number, line)| spans(line).map(move |span| (number, span)))
        {
            let place = format!("{file}:{line}");
            if let Some(fragment) = fragments(span).find(|fragment| is_message(span) && !sources.contains(fragment)) {
                findings.error(&place, format!("quotes {span:?}, but no message contains {fragment:?}"));
            }
            if span.starts_with("citycode_") && !span.ends_with('…') && !metrics.contains(&format!("`{span}`")) {
                findings.error(
                    &place,
                    format!("names the metric {span}, which {METRICS} does not list"),
                );
            }
        }
    }
}

/// The code spans of a line of Markdown.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_message(span: &str) -> bool {
    let first = span.split(' ').next().unwrap_or_default();
    let is_setting = span.contains(['=', '/', '$', '"', '|']) || span.contains("--");
    span.contains(' ') && !is_setting && !COMMANDS.contains(&first) && !OF_OTHER_PROGRAMS.contains(&span)
}

/// The constant parts of a quoted message: `…`, digits and the word `N` stand for inserted values.
fn fragments(span: &str) -> impl Iterator<Item = &str> {
    span.split(|letter: char| letter == '…' || letter.is_ascii_digit())
        .flat_map(|part| part.split(" N "))
        .map(str::trim)
        .filter(|fragment| fragment.len() >= SHORTEST_FRAGMENT)
}

/// A source with the continued lines of its strings joined and its escaped quotes resolved.
fn joined_strings(source: &str) -> String {
    let mut joined = String::with_capacity(source.len());
    let mut continued = false;
    for line in source.lines() {
        let line = if continued { line.trim_start() } else { line };
        let (line, continues) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        joined += &line.replace("\\\"", "\"");
        if !continues {
            joined.push('\n');
        }
        continued = continues;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(document: &str) -> Vec<String> {
        let texts: BTreeMap<String, String> = [
            ("docs/operations/a.md", document),
            ("docs/b.md", "`not a message of ours`"),
            (METRICS, "| `citycode_losses_total` | counter |\n"),
            (
                "crates/a/src/lib.rs",
                "#[error(\"the folder {path} is \\\n    in use by {owner}\")]\n\"a \\\"quoted\\\" word\"",
            ),
        ]
        .map(|(file, text)| (file.to_owned(), text.to_owned()))
        .into();
        let mut findings = Findings::default();
        check(&texts, &mut findings);
        findings.errors
    }

    #[test]
    fn quoted_messages_commands_and_metrics_that_exist_are_no_errors() {
        let document = "`the folder … is in use by …` `citycode up` `log.nk` `a b=c` `citycode_losses_total`\n\
                        `citycode_start_…` `permissions violation`\n```\n`no prose`\n```\n";
        assert_eq!(errors(document), [""; 0]);
    }

    #[test]
    fn a_reworded_message_and_a_renamed_metric_are_found() {
        assert_eq!(
            errors("x\n`the folder … is locked` `citycode_lost_total`\n"),
            [
                "docs/operations/a.md:2: quotes \"the folder … is locked\", but no message contains \"is locked\"",
                "docs/operations/a.md:2: names the metric citycode_lost_total, which docs/metrics.md does not list",
            ]
        );
    }
}
