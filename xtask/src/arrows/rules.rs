//! The crates on which each crate may depend: the rules of ARCHITECTURE.md as tables. A crate without a row is an
//! error, so that its author decides on its dependencies.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cargo_metadata::DependencyKind;

use super::{Arrow, crate_name};
use crate::findings::Findings;
use crate::workspace::Workspace;

/// A library crate and the only crates of ours on which it may depend outside its tests.
const CRATES: [(&str, &[&str]); 34] = [
    ("log-position", &[]),
    ("domain", &["log-position"]),
    ("qr", &[]),
    ("residents-file", &[]),
    ("transparency", &[]),
    ("event-store", &["log-position"]),
    ("jetstream", &[]),
    ("service-kit", &[]),
    ("auth", &["service-kit"]),
    ("terminal", &["service-kit"]),
    ("database-file", &[]),
    ("access-records", &["jetstream", "database-file"]),
    ("service-clients", &["wire", "service-kit"]),
    ("token", &["domain"]),
    ("projection", &["domain", "log-position"]),
    ("wire", &["domain"]),
    ("vault", &["domain", "jetstream", "database-file"]),
    ("scan-records", &["domain", "wire", "vault", "jetstream", "service-kit"]),
    ("query-stream", &["domain", "vault", "jetstream", "service-kit"]),
    ("assertion-uses", &["jetstream", "database-file"]),
    (
        "shared-snapshot",
        &["jetstream", "projection", "token", "event-store", "service-kit"],
    ),
    ("log-segments", &["jetstream", "token", "event-store", "service-kit"]),
    ("policy-file", &["domain"]),
    // The web pages, which the portal serves: as exposed as the portal itself, so neither log, keys nor projections.
    (
        "pages",
        &[
            "domain",
            "wire",
            "service-kit",
            "auth",
            "qr",
            "policy-file",
            "residents-file",
            "service-clients",
            "access-records",
        ],
    ),
    (
        "replay",
        &["domain", "projection", "policy-file", "scan-records", "token"],
    ),
    ("event-store-embedded", &["event-store", "database-file"]),
    ("event-store-jetstream", &["event-store", "jetstream"]),
    (
        "log-folds",
        &["domain", "wire", "projection", "event-store", "log-tree", "service-kit"],
    ),
    (
        "log-tree",
        &["domain", "wire", "event-store", "service-kit", "transparency"],
    ),
    (
        "holder-log",
        &["domain", "wire", "projection", "event-store", "log-folds"],
    ),
    (
        "command-auth",
        &[
            "domain",
            "wire",
            "vault",
            "policy-file",
            "holder-log",
            "log-folds",
            "service-kit",
            "auth",
            "assertion-uses",
        ],
    ),
    // Only tests and benchmarks use it, so it may depend on everything that they would otherwise repeat.
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
            "log-folds",
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
            "scan-records",
            "transparency",
            "event-store",
        ],
    ),
];

/// A service and the crates on which it may depend beside `domain`, `wire` and `service-kit`.
const SERVICES: [(&str, &[&str]); 6] = [
    (
        "issuer",
        &[
            "command-auth",
            "token",
            "projection",
            "query-stream",
            "vault",
            "holder-log",
            "log-folds",
            "policy-file",
            "event-store",
        ],
    ),
    (
        "revocation",
        &[
            "command-auth",
            "token",
            "projection",
            "vault",
            "holder-log",
            "log-folds",
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
            "log-folds",
            "log-tree",
        ],
    ),
    // Audit reads the log and never appends, so it does not depend on holder-log.
    (
        "audit",
        &[
            "event-store",
            "log-folds",
            "log-tree",
            "policy-file",
            "projection",
            "query-stream",
            "replay",
            "scan-records",
            "token",
            "transparency",
        ],
    ),
    // The exposed service: no log, no keys, no projections. It decodes pictures for clients without a reader.
    ("portal", &["qr", "pages", "service-clients"]),
    ("gate-agent", &["token", "projection", "policy-file", "qr"]),
];
const ALLOWED_FOR_EVERY_SERVICE: [&str; 4] = ["domain", "wire", "service-kit", "auth"];
const ENGINES: [&str; 2] = ["event-store-embedded", "event-store-jetstream"];

