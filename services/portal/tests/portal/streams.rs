//! Newline-delimited JSON in both directions concurrently.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{ImportOptions, ImportRow};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::fakes::Behaviour;
use crate::harness::{Answer, City};

const OPTIONS: &str = r#"{"kind":"offline","channel":"counter"}"#;

async fn send(city: &City, path: &str, body: impl Into<Body>) -> Answer {
    let request = city
        .request("POST", path)
        .header("content-type", "application/x-ndjson");
    city.send(request.body(body.into()).unwrap()).await
}

fn scan(place: &str, code: &str) -> String {
    json!({"place": place, "code": code}).to_string()
}

fn row(line: u64, name: &str) -> String {
    json!({"line": line, "id_number": "N", "name": name}).to_string()
}

#[tokio::test]
async fn scans_and_malformed_lines_are_answered_in_order() {
    let city = City::new();
    let lines = [
        scan("staffed", "1"),
        "not json".into(),
        scan("staffed", "2"),
        scan("staffed", &"9".repeat(100_000)),
        json!({"place": "p", "code": "c", "id_card": "N"}).to_string(),
        scan("moon", "3"),
        String::new(),
        "  \r".into(),
        "\u{0}".into(),
        scan("staffed", "4") + "\r",
    ];
    // The last line has no newline.
    let answers = send(&city, "/api/v1/verify/stream", lines.join("\n")).await.lines();
    let word = |answer: &Value| answer.get("code_id").unwrap_or(&answer["problem"]["code"]).clone();
    let told: Vec<_> = answers.iter().map(word).collect();
    let expected = [
        "1",
        "invalid_request",
        "2",
        "too_large",
        "invalid_request",
        "unknown_place",
        "invalid_request",
        "4",
    ];
    assert_eq!(told, expected);
    assert_eq!(answers[0]["decision"], "admit_after_id_check");
    assert_eq!(answers[5]["problem"]["detail"], "the policy knows no such place");
    assert_eq!(answers[5].get("decision"), None, "a problem never looks like a verdict");
}

#[tokio::test]
async fn cr_and_cr_lf_each_end_one_line() {
    let city = City::new();
    let scans = ["1", "2", "3"].map(|code| scan("staffed", code));
    for end in ["\n", "\r", "\r\n", "\r\r\n"] {
        let answers = send(&city, "/api/v1/verify/stream", scans.join(end)).await.lines();
        let told: Vec<_> = answers.iter().map(|answer| answer["code_id"].clone()).collect();
        assert_eq!(told, ["1", "2", "3"], "{end:?}");
    }
    let rows = [OPTIONS.to_owned(), row(1, "a"), row(2, "b")].join("\r");
    let answers = send(&city, "/api/v1/import", rows).await.lines();
    assert_eq!(answers.len(), 2);
}

