//! What each crate may know. The rules of ARCHITECTURE.md as tables; a crate without a row is an error, so
//! that its author decides what it may know.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cargo_metadata::DependencyKind;

use super::{Arrow, crate_name};
use crate::findings::Findings;
use crate::workspace::Workspace;

/// A library crate and the only crates of ours that it may know outside its tests.
const CRATES: [(&str, &[&str]); 22] = [
    ("domain", &[]),
    ("qr", &[]),
    ("residents-file", &[]),
    ("event-store", &[]),
    ("jetstream", &[]),
    ("service-kit", &[]),
    ("terminal", &["service-kit"]),
    ("token", &["domain"]),
    ("projection", &["domain"]),
    ("wire", &["domain"]),
    ("vault", &["domain", "jetstream"]),
    ("scan-records", &["domain", "wire", "vault", "jetstream", "service-kit"]),
    ("assertion-uses", &["jetstream"]),
    ("shared-snapshot", &["jetstream", "projection", "token"]),
    ("policy-file", &["domain"]),
    ("event-store-embedded", &["event-store"]),
    ("event-store-jetstream", &["event-store", "jetstream"]),
    ("holder-log", &["domain", "wire", "projection", "event-store"]),
    (
        "acts",
        &[
            "domain",
            "wire",
            "vault",
            "policy-file",
            "holder-log",
            "service-kit",
            "assertion-uses",
        ],
    ),
    // Only tests and benches use it, so it may know what they would otherwise repeat.
    (
        "testkit",
        &[
            "domain",
            "token",
            "projection",
            "wire",
            "vault",
            "policy-file",
            "event-store",
            "holder-log",
            "service-kit",
        ],
    ),
    ("xtask", &[]),
    (
        "fuzz",
        &[
            "domain",
            "token",
            "projection",
            "wire",
            "policy-file",
            "qr",
            "residents-file",
            "event-store",
        ],
    ),
];

/// A service and what it may know beside `domain`, `wire` and `service-kit`.
const SERVICES: [(&str, &[&str]); 6] = [
    (
        "issuer",
        &[
            "acts",
            "token",
            "projection",
            "vault",
            "holder-log",
            "policy-file",
            "event-store",
        ],
    ),
    (
        "revocation",
        &[
            "acts",
            "token",
            "projection",
            "vault",
            "holder-log",
            "policy-file",
            "event-store",
        ],
    ),
    (
        "verifier",
        &[
            "token",
            "projection",
            "vault",
            "scan-records",
            "policy-file",
            "event-store",
        ],
    ),
    // holder-log for the names of streams and for reading events; audit appends nothing.
    ("audit", &["event-store", "holder-log"]),
    // The exposed one: no log, no keys, no projections. It reads pictures for who has no reader at hand.
    ("portal", &["qr"]),
    ("gate-agent", &["token", "projection", "policy-file", "qr"]),
];
const EVERY_SERVICE_KNOWS: [&str; 3] = ["domain", "wire", "service-kit"];
const ENGINES: [&str; 2] = ["event-store-embedded", "event-store-jetstream"];

/// Crates that put the others together, from the outermost inwards: each may know those behind it, and no other crate
/// may know one of them. `tests` are the system tests in the folder of that name.
const COMPOSERS: [&str; 5] = ["tests", "bench", "citycode", "operator", "runtime"];
/// Composers that are never shipped, and so may know the testkit.
const NEVER_SHIPPED: [&str; 2] = ["bench", "tests"];

/// Crates of others that a crate must not know, because they read clocks, draw random numbers or do I/O.
const OUTSIDERS_FORBIDDEN: [(&str, &[&str]); 4] = [
    (
        "domain",
        &[
            "tokio",
            "async-trait",
            "futures",
            "serde",
            "prost",
            "tonic",
            "tracing",
            "log",
            "metrics",
            "getrandom",
            "rand",
            "uuid",
        ],
    ),
    (
        "token",
        &[
            "tokio",
            "async-trait",
            "futures",
            "prost",
            "tonic",
            "tracing",
            "metrics",
            "getrandom",
            "rand",
        ],
    ),
    (
        "projection",
        &[
            "tokio",
            "async-trait",
            "futures",
            "prost",
            "tonic",
            "tracing",
            "metrics",
            "getrandom",
            "rand",
        ],
    ),
    ("event-store", &["prost", "tonic", "async-nats", "redb"]),
];
/// Crates of others that only these crates may name.
const OUTSIDERS_CONFINED: [(&str, &[&str]); 3] = [
    (
        "async-nats",
        &[
            "jetstream",
            "event-store-jetstream",
            "vault",
            "scan-records",
            "assertion-uses",
            "testkit",
            "bench",
            "tests",
        ],
    ),
    (
        "redb",
        &[
            "event-store-embedded",
            "vault",
            "audit",
            "scan-records",
            "assertion-uses",
            "bench",
        ],
    ),
    ("krilla", &["qr"]),
];

