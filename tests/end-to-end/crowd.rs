//! Concurrent reissues: there is always one valid code, and no scan admits an old code after the new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use citycode_testkit::IdNumbers;
use serde_json::json;

use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r03_r04_concurrent_reissues_leave_one_valid_code_and_no_scan_admits_the_old_after_the_new() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Arc::new(Server::start(&data.path().join("data")).await);
    let person = IdNumbers::new(11).aged(40, jiff::civil::date(2026, 1, 1));
    server.register(&person).await;
    let request = json!({ "kind": "sampling", "id_number": person, "channel": "app" });
    let first = server.post("issue", request.clone()).await["token"]
        .as_str()
        .expect("a token")
        .to_owned();

    // One scanner checks the first code, another one the next code. Once the new code was admitted, the old one is
    // never admitted again.
    let born = Arc::new(AtomicBool::new(false));
    let (watched, seen_born, old) = (Arc::clone(&server), Arc::clone(&born), first.clone());
    let watch_old = tokio::spawn(async move {
        for _ in 0..200 {
            let new_was_admitted = seen_born.load(Ordering::SeqCst);
            let decision = watched.decision(&old).await;
            assert!(
                !(new_was_admitted && decision == "admit/ok"),
                "the old code was admitted after the new one"
            );
        }
    });
    let second = server.post("issue", request.clone()).await["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    assert_eq!(server.decision(&second).await, "admit/ok");
    born.store(true, Ordering::SeqCst);
    watch_old.await.expect("never both");

    let mut reissues = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (server, request) = (Arc::clone(&server), request.clone());
        reissues.spawn(async move { server.post("issue", request).await });
    }
    let mut tokens = vec![first, second];
    while let Some(answer) = reissues.join_next().await {
        tokens.push(answer.expect("issued")["token"].as_str().expect("a token").to_owned());
    }
    let mut admitted = 0;
    for token in &tokens {
        match server.decision(token).await.as_str() {
            "admit/ok" => admitted += 1,
            other => assert_eq!(other, "refuse/superseded"),
        }
    }
    assert_eq!((tokens.len(), admitted), (202, 1));
}
