//! A real `citycode up` on its own folder, and calls to its API as the local admin.

use citycode_test_support::program;
use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_testkit::Running;
use serde_json::{Value, json};

/// Time limit for a start on a loaded machine with two cores.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn binary() -> PathBuf {
    program("citycode")
}

pub(crate) struct Server {
    pub(crate) process: Running,
    http: reqwest::Client,
    pub(crate) token: String,
}

impl Server {
    pub(crate) async fn start(data: &Path) -> Self {
        Self::start_by(&[], data, &data.join("admin.token")).await
    }

    /// Starts it with more flags of `up`.
    pub(crate) async fn start_with_flags(data: &Path, flags: &[&str]) -> Self {
        Self::start_words(&[], data, flags, &data.join("admin.token")).await
    }

    /// Starts it with a command prefix, e.g. in another namespace; `token` is the path of the admin's token for this
    /// process.
    pub(crate) async fn start_by(words: &[String], data: &Path, token: &Path) -> Self {
        Self::start_words(words, data, &[], token).await
    }

    async fn start_words(words: &[String], data: &Path, flags: &[&str], token: &Path) -> Self {
        let binary = binary().display().to_string();
        let data = data.display().to_string();
        let up = [&binary, "up", "--listen", "127.0.0.1:0", "--data", &data].map(str::to_owned);
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let all: Vec<String> = words.iter().cloned().chain(up).chain(flags).collect();
        let process = Running::start(Path::new(&all[0]), &all[1..], DEADLINE)
            .await
            .expect("the server starts");
        let token = std::fs::read_to_string(token).expect("the admin token");
        Self {
            process,
            http: reqwest::Client::new(),
            token,
        }
    }

    /// Stops it like an operator.
    pub(crate) async fn stop(self) {
        let ended = self.process.terminate(DEADLINE).await;
        assert!(ended.success(), "{ended}");
    }

    /// A call to the API: status and answer.
    pub(crate) async fn call(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.call_by(&self.token, path, body).await
    }

    /// The same with another access token.
    pub(crate) async fn call_by(&self, token: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let url = format!("{}/api/v1/{path}", self.process.url());
        let sent = self.http.post(url).bearer_auth(token).json(body).send().await.ok()?;
        let status = sent.status().as_u16();
        Some((status, sent.json().await.ok()?))
    }

    /// A call that must succeed.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(path, &body).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) async fn get_text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.process.url());
        self.http
            .get(url)
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a text")
    }

    pub(crate) async fn register(&self, id_number: &str) {
        self.post(
            "register",
            json!({ "id_number": id_number, "name": "张小三", "channel": "kiosk" }),
        )
        .await;
    }

    pub(crate) async fn decision(&self, code: &str) -> String {
        let verdict = self
            .post("verify", json!({ "place": "sampling_desk", "code": code }))
            .await;
        format!(
            "{}/{}",
            verdict["decision"].as_str().unwrap_or("?"),
            verdict["reason"].as_str().unwrap_or("?")
        )
    }
}

impl Server {
    /// A call whose body and answer are lines of JSON.
    pub(crate) async fn stream(&self, path: &str, lines: String) -> reqwest::Response {
        let url = format!("{}/api/v1/{path}", self.process.url());
        let request = self
            .http
            .post(url)
            .bearer_auth(&self.token)
            .header("content-type", "application/x-ndjson");
        request.body(lines).send().await.expect("an answer begins")
    }
}