/// Crates that wire the others together, from the outermost inwards: each may depend on the later ones, and no other
/// crate may depend on any of them. `tests` are the system tests in the folder of that name.
const WIRING_CRATES: [&str; 5] = ["tests", "bench", "citycode", "operator", "runtime"];
/// Wiring crates that are never shipped, and therefore may depend on the testkit.
const NEVER_SHIPPED: [&str; 2] = ["bench", "tests"];

/// External crates on which a crate must not depend, because they read clocks, draw random numbers or perform I/O.
const EXTERNAL_FORBIDDEN: [(&str, &[&str]); 5] = [
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
    (
        "transparency",
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
/// External crates on which only these crates may depend.
const EXTERNAL_CONFINED: [(&str, &[&str]); 3] = [
    (
        "async-nats",
        &[
            "jetstream",
            "event-store-jetstream",
            "vault",
            "scan-records",
            "assertion-uses",
            "query-stream",
            "access-records",
            "testkit",
            "bench",
            "tests",
        ],
    ),
    (
        "redb",
        &[
            "database-file",
            "event-store-embedded",
            "vault",
            "audit",
            "scan-records",
            "assertion-uses",
            "query-stream",
            "access-records",
            "bench",
        ],
    ),
    ("krilla", &["qr"]),
];

pub(super) fn check(workspace: &Workspace, arrows: &BTreeSet<Arrow>) -> Result<Findings> {
    let mut findings = Findings::default();
    for package in &workspace.packages {
        let name = crate_name(workspace, package);
        if !has_row(&name) {
            findings.error(
                &name,
                "has no row in xtask/src/arrows/rules.rs: list there the crates on which it may depend",
            );
        }
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
        {
            if let Some(reason) = external_fault(&name, &dependency.name) {
                findings.error(&name, reason);
            }
        }
    }
    for arrow in arrows {
        if let Some(reason) = fault(arrow) {
            findings.error(arrow, reason);
        }
    }
    engines_only_in_main(workspace, arrows, &mut findings)?;
    if let Some(reason) =
        no_std_fault(&std::fs::read_to_string(workspace.path("crates/domain/src/lib.rs")).context("crates/domain")?)
    {
        findings.error("crates/domain/src/lib.rs", reason);
    }
    Ok(findings)
}

fn has_row(name: &str) -> bool {
    CRATES.iter().chain(&SERVICES).any(|(known, _)| *known == name) || WIRING_CRATES.contains(&name)
}

fn is_service(name: &str) -> bool {
    SERVICES.iter().any(|(known, _)| *known == name)
}

/// Why this dependency is forbidden, if it is.
fn fault(arrow: &Arrow) -> Option<String> {
    let (from, to) = (arrow.from.as_str(), arrow.to.as_str());
    let outer = |name: &str| WIRING_CRATES.iter().position(|wiring| *wiring == name);
    match (outer(from), outer(to)) {
        (Some(from), Some(to)) if from < to => {}
        (_, Some(_)) => {
            return Some("only the command line, operators' commands and tests may depend on a program".into());
        }
        (_, None) => {}
    }
    if WIRING_CRATES.contains(&from) {
        let shipped_testkit = to == "testkit" && !arrow.dev && !NEVER_SHIPPED.contains(&from);
        return shipped_testkit.then(|| "testkit only as a dev-dependency".into());
    }
    if is_service(to) {
        return Some("only services/runtime may depend on a service; services communicate through the log".into());
    }
    if arrow.dev {
        return None;
    }
    if to == "testkit" {
        return Some("testkit only as a dev-dependency".into());
    }
    if let Some((_, allowed)) = SERVICES.iter().find(|(name, _)| *name == from) {
        let fine = ALLOWED_FOR_EVERY_SERVICE.contains(&to)
            || allowed.contains(&to)
            || (ENGINES.contains(&to) && allowed.contains(&"event-store"));
        return (!fine).then(|| {
            format!(
                "service {from} may depend only on {} {}",
                ALLOWED_FOR_EVERY_SERVICE.join(" "),
                allowed.join(" ")
            )
        });
    }
    let allowed = CRATES
        .iter()
        .find(|(name, _)| *name == from)
        .map_or(&[][..], |(_, allowed)| allowed);
    (!allowed.contains(&to)).then(|| match allowed {
        [] => format!("{from} may depend on none of our crates"),
        some => format!("{from} may depend only on {}", some.join(" ")),
    })
}

fn external_fault(name: &str, dependency: &str) -> Option<String> {
    let forbidden = EXTERNAL_FORBIDDEN
        .iter()
        .any(|(known, list)| *known == name && list.contains(&dependency));
    let confined = EXTERNAL_CONFINED.iter().find(|(name, _)| *name == dependency);
    match confined {
        _ if forbidden => Some(format!("must not depend on {dependency}")),
        Some((_, crates)) if !crates.contains(&name) => Some(format!(
            "only these crates may depend on {dependency}: {}",
            crates.join(" ")
        )),
        _ => None,
    }
}

/// A service names an engine only in its `main.rs`, so that its library runs on any engine.
fn engines_only_in_main(workspace: &Workspace, arrows: &BTreeSet<Arrow>, findings: &mut Findings) -> Result<()> {
    let named = |arrow: &&Arrow| !arrow.dev && is_service(&arrow.from) && ENGINES.contains(&arrow.to.as_str());
    for arrow in arrows.iter().filter(named) {
        let sources = format!("services/{}/src/", arrow.from);
        let engine = format!("citycode_{}", arrow.to.replace('-', "_"));
        for file in workspace.files()? {
            let inner = file.starts_with(&sources) && file.ends_with(".rs") && !file.ends_with("/main.rs");
            if inner && std::fs::read_to_string(workspace.path(&file))?.contains(&engine) {
                findings.error(
                    &file,
                    format!("names {engine}; a service may name an engine only in its main.rs"),
                );
            }
        }
    }
    Ok(())
}

/// With `no_std` the compiler itself prevents the use of clocks, files and threads in the rules.
fn no_std_fault(lib: &str) -> Option<&'static str> {
    let mut before = "";
    for line in lib.lines().map(str::trim) {
        if line.starts_with("extern crate std") && before != "#[cfg(test)]" {
            return Some("uses std outside #[cfg(test)]");
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
    fn dependencies_of_the_architecture_are_permitted() {
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
    fn dependencies_against_the_architecture_are_found() {
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
        assert!(fault(&arrow("verifier", "issuer", true)).is_some(), "not even in tests");
    }

    #[test]
    fn external_crates_are_confined() {
        assert!(external_fault("domain", "tokio").is_some());
        assert!(external_fault("issuer", "async-nats").is_some());
        assert!(external_fault("issuer", "redb").is_some());
        assert_eq!(external_fault("event-store-jetstream", "async-nats"), None);
        assert_eq!(external_fault("issuer", "tokio"), None);
    }

    #[test]
    fn a_crate_without_a_row_is_detected() {
        assert!(!has_row("moon"));
        assert!(has_row("domain") && has_row("portal") && has_row("citycode"));
    }

    #[test]
    fn domain_without_no_std_is_found() {
        assert!(no_std_fault("//! x\nextern crate alloc;").is_some());
        assert!(no_std_fault("#![no_std]\nextern crate std;").is_some());
        assert_eq!(no_std_fault("#![no_std]\n#[cfg(test)]\nextern crate std;"), None);
    }
}