#[tokio::test]
async fn bytes_that_are_not_utf8_affect_only_their_line() {
    let city = City::new();
    let line = |field: &str, value: &[u8]| {
        let begin = format!(r#"{{"place":"staffed","code":"c","{field}":""#).into_bytes();
        [begin, value.to_vec(), b"\"}\n".to_vec()].concat()
    };
    let code = [br#"{"place":"staffed","code":"GR"#.to_vec(), b"\xF6\"}\n".to_vec()].concat();
    let lines = [
        scan("staffed", "1").into_bytes(),
        b"\n".to_vec(),
        code,
        line("id_number", b"1\xFF"),
        line("scan_id", b"\xFF"),
        b"\xFF\n".to_vec(),
        scan("staffed", "2").into_bytes(),
    ];
    let answers = send(&city, "/api/v1/verify/stream", lines.concat()).await.lines();
    assert_eq!(answers.len(), 6, "{answers:?}");
    assert_eq!(answers[0]["code_id"], "1");
    assert_eq!(
        answers[1]["code_id"], "GR\u{FFFD}",
        "the verifier is asked, and finds it unreadable"
    );
    for number in [2, 3] {
        assert_eq!(answers[number]["problem"]["detail"], "the line is not UTF-8");
    }
    assert_eq!(answers[4]["problem"]["code"], "invalid_request");
    assert_eq!(answers[5]["code_id"], "2");

    let bad = [
        br#"{"line":7,"id_number":"N","name":""#.to_vec(),
        b"\xD5\xC5\"}\n".to_vec(),
    ]
    .concat();
    let rows = [OPTIONS.as_bytes(), b"\n", &bad, row(8, "b").as_bytes()].concat();
    let answers = send(&city, "/api/v1/import", rows).await.lines();
    assert_eq!(
        (&answers[0]["line"], &answers[0]["outcome"]),
        (&json!(7), &json!("rejected"))
    );
    assert_eq!(answers[0]["problem"]["detail"], "the line is not UTF-8");
    assert_eq!(answers[1]["line"], 8);
}

#[tokio::test]
async fn an_interrupted_body_ends_the_answers_with_the_reason() {
    let city = City::new();
    let pieces = [
        Ok(scan("staffed", "1") + "\n{\"place\""),
        Err(std::io::Error::other("cut")),
    ];
    let body = Body::from_stream(futures::stream::iter(pieces));
    let answers = send(&city, "/api/v1/verify/stream", body).await.lines();
    assert_eq!(answers[0]["code_id"], "1");
    assert_eq!(answers[1]["problem"]["code"], "invalid_request");
    assert_eq!(answers.len(), 2);
}

#[tokio::test]
async fn lines_may_be_split_anywhere() {
    let city = City::new();
    let text = format!("{}\n{}\n", scan("staffed", "一"), scan("staffed", "二"));
    let bytes = text
        .into_bytes()
        .into_iter()
        .map(|byte| Ok::<_, Infallible>(Bytes::from(vec![byte])));
    let body = Body::from_stream(futures::stream::iter(bytes));
    let answers = send(&city, "/api/v1/verify/stream", body).await.lines();
    assert_eq!(
        (&answers[0]["code_id"], &answers[1]["code_id"]),
        (&json!("一"), &json!("二"))
    );
}

#[tokio::test]
async fn each_answer_arrives_before_the_next_line_is_sent() {
    let city = City::new();
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let request = city
        .request("POST", "/api/v1/verify/stream")
        .header("content-type", "application/x-ndjson")
        .body(Body::from_stream(ReceiverStream::new(receiver)));
    let mut answers = city.open(request.unwrap()).await.into_body();
    for number in 0..5 {
        let line = scan("staffed", &number.to_string()) + "\n";
        sender.send(Ok(line.into())).await.unwrap();
        let frame = answers.frame().await.unwrap().unwrap().into_data().unwrap();
        let answer: Value = serde_json::from_slice(&frame).unwrap();
        assert_eq!(answer["code_id"], number.to_string());
    }
    drop(sender);
    assert!(answers.frame().await.is_none(), "the stream ends with its lines");
}

#[tokio::test]
async fn lines_are_not_read_while_the_answers_are_not_read() {
    let city = City::new();
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let line = Bytes::from(scan("staffed", "1") + "\n");
    let endless = futures::stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(line.clone())
    });
    let request = city
        .request("POST", "/api/v1/verify/stream")
        .header("content-type", "application/x-ndjson");
    let request = request.body(Body::from_stream(endless)).unwrap();
    let response = city.open(request).await;
    // Everything runs on this one thread: in this many polls an unbounded reader would have read a million.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let held = taken.load(Ordering::Relaxed);
    assert!((1..10_000).contains(&held), "{held}");
    // Reading answers lets it continue.
    let mut frames = response.into_body().into_data_stream();
    while taken.load(Ordering::Relaxed) < held + 2_000 {
        frames.next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_import_sends_options_and_rows_and_answers_each_in_order() {
    let city = City::new();
    let options = r#"{"kind":"offline","channel":"counter","reissue":true,"print":true}"#;
    let text = [options, &row(2, "张三"), &row(3, "reject"), &row(4, "李四")].join("\n");
    let answers = send(&city, "/api/v1/import", text).await.lines();
    assert_eq!(answers.len(), 3);
    assert_eq!(
        (&answers[0]["line"], &answers[0]["outcome"]),
        (&json!(2), &json!("issued"))
    );
    assert_eq!(answers[0]["code"]["token"], "TOKEN:TEXT");
    assert_eq!(
        answers[1],
        json!({"line": 3, "outcome": "rejected",
            "problem": {"code": "invalid_id_number", "detail": "the check character is wrong", "outcome": "not_done"}})
    );
    assert_eq!(answers[2]["line"], 4);
    let asked = city.fakes.asked::<ImportOptions>();
    assert!(asked.kind == "offline" && asked.channel == "counter" && asked.reissue && asked.print);
}

#[tokio::test]
async fn the_attestation_of_a_row_is_passed_on_with_it() {
    let city = City::new();
    let attested = r#"{"line":2,"id_number":"N","name":"n","disability":true,"group":"veterans"}"#;
    let answer = send(&city, "/api/v1/import", format!("{OPTIONS}\n{attested}")).await;
    assert_eq!(answer.lines().len(), 1);
    let attested = city.fakes.asked::<ImportRow>().attestation.unwrap();
    assert!(attested.disability && attested.group == "veterans");
}

#[tokio::test]
async fn a_malformed_row_is_rejected_in_order_with_its_line_and_the_import_continues() {
    let city = City::new();
    let text = [
        OPTIONS,
        &row(2, "a"),
        r#"{"line":33,"id_number":"N"}"#,
        "nonsense",
        &row(9, &"n".repeat(100_000)),
        OPTIONS,
        r#"{"line":-1,"id_number":"N","name":"n"}"#,
        &row(7, "b"),
    ]
    .join("\n");
    let answers = send(&city, "/api/v1/import", text).await.lines();
    let told: Vec<_> = answers
        .iter()
        .map(|answer| (answer["line"].as_u64().unwrap(), answer["outcome"].as_str().unwrap()))
        .collect();
    // If the line cannot be read, it is the number of the row in this stream.
    let expected = [
        (2, "issued"),
        (33, "rejected"),
        (3, "rejected"),
        (4, "rejected"),
        (5, "rejected"),
        (6, "rejected"),
        (7, "issued"),
    ];
    assert_eq!(told, expected);
    assert_eq!(answers[1]["problem"]["code"], "invalid_request");
    assert_eq!(answers[3]["problem"]["code"], "too_large");
}

#[tokio::test]
async fn an_import_that_fails_midway_ends_with_a_problem() {
    let city = City::new();
    let text = [OPTIONS, &row(2, "a"), &row(3, "break"), &row(4, "b")].join("\n");
    let answers = send(&city, "/api/v1/import", text).await.lines();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["outcome"], "issued");
    assert_eq!(answers[1]["problem"]["code"], "unavailable");
    assert_eq!(answers[1]["problem"]["outcome"], "unknown");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_callers_token_and_gives_the_reason() {
    for (path, first, line) in [
        ("/api/v1/verify/stream", String::new(), scan("staffed", "1")),
        ("/api/v1/import", format!("{OPTIONS}\n"), row(2, "a")),
    ] {
        let city = City::new();
        let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(1);
        let request = city
            .request("POST", path)
            .header("content-type", "application/x-ndjson")
            .body(Body::from_stream(ReceiverStream::new(receiver)));
        let opened = tokio::spawn({
            let text = format!("{first}{line}\n");
            async move {
                sender.send(Ok(text.into())).await.unwrap();
                sender
            }
        });
        let mut answers = city.open(request.unwrap()).await.into_body();
        let sender = opened.await.unwrap();
        let mut next = async || {
            let frame = answers.frame().await?.unwrap().into_data().unwrap();
            Some(serde_json::from_slice::<Value>(&frame).unwrap())
        };
        assert!(next().await.unwrap().get("problem").is_none(), "{path}");
        // The token's hour and the leeway have passed. Nothing is sent.
        city.clock.advance(Duration::from_secs(3_600 + 10));
        let last = next().await.expect("the stream says why it ends");
        assert_eq!(last["problem"]["code"], "not_allowed", "{path}");
        assert_eq!(last["problem"]["outcome"], "not_done", "{path}");
        assert!(
            last["problem"]["detail"].as_str().unwrap().contains("expired"),
            "{path}"
        );
        assert!(next().await.is_none(), "{path}: nothing comes after it");
        drop(sender);
    }
}

#[tokio::test]
async fn an_import_without_its_options_or_the_right_is_a_problem_as_a_whole() {
    let city = City::new();
    for text in ["", "\n\n", "nonsense", r#"{"kind":"offline"}"#, &row(2, "a")] {
        let answer = send(&city, "/api/v1/import", text.to_owned()).await;
        assert_eq!(answer.problem(), (400, "invalid_request".into()), "{text}");
    }
    let refusal = Problem::new(Code::NotAllowed, "imports are an admin's");
    city.fakes.behaviour(Behaviour::Refuse(refusal));
    let answer = send(&city, "/api/v1/import", OPTIONS).await;
    assert_eq!(answer.problem(), (403, "not_allowed".into()));
}

#[tokio::test]
async fn a_stream_of_another_type_is_refused() {
    let city = City::new();
    for path in ["/api/v1/verify/stream", "/api/v1/import"] {
        let request = city.request("POST", path).header("content-type", "text/csv");
        let answer = city.send(request.body(Body::from("a,b")).unwrap()).await;
        assert_eq!(answer.problem(), (400, "invalid_request".into()), "{path}");
    }
}