pub(super) fn check(workspace: &Workspace, arrows: &BTreeSet<Arrow>) -> Result<Findings> {
    let mut findings = Findings::default();
    for package in &workspace.packages {
        let name = crate_name(workspace, package);
        if !is_known(&name) {
            findings.error(
                &name,
                "has no row in xtask/src/arrows/rules.rs: say there what it may know",
            );
        }
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
        {
            if let Some(reason) = outsider_fault(&name, &dependency.name) {
                findings.error(&name, reason);
            }
        }
    }
    for arrow in arrows {
        if let Some(reason) = fault(arrow) {
            findings.error(arrow, reason);
        }
    }
    engines_only_where_composed(workspace, arrows, &mut findings)?;
    if let Some(reason) =
        no_std_fault(&std::fs::read_to_string(workspace.path("crates/domain/src/lib.rs")).context("crates/domain")?)
    {
        findings.error("crates/domain/src/lib.rs", reason);
    }
    Ok(findings)
}

fn is_known(name: &str) -> bool {
    CRATES.iter().chain(&SERVICES).any(|(known, _)| *known == name) || COMPOSERS.contains(&name)
}

fn is_service(name: &str) -> bool {
    SERVICES.iter().any(|(known, _)| *known == name)
}

/// Why this arrow may not be, if so.
fn fault(arrow: &Arrow) -> Option<String> {
    let (from, to) = (arrow.from.as_str(), arrow.to.as_str());
    let outer = |name: &str| COMPOSERS.iter().position(|composer| *composer == name);
    match (outer(from), outer(to)) {
        (Some(from), Some(to)) if from < to => {}
        (_, Some(_)) => return Some("only the command line, operators' commands and tests may know a program".into()),
        (_, None) => {}
    }
    if COMPOSERS.contains(&from) {
        let shipped_testkit = to == "testkit" && !arrow.dev && !NEVER_SHIPPED.contains(&from);
        return shipped_testkit.then(|| "testkit only as a dev-dependency".into());
    }
    if is_service(to) {
        return Some("only services/runtime may know a service; services meet through the log".into());
    }
    if arrow.dev {
        return None;
    }
    if to == "testkit" {
        return Some("testkit only as a dev-dependency".into());
    }
    if let Some((_, allowed)) = SERVICES.iter().find(|(name, _)| *name == from) {
        let fine = EVERY_SERVICE_KNOWS.contains(&to)
            || allowed.contains(&to)
            || (ENGINES.contains(&to) && allowed.contains(&"event-store"));
        return (!fine).then(|| {
            format!(
                "service {from} may know only {} {}",
                EVERY_SERVICE_KNOWS.join(" "),
                allowed.join(" ")
            )
        });
    }
    let allowed = CRATES
        .iter()
        .find(|(name, _)| *name == from)
        .map_or(&[][..], |(_, allowed)| allowed);
    (!allowed.contains(&to)).then(|| match allowed {
        [] => format!("{from} may know nothing of ours"),
        some => format!("{from} may know only {}", some.join(" ")),
    })
}

fn outsider_fault(name: &str, dependency: &str) -> Option<String> {
    let forbidden = OUTSIDERS_FORBIDDEN
        .iter()
        .any(|(known, list)| *known == name && list.contains(&dependency));
    let confined = OUTSIDERS_CONFINED.iter().find(|(name, _)| *name == dependency);
    match confined {
        _ if forbidden => Some(format!("must not know {dependency}")),
        Some((_, crates)) if !crates.contains(&name) => {
            Some(format!("{dependency} is named only in {}", crates.join(" ")))
        }
        _ => None,
    }
}

