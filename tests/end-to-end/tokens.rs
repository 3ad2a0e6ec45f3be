//! `citycode tokens`: access tokens for trials, e.g. of a gate or an officer, from this machine's own authority.
#![expect(clippy::unwrap_used, reason = "a failed fixture fails the test")]

use std::process::{Output, Stdio};

use citycode_testkit::Process;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::commands::{Client, WANG, out, talk};

const GATE: [&str; 7] = [
    "tokens",
    "issue",
    "--role",
    "verifier:sampling_desk:gate-7",
    "--for",
    "8h",
    "--subject",
];

async fn with_token(client: &Client, token: &str, args: &[&str]) -> Output {
    Process::output(client.command(args).env("CITYCODE_TOKEN", token))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_token_has_the_permissions_of_its_roles_until_it_is_revoked() {
    let client = Client::new().await;
    let code = client.sampling_code().await;
    let code = code["token"].as_str().unwrap();
    let issued = client.json(&[&GATE[..], &["gate-7"]].concat()).await;
    let (id, token) = (issued["id"].as_str().unwrap(), issued["token"].as_str().unwrap());
    let verify = ["verify", "--place", "sampling_desk", "--code", code];
    assert_eq!(with_token(&client, token, &verify).await.status.code(), Some(0));
    for refused in [
        &["codes", "--channel", "app", "--id-number", WANG][..],
        &["verify", "--place", "sentinel", "--code", code],
        &["tokens", "list"],
        &["tokens", "issue", "--role", "officer", "--for", "1h"],
        &["tokens", "revoke", id],
        &["keys", "rotate"],
    ] {
        let run = with_token(&client, token, refused).await;
        assert_eq!(run.status.code(), Some(6), "{refused:?}: {}", talk(&run));
    }
    // With table output, standard output is the token alone.
    let run = client
        .run("", &["tokens", "issue", "--role", "officer", "--for", "30m"])
        .await;
    assert!(talk(&run).contains("trial-"), "{}", talk(&run));
    let officer = out(&run).trim().to_owned();
    let suspend = ["suspend", "--kind", "sampling", "--reason", "r", "--id-number", WANG];
    assert_eq!(with_token(&client, &officer, &suspend).await.status.code(), Some(0));

    let known = client.json(&["tokens", "list"]).await;
    let subjects: Vec<&Value> = known["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| &token["subject"])
        .collect();
    assert_eq!(subjects[0], "gate-7");
    assert_eq!(subjects.len(), 2);
    assert!(!known.to_string().contains(token), "tokens themselves are not stored");
    let revoked = client.json(&["tokens", "revoke", id]).await;
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(with_token(&client, token, &verify).await.status.code(), Some(6));
    let run = client.run("", &["tokens", "revoke", "0000000000000000"]).await;
    assert_eq!(run.status.code(), Some(4), "{}", talk(&run));
}

#[tokio::test]
async fn a_revocation_ends_an_open_stream() {
    let client = Client::new().await;
    let issued = client.json(&[&GATE[..], &["gate-7"]].concat()).await;
    let (id, token) = (issued["id"].as_str().unwrap(), issued["token"].as_str().unwrap());
    let mut command = client.command(&["verify", "--place", "sampling_desk", "-", "--output", "ndjson"]);
    command
        .env("CITYCODE_TOKEN", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut gate = Process::start(&mut command).unwrap();
    let mut stdin = gate.stdin();
    let mut answers = BufReader::new(gate.stdout()).lines();
    stdin.write_all(b"x\n").await.unwrap();
    let answer = answers.next_line().await.unwrap().unwrap();
    assert!(answer.contains("unreadable"), "{answer}");
    client.json(&["tokens", "revoke", id]).await;
    // The gate sends nothing more; the server ends the stream.
    let last: Value = serde_json::from_str(&answers.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(last["problem"]["code"], "not_allowed", "{last}");
    assert!(
        last["problem"]["detail"].as_str().unwrap().contains("revoked"),
        "{last}"
    );
    drop(answers);
    assert_eq!(gate.wait().await.code(), Some(6));
    drop(stdin);
}

#[tokio::test]
async fn invalid_roles_and_lifetimes_are_refused() {
    let client = Client::new().await;
    for (role, lifetime, exit) in [
        ("admin", "1h", 2),
        ("gate", "1h", 2),
        ("verifier:sampling_desk", "1h", 2),
        ("officer", "25h", 2),
        ("officer", "0s", 2),
        ("officer", "soon", 2),
    ] {
        let run = client
            .run("", &["tokens", "issue", "--role", role, "--for", lifetime])
            .await;
        assert_eq!(run.status.code(), Some(exit), "{role} {lifetime}: {}", talk(&run));
    }
    assert_eq!(client.json(&["tokens", "list"]).await["tokens"], serde_json::json!([]));
}
