//! Questions about the past through the command line and the API.
#![expect(clippy::unwrap_used, reason = "a failed fixture fails the test")]

use std::time::Duration;

use citycode_testkit::{eventually, eventually_some};
use serde_json::{Value, json};

use crate::commands::{Client, WANG, out, talk};

const LI: &str = "440524188001010014";
const PURPOSE: [&str; 2] = ["--purpose", "complaint 17"];
/// Seconds after which an instant is the past for a verifier, and a margin.
const PATIENCE: Duration = Duration::from_secs(30);

/// WANG's sampling code, which was reported lost in a later second than that of its issue.
async fn lost_code(client: &Client) -> Value {
    let code = client.sampling_code().await;
    client.json(&["register", "--id-number", LI, "--name", "李四"]).await;
    let issue = ["issue", "--kind", "sampling", "--id-number", LI, "--channel", "app"];
    eventually_some("the next second begins", PATIENCE, || async {
        let other = client.json(&issue).await;
        (other["issued_at"] != code["issued_at"]).then_some(())
    })
    .await;
    client
        .json(&[
            "report-loss",
            "--kind",
            "sampling",
            "--id-number",
            WANG,
            "--channel",
            "app",
        ])
        .await;
    code
}

fn events(history: &Value) -> Vec<&str> {
    let entries = history["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_past_of_a_code_and_of_a_person_is_answered_as_the_log_had_it() {
    let client = Client::new().await;
    let code = lost_code(&client).await;
    let (code_id, then) = (code["code_id"].as_str().unwrap(), code["issued_at"].as_str().unwrap());
    let whole = client.json(&["history", "--code-id", code_id]).await;
    assert_eq!(events(&whole), ["CodeIssued", "CodeReportedLost"]);
    let position = &whole["entries"][0]["position"];
    let position = format!("{}/{}", position["partition"], position["sequence"]);
    let by_number = ["history", "--kind", "sampling", "--id-number", WANG];
    for subject in [&["history", "--code-id", code_id][..], &by_number] {
        for as_of in [then, &position] {
            let asked = [subject, &["--as-of", as_of], &PURPOSE].concat();
            assert_eq!(events(&client.json(&asked).await), ["CodeIssued"], "{asked:?}");
        }
    }
    let codes = ["codes", "--id-number", WANG];
    let past = client.json(&[&codes[..], &["--as-of", then], &PURPOSE].concat()).await;
    assert_eq!(
        (&past["codes"][0]["code_id"], &past["codes"][0]["state"]),
        (&code["code_id"], &json!("valid"))
    );
    assert_eq!(client.json(&codes).await["codes"][0]["state"], "reported_lost");

    for (as_of, purpose, exit, problem) in [
        (then, None, 2, "purpose"),
        (then, Some("11010519491231002X"), 2, "[invalid_request]"),
        ("yesterday", Some("complaint 17"), 2, "neither a time"),
        ("2000-01-01T00:00:00Z", Some("complaint 17"), 4, "[not_found]"),
        ("2999-01-01T00:00:00Z", Some("complaint 17"), 2, "[invalid_request]"),
        ("0/999999", Some("complaint 17"), 2, "[invalid_request]"),
    ] {
        let purpose: Vec<&str> = purpose.into_iter().flat_map(|purpose| ["--purpose", purpose]).collect();
        let run = client
            .run("", &[&codes[..], &["--as-of", as_of], &purpose].concat())
            .await;
        let said = talk(&run);
        assert_eq!(run.status.code(), Some(exit), "{as_of}: {said}");
        assert!(said.contains(problem) && !said.contains(WANG), "{as_of}: {said}");
    }
    let asked = json!({ "code_id": code_id, "as_of": then });
    let (status, problem) = client.server.call("history", &asked).await.unwrap();
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn a_code_is_verified_for_the_past_and_its_list_is_published_for_the_past() {
    let client = Client::new().await;
    let code = lost_code(&client).await;
    let (token, then) = (code["token"].as_str().unwrap(), code["issued_at"].as_str().unwrap());
    let at = |at| {
        [
            "verify",
            "--place",
            "sampling_desk",
            "--code",
            token,
            "--at",
            at,
            "--output",
            "json",
        ]
    };
    // Within five seconds an instant counts as the present, in which the code is lost.
    eventually("the second of the issue is the past", PATIENCE, || async {
        let run = client.run("", &at(then)).await;
        let verdict: Value = serde_json::from_str(&out(&run)).unwrap();
        assert!(
            ["ok", "reported_lost"].contains(&verdict["reason"].as_str().unwrap()),
            "{verdict}"
        );
        run.status.code() == Some(0)
    })
    .await;
    let run = client.run("", &at("2000-01-01T00:00:00Z")).await;
    assert_eq!(run.status.code(), Some(2));
    assert!(talk(&run).contains("[past_not_supported]"), "{}", talk(&run));
    let list = async |time: &str| {
        // A code names its list by the address under which the city publishes it.
        let name = code["status"]["list"].as_str().unwrap().rsplit('/').next().unwrap();
        let path = format!("/api/v1/status-lists/{name}?time={time}");
        let url = format!("{}{path}", client.server.process.url());
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let issued: jiff::Timestamp = then.parse().unwrap();
    // Lists have the time of a tick, of which one lies in the ten seconds after the issue. Before that tick the list
    // is not published, or the time lies in the future.
    let after = (issued.as_second() + 10).to_string();
    eventually("the list of the tick after the issue", PATIENCE, || async {
        let (status, signed) = list(&after).await;
        assert!(matches!(status, 200 | 404 | 406), "{status}");
        status == 200 && !signed.is_empty()
    })
    .await;
    for (time, expected) in [("0", 404), ("99999999999", 406), ("today", 400)] {
        assert_eq!(list(time).await.0, expected, "{time}");
    }
    let card = ["verify", "--place", "sentinel", "--id-card", WANG, "--at", then];
    let run = client.run("", &card).await;
    assert!(talk(&run).contains("[past_not_supported]"), "{}", talk(&run));
}

#[tokio::test]
async fn the_codes_of_the_city_are_counted_for_the_past() {
    let client = Client::new().await;
    let code = lost_code(&client).await;
    let then = code["issued_at"].as_str().unwrap();
    let history = client
        .json(&["history", "--code-id", code["code_id"].as_str().unwrap()])
        .await;
    let lost_at = history["entries"][1]["decided_at"].as_str().unwrap();
    let count = async |as_of: &str, exact: &[&str]| {
        let state = client
            .json(&[&["audit", "state", "--as-of", as_of][..], exact].concat())
            .await;
        let groups = state["by"].as_array().unwrap().clone();
        let lost = groups.into_iter().find(|group| group["state"] == "reported_lost");
        (state["codes"].clone(), lost)
    };
    assert_eq!(count(then, &["--exact"]).await.1, None);
    let (codes, lost) = count(lost_at, &["--exact"]).await;
    assert!(codes.as_u64().unwrap() >= 2, "{codes}");
    assert_eq!(
        lost,
        Some(json!({ "kind": "sampling", "state": "reported_lost", "count": 1 }))
    );
    let (_, lost) = count(lost_at, &[]).await;
    assert_eq!(
        lost,
        Some(json!({ "kind": "sampling", "state": "reported_lost" })),
        "small counts are hidden"
    );
    let table = out(&client.run("", &["audit", "state", "--as-of", lost_at]).await);
    assert!(table.starts_with("截至 as of ") && table.contains("已挂失"), "{table}");
    let run = client
        .run("", &["audit", "state", "--as-of", "2000-01-01T00:00:00Z"])
        .await;
    assert_eq!(run.status.code(), Some(4), "{}", talk(&run));
}
