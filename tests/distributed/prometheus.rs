//! A real Prometheus that scrapes a distributed city, queried over its API.

use std::path::Path;
use std::time::Duration;

use citycode_testkit::{Process, eventually, free_port};
use serde_json::Value;
use tokio::process::Command;

/// Time limit for starting and loading the rules.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A process that is killed at the end of the test.
pub(crate) struct Prometheus {
    _process: Process,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts the program from the `PATH` (Debian's package `prometheus`, which `cargo xtask tools` installs) with
    /// these rules; it scrapes `jobs` once a second.
    pub(crate) async fn start(folder: &Path, rules: &Path, jobs: &[(&str, Vec<String>)]) -> Self {
        let jobs: String = jobs
            .iter()
            .map(|(name, targets)| format!("  - job_name: {name}\n    static_configs: [{{ targets: {targets:?} }}]\n"))
            .collect();
        let config = folder.join("prometheus.yml");
        let settings = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{rules:?}]\nscrape_configs:\n{jobs}"
        );
        std::fs::write(&config, settings).expect("a file");
        let address = format!("127.0.0.1:{}", free_port());
        let log = std::fs::File::create(folder.join("prometheus.log")).expect("a file");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(log);
        let prometheus = Self {
            _process: Process::start(&mut command).expect("prometheus is installed: `cargo xtask tools`"),
            url: format!("http://{address}"),
            http: reqwest::Client::new(),
        };
        let ready = format!("{}/-/ready", prometheus.url);
        eventually("Prometheus is ready", READY_WITHIN, || async {
            let answer = prometheus.http.get(&ready).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        prometheus
    }

    /// The data of an answer of its API; panics with its error.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}/api/v1/{path}", self.url)).send().await;
        let mut answer: Value = answer.expect("an answer").json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].take()
    }

    /// The series of an expression.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let mut data = self.ask(&format!("query?query={}", encoded(expression))).await;
        match data["result"].take() {
            Value::Array(series) => series,
            other => vec![other],
        }
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
