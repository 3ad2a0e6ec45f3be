//! `citycode verify -`: every line of standard input is answered, for any bytes.
#![expect(clippy::unwrap_used, reason = "a failed fixture fails the test")]

use std::process::Stdio;

use citycode_testkit::Process;
use serde_json::Value;

use crate::commands::{Client, out, talk};
use crate::server::binary;

const ASK: [&str; 4] = ["verify", "--place", "sampling_desk", "-"];

fn words(run: &std::process::Output) -> Vec<String> {
    let word = |line: &str| line.split('\t').next().unwrap().to_owned() + " " + line.split('\t').nth(1).unwrap();
    out(run).lines().map(word).collect()
}

#[tokio::test]
async fn a_line_that_is_not_utf8_is_refused_and_the_lines_after_it_are_answered() {
    let client = Client::new().await;
    let code = client.sampling_code().await;
    let token = code["token"].as_str().unwrap();
    let (admit, unreadable) = ("✔ ADMIT ok", "✘ REFUSE unreadable");

    let input = [
        token.as_bytes(),
        b"\nGR\xF6sse\n",
        token.as_bytes(),
        b"\n",
        token.as_bytes(),
        b"\n",
    ]
    .concat();
    let run = client.run(input, &ASK).await;
    assert_eq!(words(&run), [admit, unreadable, admit, admit], "{}", talk(&run));
    assert_eq!(run.status.code(), Some(0));

    let run = client.run([b"\xFF\n", token.as_bytes(), b"\n"].concat(), &ASK).await;
    assert_eq!(words(&run), [unreadable, admit], "{}", talk(&run));

    let long = "A".repeat(100_000);
    let run = client.run(format!("{long}\n{token}"), &ASK).await;
    assert_eq!(words(&run), [unreadable, admit], "{}", talk(&run));
}

#[tokio::test]
async fn line_ends_and_framing_of_scanners_and_utf16_are_supported() {
    let client = Client::new().await;
    let code = client.sampling_code().await;
    let token = code["token"].as_str().unwrap();
    let admitted = |count| vec!["✔ ADMIT ok".to_owned(); count];
    for end in ["\n", "\r\n", "\r"] {
        let run = client.run([token, end, token, end].concat(), &ASK).await;
        assert_eq!(words(&run), admitted(2), "{end:?}");
    }
    for framed in [
        format!("]Q1{token}\r\n"),
        format!("\u{2}{token}\u{3}"),
        format!("\u{2}]Q3{token}\r\n\u{3}"),
        format!("\0{token}\u{1d}\n"),
    ] {
        let run = client.run(&framed, &ASK).await;
        assert_eq!(words(&run), admitted(1), "{framed:?}");
        let framed = framed.trim_start_matches('\0');
        let run = client
            .run("", &["verify", "--place", "sampling_desk", "--code", framed])
            .await;
        assert_eq!(run.status.code(), Some(0), "{framed:?}: {}", talk(&run));
    }
    let text = format!("\u{feff}{token}\r\n{token}\r\n");
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let run = client.run(&utf16, &ASK).await;
    assert_eq!(words(&run), admitted(2), "{}", talk(&run));
    let run = client.run(&utf16[2..], &ASK).await;
    assert!(talk(&run).contains("UTF-16"), "{}", talk(&run));
    assert!(!words(&run).is_empty());
}

#[tokio::test]
async fn unreadable_input_is_an_error() {
    let client = Client::new().await;
    let folder = std::fs::File::open(client.folder.path()).unwrap();
    let run = Process::output(client.command(&ASK).stdin(Stdio::from(folder)))
        .await
        .unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(talk(&run).contains("cannot read standard input"), "{}", talk(&run));
}

#[tokio::test]
async fn with_json_the_answers_are_one_value_even_after_a_failure() {
    let client = Client::new().await;
    let code = client.sampling_code().await;
    let token = code["token"].as_str().unwrap();
    let as_json = [&ASK[..], &["--output", "json"]].concat();
    let run = client.run(format!("{token}\nx\n"), &as_json).await;
    let answers: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(answers[0]["reason"], "ok");
    assert_eq!(answers[1]["reason"], "unreadable");
    let run = client.run("", &as_json).await;
    assert_eq!(
        serde_json::from_slice::<Value>(&run.stdout).unwrap(),
        serde_json::json!([])
    );

    let folder = std::fs::File::open(client.folder.path()).unwrap();
    let run = Process::output(client.command(&as_json).stdin(Stdio::from(folder)))
        .await
        .unwrap();
    let answers: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(answers[0]["problem"]["code"], "local");
    let mut command = tokio::process::Command::new(binary());
    command
        .args(as_json)
        .args(["--server", "http://127.0.0.1:1", "--token", "a.b.c"]);
    let stopped = Process::output(&mut command).await.unwrap();
    let answers: Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!(answers[0]["problem"]["code"], "unavailable", "{answers}");
    assert_eq!(stopped.status.code(), Some(5));
}
