//! Every metric and every expression of alerts and dashboards, evaluated by a real Prometheus that scrapes a city of
//! real processes on three servers under some load.

use citycode_test_support::program;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_testkit::{IdNumbers, Running, eventually, free_port};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, DEADLINE, audit, behind, issuer, portal, revocation, verifier};
use crate::prometheus::Prometheus;

const PATIENCE: Duration = Duration::from_secs(60);
/// Several scrapes of one second each.
const RATE_INTERVAL: &str = "10s";
const NAME: &str = "张小三";

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

/// Title and expression of every target of every dashboard.
fn dashboards() -> Vec<(String, String)> {
    let mut expressions = Vec::new();
    for file in std::fs::read_dir(deploy("dashboards")).expect("dashboards") {
        let text = std::fs::read_to_string(file.expect("an entry").path()).expect("a file");
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            let title = format!("{} / {}", dashboard["title"], panel["title"]);
            for target in panel["targets"].as_array().expect("targets") {
                let expression = target["expr"].as_str().expect("an expression");
                let expression = expression.replace("$__rate_interval", RATE_INTERVAL);
                assert!(!expression.contains('$'), "{title}: an unknown variable: {expression}");
                expressions.push((title.clone(), expression));
            }
        }
    }
    expressions
}

/// The names of metrics in an expression.
fn names(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("citycode_") || *word == "up")
        .collect()
}

/// Name, kind and labels of every documented metric; another test compares the documentation with the sources.
fn documented() -> Vec<(String, String, BTreeSet<String>)> {
    let documented = std::fs::read_to_string(deploy("../docs/metrics.md")).expect("the list");
    let rows = documented.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let labels = cells[2]
            .split(", ")
            .filter(|label| !label.is_empty())
            .map(str::to_owned);
        (
            cells[0].trim_end_matches('`').to_owned(),
            cells[1].to_owned(),
            labels.collect(),
        )
    })
    .collect()
}

struct Observed {
    prometheus: Prometheus,
    id_number: String,
    code: Value,
    _processes: Vec<Running>,
}

/// A city with some activity, and a Prometheus that scrapes it.
async fn observed(city: &City) -> Observed {
    city.provision().await;
    let mut processes = vec![
        city.start(&issuer(), "issuer", "").await,
        city.start(&revocation(), "revocation", "").await,
        city.start(&verifier(), "verifier", "").await,
        city.start(&audit(), "audit", "").await,
    ];
    let urls: Vec<String> = processes.iter().map(|process| process.url().to_owned()).collect();
    let [issuer_url, revocation_url, verifier_url, audit_url] = [&urls[0], &urls[1], &urls[2], &urls[3]];
    let services = behind(&[issuer_url], &[revocation_url], &[verifier_url], &[audit_url]);
    let portal = city.start(&portal(), "portal", &services).await;
    let metrics = format!("127.0.0.1:{}", free_port());
    let (from, to) = (
        city.urls().join(","),
        city.folder.path().join("archive").display().to_string(),
    );
    let words = [
        "archive",
        "--from",
        &from,
        "--to",
        &to,
        "--unproven",
        "--metrics",
        &metrics,
    ];
    processes.push(
        Running::start(&program("citycode"), &words, DEADLINE)
            .await
            .expect("it starts"),
    );

    let target = |url: &str| vec![url.trim_start_matches("http://").to_owned()];
    let jobs = [
        ("issuer", target(issuer_url)),
        ("revocation", target(revocation_url)),
        ("verifier", target(verifier_url)),
        ("audit", target(audit_url)),
        ("portal", target(portal.url())),
        ("archive", vec![metrics]),
    ];
    let prometheus = Prometheus::start(city.folder.path(), &deploy("prometheus/rules.yml"), &jobs).await;
    let id_number = IdNumbers::new(7).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    let code = city.issue(portal.url(), &id_number, "offline").await;
    let token = code["token"].as_str().expect("a code");
    eventually("the verifier knows the code", PATIENCE, || async {
        city.decision(portal.url(), "staffed", token).await.starts_with("admit")
    })
    .await;
    let lost = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
    city.post(portal.url(), "report-loss", lost).await;
    processes.push(portal);
    Observed {
        prometheus,
        id_number,
        code,
        _processes: processes,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_every_metric_alert_and_dashboard_works_in_a_real_prometheus() {
    let city = City::on_three().await;
    let seen = observed(&city).await;
    let prometheus = &seen.prometheus;
    let (all, documented) = (dashboards(), documented());
    assert!(all.len() > 40 && documented.len() > 30, "they were read");
    for (name, kind, _) in &documented {
        let series = if kind == "histogram" {
            format!("{name}_count")
        } else {
            name.clone()
        };
        eventually(&format!("{series} is shown"), PATIENCE, || async {
            !prometheus.query(&series).await.is_empty()
        })
        .await;
    }
    for (title, expression) in &all {
        let what = format!("{title} has something to show: {expression}");
        eventually(&what, PATIENCE, || async {
            !prometheus.query(expression).await.is_empty()
        })
        .await;
    }
    let groups = prometheus.ask("rules").await;
    let rules: Vec<&Value> = groups["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"))
        .collect();
    assert!(rules.len() > 20, "they were read");
    for rule in rules {
        assert!(matches!(rule["health"].as_str(), Some("ok" | "unknown")), "{rule}");
        let expression = rule["query"].as_str().expect("an expression");
        // An empty result is expected, but every metric of the expression must exist.
        prometheus.query(expression).await;
        for name in names(expression) {
            assert!(
                !prometheus.query(name).await.is_empty(),
                "{}: there is no {name}",
                rule["name"]
            );
        }
    }
    let all_series = prometheus
        .ask("series?match[]=%7B__name__=~%22citycode_.%2B%22%7D")
        .await;
    labels_are_documented_and_impersonal(all_series.as_array().expect("series"), &documented, &seen);
}

/// Labels are documented and contain no data of a person or a code.
fn labels_are_documented_and_impersonal(
    all: &[Value],
    documented: &[(String, String, BTreeSet<String>)],
    seen: &Observed,
) {
    assert!(all.len() > 100, "they were read");
    let said = Value::from(all.to_vec()).to_string();
    let of_a_code = ["token", "code_id"].map(|key| seen.code[key].as_str().expect("a word"));
    for personal in [seen.id_number.as_str(), NAME].into_iter().chain(of_a_code) {
        assert!(!said.contains(personal), "{personal}");
    }
    for series in all.iter().map(|series| series.as_object().expect("labels")) {
        let name = series["__name__"].as_str().expect("a name");
        let number = documented.iter().find(|(number, kind, _)| {
            let part = name.strip_prefix(number.as_str());
            part == Some("") || kind == "histogram" && matches!(part, Some("_bucket" | "_sum" | "_count"))
        });
        let (_, _, labels) = number.unwrap_or_else(|| panic!("{name} is not documented"));
        for label in series
            .keys()
            .filter(|label| !["__name__", "instance", "job", "le"].contains(&label.as_str()))
        {
            assert!(labels.contains(label), "{name} has the label {label}");
        }
    }
}
