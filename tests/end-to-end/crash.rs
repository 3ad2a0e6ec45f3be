//! `kill -9` during an import: every acknowledged code is in the log, and no person has two valid codes.

use std::time::Duration;

use citycode_testkit::{Draw, IdNumbers};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::server::Server;

const MOMENTS: usize = 50;
const PEOPLE: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_during_imports_loses_no_acknowledged_code_and_leaves_no_two_valid_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut numbers = IdNumbers::new(12);
    let people: Vec<String> = (0..PEOPLE)
        .map(|_| numbers.aged(70, jiff::civil::date(2026, 1, 1)))
        .collect();
    let mut draw = Draw::new(13);
    let mut acknowledged: Vec<(usize, String)> = Vec::new();
    for _ in 0..MOMENTS {
        let server = Server::start(&data).await;
        let stop_after = 1 + usize::from(u16::from_le_bytes(draw.bytes())) % 150;
        acknowledged.extend(import_until(&server, &people, stop_after).await);
        server.process.kill_9().await;
    }
    let server = Server::start(&data).await;
    let mut last = std::collections::HashMap::new();
    for (person, token) in &acknowledged {
        last.insert(*person, token.clone());
    }
    assert!(
        acknowledged.len() >= MOMENTS,
        "imports got somewhere: {}",
        acknowledged.len()
    );
    for (person, token) in &acknowledged {
        let decision = server.decision(token).await;
        assert_ne!(decision, "refuse/unknown_code", "an acknowledged code is in the log");
        let newest = last[person] == *token;
        // A newer code may be durable without an acknowledgement; then every acknowledged one is superseded.
        assert!(
            decision == "refuse/superseded" || (newest && decision == "admit/ok"),
            "{decision}"
        );
    }
    for person in people.iter().take(60) {
        let (status, codes) = server
            .call("codes", &json!({ "id_number": person }))
            .await
            .expect("an answer");
        if status == 200 {
            let offline = codes["codes"].as_array().expect("a list");
            assert!(offline.len() <= 1, "one slot, one code");
        } else {
            assert_eq!(status, 404);
        }
    }
}

/// Imports all people, replacing codes, and stops reading after so many answers; returns the acknowledged codes.
async fn import_until(server: &Server, people: &[String], stop_after: usize) -> Vec<(usize, String)> {
    let mut lines = format!("{}\n", json!({ "kind": "offline", "channel": "pc", "reissue": true }));
    for (line, person) in people.iter().enumerate() {
        lines.push_str(&format!(
            "{}\n",
            json!({ "line": line + 2, "id_number": person, "name": "张小三" })
        ));
    }
    let response = server.stream("import", lines).await;
    let mut chunks = response.bytes_stream();
    let (mut pending, mut acknowledged) = (Vec::<u8>::new(), Vec::new());
    while acknowledged.len() < stop_after {
        let Ok(Some(Ok(chunk))) = tokio::time::timeout(Duration::from_secs(30), chunks.next()).await else {
            break;
        };
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let answer: Value = serde_json::from_slice(&line).expect("a line of JSON");
            assert_eq!(answer["outcome"], "issued", "{answer}");
            let person = usize::try_from(answer["line"].as_u64().expect("a line")).expect("small") - 2;
            acknowledged.push((person, answer["code"]["token"].as_str().expect("a token").to_owned()));
        }
    }
    acknowledged
}
