//! Compares the list with the sources and the documentation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The Rust files of all crates and services, except tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// Kind and name of each metric that the sources record.
fn recorded() -> BTreeSet<(&'static str, String)> {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    sources(&root().join("services"), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // Tests of a module record metrics that no process exports.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (kind, words) in [
            ("counter", "counter!("),
            ("gauge", "gauge!("),
            ("histogram", "histogram!("),
        ] {
            for after in text.split(words).skip(1) {
                let Some(name) = after.trim_start().strip_prefix('"') else {
                    assert!(
                        file.ends_with("metric_list.rs"),
                        "{}: the name is not a literal",
                        file.display()
                    );
                    continue;
                };
                found.insert((kind, name.split('"').next().unwrap().to_owned()));
            }
        }
    }
    found
}

fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        Counter => "counter",
        Gauge => "gauge",
        Histogram => "histogram",
    }
}

fn exported_by(part: Part) -> &'static str {
    match part {
        Part::Every => "every service",
        Part::Serving => "every service, archive",
        Part::Follower => "issuer, revocation, verifier, audit",
        Part::OnServers => "the same, on NATS",
        Part::Snapshots => "issuer, revocation, verifier",
        Part::Starting => "issuer, revocation, verifier, on NATS",
        Part::OfACity => "every service, on NATS",
        Part::Writer => "issuer, revocation",
        Part::Issuer => "issuer",
        Part::Revocation => "revocation",
        Part::Verifier => "verifier",
        Part::Audit => "audit",
        Part::Portal => "portal",
        Part::Archive => "archive",
    }
}

#[test]
fn the_list_contains_exactly_the_recorded_metrics() {
    let listed: BTreeSet<_> = ALL
        .iter()
        .map(|metric| (kind(metric), metric.name.to_owned()))
        .collect();
    assert_eq!(listed.len(), ALL.len(), "no metric twice");
    assert_eq!(recorded(), listed);
}

#[test]
fn names_end_in_their_unit() {
    let units = [
        "_total",
        "_seconds",
        "_bytes",
        "_events",
        "_commits",
        "_messages",
        "_buckets",
        "_partitions",
        "_leaves",
        "_streams",
        "_days",
        "_connections",
        "_healthy",
        "_info",
    ];
    for metric in ALL {
        let name = metric.name;
        assert!(name.starts_with("citycode_"), "{name}");
        assert!(units.iter().any(|unit| name.ends_with(unit)), "{name}");
        assert_eq!(metric.kind == Counter, name.ends_with("_total"), "{name}");
    }
}

#[test]
fn the_documentation_lists_them_all() {
    let documented = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows: Vec<&str> = documented.lines().filter(|line| line.starts_with("| `")).collect();
    let wanted: Vec<String> = ALL
        .iter()
        .map(|metric| {
            let labels = metric.labels.join(", ");
            let (name, of, help) = (metric.name, exported_by(metric.of), metric.help);
            format!("| `{name}` | {} | {labels} | {of} | {help} |", kind(metric))
        })
        .collect();
    assert_eq!(
        rows,
        wanted,
        "docs/metrics.md should have these rows:\n{}",
        wanted.join("\n")
    );
}

#[test]
fn counters_and_histograms_are_initialised() {
    register(OF_ONE_PROCESS);
    let exported = metrics_endpoint::install().unwrap().render();
    let initialised = ALL
        .iter()
        .filter(|metric| OF_ONE_PROCESS.contains(&metric.of) && metric.kind != Gauge);
    for metric in initialised.filter(|metric| metric.labels.is_empty() || !metric.known.is_empty()) {
        assert!(
            exported.contains(&format!("# HELP {} ", metric.name)),
            "{}",
            metric.name
        );
        let sample = if metric.kind == Histogram { "_count" } else { "" };
        assert!(
            exported.contains(&format!("\n{}{sample}", metric.name)),
            "{}:\n{exported}",
            metric.name
        );
    }
}