/// A service that names an engine does so in its `main.rs` alone, so that its library runs on any.
fn engines_only_where_composed(workspace: &Workspace, arrows: &BTreeSet<Arrow>, findings: &mut Findings) -> Result<()> {
    let named = |arrow: &&Arrow| !arrow.dev && is_service(&arrow.from) && ENGINES.contains(&arrow.to.as_str());
    for arrow in arrows.iter().filter(named) {
        let sources = format!("services/{}/src/", arrow.from);
        let engine = format!("citycode_{}", arrow.to.replace('-', "_"));
        for file in workspace.files()? {
            let inner = file.starts_with(&sources) && file.ends_with(".rs") && !file.ends_with("/main.rs");
            if inner && std::fs::read_to_string(workspace.path(&file))?.contains(&engine) {
                findings.error(
                    &file,
                    format!("names {engine}; an engine is named only where the service is composed (main.rs)"),
                );
            }
        }
    }
    Ok(())
}

/// `no_std` lets the compiler itself keep clocks, files and threads out of the rules.
fn no_std_fault(lib: &str) -> Option<&'static str> {
    let mut before = "";
    for line in lib.lines().map(str::trim) {
        if line.starts_with("extern crate std") && before != "#[cfg(test)]" {
            return Some("takes std back outside #[cfg(test)]");
        }
        before = line;
    }
    let guarded = lib
        .lines()
        .any(|line| matches!(line.trim(), "#![no_std]" | "#![cfg_attr(not(test), no_std)]"));
    (!guarded).then_some("lacks #![no_std]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str, dev: bool) -> Arrow {
        Arrow {
            from: from.into(),
            to: to.into(),
            dev,
        }
    }

    #[test]
    fn arrows_of_the_architecture_are_fine() {
        for (from, to) in [
            ("token", "domain"),
            ("portal", "wire"),
            ("runtime", "issuer"),
            ("citycode", "runtime"),
            ("operator", "runtime"),
            ("tests", "runtime"),
            ("holder-log", "wire"),
            ("issuer", "event-store-embedded"),
            ("bench", "testkit"),
        ] {
            assert_eq!(fault(&arrow(from, to, false)), None, "{from} -> {to}");
        }
        assert_eq!(fault(&arrow("verifier", "testkit", true)), None);
        assert_eq!(fault(&arrow("citycode", "testkit", true)), None);
    }

    #[test]
    fn arrows_against_the_architecture_are_found() {
        let wrong = [
            ("domain", "token"),
            ("token", "wire"),
            ("event-store", "domain"),
            ("event-store-embedded", "wire"),
            ("service-kit", "domain"),
            ("qr", "domain"),
            ("portal", "event-store"),
            ("portal", "event-store-embedded"),
            ("audit", "vault"),
            ("issuer", "verifier"),
            ("issuer", "testkit"),
            ("citycode", "testkit"),
            ("vault", "wire"),
            ("portal", "citycode"),
            ("portal", "runtime"),
            ("runtime", "operator"),
            ("runtime", "tests"),
            ("gate-agent", "issuer"),
        ];
        for (from, to) in wrong {
            assert!(fault(&arrow(from, to, false)).is_some(), "{from} -> {to}");
        }
        assert!(fault(&arrow("verifier", "issuer", true)).is_some(), "nor in tests");
    }

    #[test]
    fn crates_of_others_are_confined() {
        assert!(outsider_fault("domain", "tokio").is_some());
        assert!(outsider_fault("issuer", "async-nats").is_some());
        assert!(outsider_fault("issuer", "redb").is_some());
        assert_eq!(outsider_fault("event-store-jetstream", "async-nats"), None);
        assert_eq!(outsider_fault("issuer", "tokio"), None);
    }

    #[test]
    fn a_crate_without_a_row_is_unknown() {
        assert!(!is_known("moon"));
        assert!(is_known("domain") && is_known("portal") && is_known("citycode"));
    }

    #[test]
    fn domain_without_no_std_is_found() {
        assert!(no_std_fault("//! x\nextern crate alloc;").is_some());
        assert!(no_std_fault("#![no_std]\nextern crate std;").is_some());
        assert_eq!(no_std_fault("#![no_std]\n#[cfg(test)]\nextern crate std;"), None);
    }
}
