//! The tour of `citycode demo`, and the exit codes of commands.

use std::process::Stdio;

use citycode_testkit::{IdNumbers, Process};

use crate::server::{Server, binary};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_answers_the_ten_questions_by_the_rules() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("pictures");
    let mut command = tokio::process::Command::new(binary());
    command
        .args(["demo", "--output", "json", "--out"])
        .arg(&out)
        .stderr(Stdio::null());
    let ran = Process::output(&mut command).await.expect("the tour runs");
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

/// Command lines in order, with their exit codes. ELDER, ADULT, STRANGER and PNG are replaced by values of the test.
const STEPS: &[(&str, i32)] = &[
    ("register --id-number ELDER --name 张三 --channel kiosk", 0),
    ("register --id-number ADULT --name 李四", 0),
    ("register --id-number 123 --name 李四", 3),
    ("register --id-number ADULT --name R2D2", 3),
    ("issue --kind offline --id-number ELDER --channel kiosk --out PNG", 0),
    ("issue --kind offline --id-number ADULT --channel kiosk", 3),
    ("issue --kind offline --id-number ELDER --channel app", 3),
    ("issue --kind paper --id-number ELDER --channel kiosk", 3),
    ("issue --kind offline --id-number STRANGER --channel kiosk", 4),
    ("reprint --kind sampling --id-number ADULT --channel app", 4),
    ("verify --place sampling_desk --image PNG", 0),
    ("verify --place sentinel --image PNG", 3),
    ("verify --place nowhere --image PNG", 3),
    ("codes --id-number ELDER", 0),
    ("history --kind offline --id-number ELDER", 0),
    ("keys list", 0),
    ("keys rotate", 0),
    ("keys compromise zz", 2),
    ("issue --kind", 2),
    ("codes --id-number ELDER --token nonsense", 6),
    ("codes --id-number ELDER --server http://127.0.0.1:1", 5),
    ("report-loss --kind offline --id-number ELDER --channel kiosk", 0),
    ("verify --place sampling_desk --image PNG", 3),
    ("erase --id-number ELDER", 2),
    ("erase --id-number ELDER --yes", 0),
    ("codes --id-number ELDER", 4),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_end_with_the_exit_codes_of_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data")).await;
    let (mut numbers, today) = (IdNumbers::new(15), jiff::civil::date(2026, 1, 1));
    let people = [70, 30, 50].map(|age| numbers.aged(age, today));
    let png = folder.path().join("code.png").display().to_string();
    for (line, expected) in STEPS {
        let word = |word: &str| match word {
            "ELDER" => people[0].clone(),
            "ADULT" => people[1].clone(),
            "STRANGER" => people[2].clone(),
            "PNG" => png.clone(),
            other => other.to_owned(),
        };
        let mut command = server.process.command(&binary());
        command.args(line.split(' ').map(word)).stdin(Stdio::null());
        if !line.contains("--server") {
            command.args(["--server", server.process.url()]);
        }
        let ran = Process::output(&mut command).await.expect("the command runs");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(*expected), "{line}: {said}");
        if !matches!(expected, 0 | 2) && !line.starts_with("verify --place s") {
            assert!(
                said.starts_with("citycode: ") && said.trim_end().ends_with(']'),
                "{line}: {said}"
            );
        }
    }
}
