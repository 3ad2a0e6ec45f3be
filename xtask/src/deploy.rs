//! Checks of the files for operators: alert rules with their unit tests, manifests against the Kubernetes schemas.
//!
//! A test in `tests/distributed` checks elsewhere that every expression returns a value in a real Prometheus that
//! scrapes a running city.

use std::path::Path;

use anyhow::{Context, Result};

use crate::findings::Findings;
use crate::process::{at_root, run};
use crate::tools;
use crate::workspace::Workspace;

const RULES: &str = "deploy/prometheus/rules.yml";
const RULES_TEST: &str = "deploy/prometheus/rules_test.yml";
const RUNBOOK: &str = "docs/operations/alerts.md";
/// Kustomizations that must produce valid manifests.
const KUSTOMIZATIONS: [&str; 2] = ["base", "city"];

/// Checks that Prometheus accepts configuration and rules, and that each alert passes its unit test and has a runbook.
pub(crate) fn rules(workspace: &Workspace) -> Result<()> {
    run(at_root(workspace, "promtool").args(["check", "config", "deploy/prometheus/prometheus.yml"]))?;
    run(at_root(workspace, "promtool").args(["test", "rules", RULES_TEST]))?;
    let read = |path: &str| std::fs::read_to_string(workspace.path(path)).with_context(|| path.to_owned());
    let (rules, tests, runbook) = (read(RULES)?, read(RULES_TEST)?, read(RUNBOOK)?);
    let mut findings = Findings::default();
    for alert in alerts(&rules) {
        // One case in which it must not fire, and one in which it must.
        if tests
            .lines()
            .filter(|line| line.trim() == format!("- alertname: {alert}"))
            .count()
            < 2
        {
            findings.error(RULES_TEST, format!("the alert {alert} has no test"));
        }
        let anchor = alert.to_lowercase();
        if !rules.contains(&format!("runbook: {RUNBOOK}#{anchor}\n")) {
            findings.error(RULES, format!("the alert {alert} does not link to its runbook"));
        }
        if !runbook.lines().any(|line| line == format!("## {alert}")) {
            findings.error(RUNBOOK, format!("there is no section for the alert {alert}"));
        }
    }
    let known: Vec<&str> = alerts(&rules).collect();
    for heading in runbook.lines().filter_map(|line| line.strip_prefix("## ")) {
        if !known.contains(&heading) {
            findings.error(RUNBOOK, format!("there is no alert {heading}"));
        }
    }
    findings.conclude("rules")
}

fn alerts(rules: &str) -> impl Iterator<Item = &str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "))
}

/// Checks that kustomize builds the manifests and that they conform to the Kubernetes schemas, without unknown keys.
pub(crate) fn manifests(workspace: &Workspace) -> Result<()> {
    let folder = workspace.path("target/manifests");
    std::fs::create_dir_all(&folder)?;
    for name in KUSTOMIZATIONS {
        let made = folder.join(format!("{name}.yaml"));
        kustomize(workspace, name, &made)?;
        run(at_root(workspace, tools::program(workspace, "kubernetes-validate"))
            .args(["--strict", "--quiet"])
            .arg(&made))?;
    }
    Ok(())
}

fn kustomize(workspace: &Workspace, name: &str, into: &Path) -> Result<()> {
    let file = std::fs::File::create(into)?;
    run(at_root(workspace, tools::program(workspace, "kubectl"))
        .args(["kustomize", &format!("deploy/kubernetes/{name}")])
        .stdout(file))
}
