//! The command line as people use it: the tour, and the exit codes.

use std::process::Stdio;

use citycode_testkit::IdNumbers;

use crate::server::{Server, binary};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ten_questions_are_answered_as_the_rules_say_from_real_pictures() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("pictures");
    let mut command = tokio::process::Command::new(binary());
    command
        .args(["demo", "--output", "json", "--out"])
        .arg(&out)
        .stderr(Stdio::null());
    let ran = command.output().await.expect("the tour runs");
    let whole: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert!(ran.status.success(), "{whole:#}");
    let findings = whole["findings"].as_array().expect("findings");
    for question in 1..=10 {
        let asked = |finding: &&serde_json::Value| {
            finding["question"]
                .as_str()
                .is_some_and(|text| text.starts_with(&format!("{question} ")))
        };
        assert!(
            findings.iter().any(|finding| asked(&finding)),
            "question {question} was asked"
        );
    }
    assert!(out.join("offline-1.pdf").exists() && out.join("sampling-1.png").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_end_with_the_exit_codes_of_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data")).await;
    let (mut numbers, today) = (IdNumbers::new(15), jiff::civil::date(2026, 1, 1));
    let (elder, adult, stranger) = (
        numbers.aged(70, today),
        numbers.aged(30, today),
        numbers.aged(50, today),
    );
    let png = folder.path().join("code.png").display().to_string();
    let steps: Vec<(Vec<&str>, i32)> = vec![
        (
            vec![
                "register",
                "--id-number",
                &elder,
                "--name",
                "张三",
                "--channel",
                "kiosk",
            ],
            0,
        ),
        (vec!["register", "--id-number", &adult, "--name", "李四"], 0),
        (vec!["register", "--id-number", "123", "--name", "李四"], 3),
        (vec!["register", "--id-number", &adult, "--name", "R2D2"], 3),
        (
            vec![
                "issue",
                "--kind",
                "offline",
                "--id-number",
                &elder,
                "--channel",
                "kiosk",
                "--out",
                &png,
            ],
            0,
        ),
        (
            vec![
                "issue",
                "--kind",
                "offline",
                "--id-number",
                &adult,
                "--channel",
                "kiosk",
            ],
            3,
        ),
        (
            vec!["issue", "--kind", "offline", "--id-number", &elder, "--channel", "app"],
            3,
        ),
        (
            vec!["issue", "--kind", "paper", "--id-number", &elder, "--channel", "kiosk"],
            3,
        ),
        (
            vec![
                "issue",
                "--kind",
                "offline",
                "--id-number",
                &stranger,
                "--channel",
                "kiosk",
            ],
            4,
        ),
        (
            vec![
                "reprint",
                "--kind",
                "sampling",
                "--id-number",
                &adult,
                "--channel",
                "app",
            ],
            4,
        ),
        (vec!["verify", "--place", "sampling_desk", "--image", &png], 0),
        (vec!["verify", "--place", "sentinel", "--image", &png], 3),
        (vec!["verify", "--place", "nowhere", "--image", &png], 3),
        (vec!["codes", "--id-number", &elder], 0),
        (vec!["history", "--kind", "offline", "--id-number", &elder], 0),
        (vec!["keys", "list"], 0),
        (vec!["keys", "rotate"], 0),
        (vec!["keys", "compromise", "zz"], 2),
        (vec!["issue", "--kind"], 2),
        (vec!["codes", "--id-number", &elder, "--token", "nonsense"], 6),
        (
            vec!["codes", "--id-number", &elder, "--server", "http://127.0.0.1:1"],
            5,
        ),
        (
            vec![
                "report-loss",
                "--kind",
                "offline",
                "--id-number",
                &elder,
                "--channel",
                "kiosk",
            ],
            0,
        ),
        (vec!["verify", "--place", "sampling_desk", "--image", &png], 3),
        (vec!["erase", "--id-number", &elder], 2),
        (vec!["erase", "--id-number", &elder, "--yes"], 0),
        (vec!["codes", "--id-number", &elder], 4),
    ];
    for (args, expected) in steps {
        let mut command = server.process.command(&binary());
        command.args(&args).stdin(Stdio::null());
        if !args.contains(&"--server") {
            command.args(["--server", server.process.url()]);
        }
        let ran = command.output().await.expect("the command runs");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(expected), "{args:?}: {said}");
        if !matches!(expected, 0 | 2) && !args.contains(&"verify") {
            assert!(
                said.starts_with("citycode: ") && said.trim_end().ends_with(']'),
                "{args:?}: {said}"
            );
        }
    }
}
