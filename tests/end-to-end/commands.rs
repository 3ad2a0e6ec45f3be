//! Output and exit codes of commands.
#![expect(clippy::unwrap_used, reason = "a failed fixture fails the test")]

use std::process::{Output, Stdio};

use citycode_testkit::Process;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::server::{Server, binary};

pub(crate) const WANG: &str = "11010519491231002X";

/// A server on which WANG is registered, and the command line as its client.
pub(crate) struct Client {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
}

impl Client {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = Self {
            server: Server::start(&folder.path().join("data")).await,
            folder,
        };
        client
            .json(&["register", "--id-number", WANG, "--name", "王小明"])
            .await;
        client
    }

    pub(crate) async fn sampling_code(&self) -> Value {
        self.json(&["issue", "--kind", "sampling", "--id-number", WANG, "--channel", "app"])
            .await
    }

    pub(crate) async fn run(&self, input: impl AsRef<[u8]>, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command).unwrap();
        let mut stdin = process.stdin();
        // A command that refuses its flags ends before it reads.
        let _ = stdin.write_all(input.as_ref()).await;
        drop(stdin);
        process.into_output().await
    }

    pub(crate) fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(binary());
        command
            .args(args)
            .args(["--server", self.server.process.url()])
            .env("CITYCODE_TOKEN", &*self.server.token);
        command
    }

    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let run = self.run("", &[args, &["--output", "json"]].concat()).await;
        assert!(
            run.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        serde_json::from_slice(&run.stdout).unwrap()
    }
}

#[tokio::test]
async fn an_import_that_fails_as_a_whole_writes_nothing() {
    let client = Client::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, prints) = (folder.path().join("people.csv"), folder.path().join("a/prints"));
    std::fs::write(&file, format!("id_number,name\n{WANG},王小明\n123,李四\n")).unwrap();
    let (file, prints) = (file.to_str().unwrap(), prints.to_str().unwrap());
    let import = |kind, channel| ["import", file, "--kind", kind, "--channel", channel, "--out", prints];
    for (kind, channel, token) in [("paper", "pc", None), ("offline", "pc", Some("no-token"))] {
        let mut args = import(kind, channel).to_vec();
        args.extend(token.iter().flat_map(|token| ["--token", token]));
        let run = client.run("", &args).await;
        assert!(!run.status.success(), "{}", out(&run));
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["people.csv"], "{}", talk(&run));
    }
    let run = client.run("", &import("sampling", "app")).await;
    assert!(run.status.success(), "{}", talk(&run));
    assert!(folder.path().join("people.rejected.csv").exists());
    assert_eq!(std::fs::read_dir(prints).unwrap().count(), 1);
}

pub(crate) fn out(run: &Output) -> String {
    String::from_utf8(run.stdout.clone()).unwrap()
}

pub(crate) fn talk(run: &Output) -> String {
    String::from_utf8(run.stderr.clone()).unwrap()
}

#[tokio::test]
async fn verify_answers_each_line_and_exits_by_the_first_problem() {
    let client = Client::new().await;
    let code = client.sampling_code().await;
    let (token, code_id) = (code["token"].as_str().unwrap(), code["code_id"].as_str().unwrap());
    let lines = format!("{token}\nnot a code\n{token}\n");

    let run = client.run(&lines, &["verify", "--place", "sampling_desk", "-"]).await;
    let admitted = format!("✔ ADMIT\tok\t{code_id}\n");
    assert_eq!(out(&run), format!("{admitted}✘ REFUSE\tunreadable\t\n{admitted}"));
    assert_eq!(run.status.code(), Some(0), "every line got a verdict");

    let run = client.run(&lines, &["verify", "--place", "nowhere", "-"]).await;
    assert_eq!(
        out(&run).matches("NO VERDICT\tunknown_place\t").count(),
        3,
        "{}",
        out(&run)
    );
    assert!(talk(&run).contains("3 of 3 scans got no verdict"), "{}", talk(&run));
    assert!(talk(&run).contains("[unknown_place]"), "{}", talk(&run));
    assert_eq!(run.status.code(), Some(3));

    let run = client
        .run(&lines, &["verify", "--place", "nowhere", "-", "--output", "ndjson"])
        .await;
    let answers: Vec<Value> = out(&run)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    assert!(
        answers
            .iter()
            .all(|answer| answer["problem"]["code"] == "unknown_place")
    );
    assert_eq!(run.status.code(), Some(3));
}

#[tokio::test]
async fn tables_show_local_times_and_log_positions_and_json_uses_utc() {
    let client = Client::new().await;
    let code = client.sampling_code().await;
    assert!(code["expires_at"].as_str().unwrap().ends_with('Z'));
    let local = code["expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let local = local.to_zoned_datetime(jiff::tz::TimeZone::get("Asia/Shanghai").unwrap());
    let local = local.strftime("%Y-%m-%d %H:%M:%S CST").to_string();
    let table = out(&client.run("", &["codes", "--id-number", WANG]).await);
    assert!(table.contains(&local), "{table}");

    let of_code = ["history", "--code-id", code["code_id"].as_str().unwrap()];
    let history = client.json(&of_code).await;
    let place = &history["entries"][0]["position"];
    let place = format!(" {}/{} ", place["partition"], place["sequence"]);
    let table = out(&client.run("", &of_code).await);
    assert!(table.contains(&place) && !table.contains('{'), "{table}");
}

#[tokio::test]
async fn a_missing_phone_flag_is_explained() {
    let client = Client::new().await;
    let run = client
        .run(
            "",
            &["issue", "--kind", "live", "--id-number", WANG, "--channel", "app"],
        )
        .await;
    assert_eq!(run.status.code(), Some(2));
    assert!(talk(&run).contains("add --phone FILE"), "{}", talk(&run));
    let codes = client.json(&["codes", "--id-number", WANG]).await;
    assert_eq!(codes["codes"].as_array().unwrap().len(), 0, "nothing was issued");
}
