//! `citycode doctor` tests the access token.

use citycode_testkit::Process;
use serde_json::Value;

use crate::server::{Server, binary};

#[tokio::test]
async fn a_token_is_reported_as_ok_only_if_the_server_accepts_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data")).await;
    let good = std::fs::read_to_string(folder.path().join("data/admin.token")).unwrap();
    let changed = good.trim().chars().rev().collect::<String>();
    for (token, accepted) in [(good.trim(), true), (&changed, false), ("no token", false)] {
        let mut command = tokio::process::Command::new(binary());
        command
            .args(["doctor", "--output", "json", "--server", server.process.url()])
            .env("CITYCODE_TOKEN", token);
        let run = Process::output(&mut command).await.unwrap();
        let said: Value = serde_json::from_slice(&run.stdout).unwrap();
        let checks = said["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == "token").unwrap();
        assert_eq!(check["ok"], accepted, "{check}");
        assert!(accepted || run.status.code() == Some(1), "{:?}", run.status);
        assert!(!said.to_string().contains(token), "the token itself is not repeated");
    }
}
