//! Verification of pictures of codes.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Poll;

use axum::body::{Body, Bytes};
use citycode_qr::{SymbolOptions, draw};
use citycode_wire::proto::verifier::v1::VerifyRequest;
use citycode_wire::proto::verifier::v1::verify_request::Scan;
use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::fakes::verdict;
use crate::harness::{Answer, City};

fn picture(text: &str) -> Vec<u8> {
    draw(text, &SymbolOptions::SCREEN).unwrap().to_png(None).unwrap()
}

async fn show(city: &City, query: &str, kind: &str, picture: Vec<u8>) -> Answer {
    let request = city
        .request("POST", &format!("/api/v1/verify/image{query}"))
        .header("content-type", kind);
    city.send(request.body(Body::from(picture)).unwrap()).await
}

#[tokio::test]
async fn the_text_in_a_picture_is_verified_like_a_scan() {
    let city = City::new();
    city.fakes.ready(verdict());
    let query = "?place=sentinel&device=gate-7&scan_id=s%2F1";
    let answer = show(&city, query, "image/png", picture("TOKEN:TEXT")).await;
    assert_eq!(answer.ok()["decision"], "admit_after_id_check");
    let asked = city.fakes.asked::<VerifyRequest>();
    assert!(asked.scan == Some(Scan::Code("TOKEN:TEXT".into())));
    assert!(asked.place == "sentinel" && asked.device == "gate-7" && asked.scan_id == "s/1");
}

#[tokio::test]
async fn the_number_of_the_card_is_sent_in_a_header() {
    let city = City::new();
    city.fakes.ready(verdict());
    let ask = |value: &'static [u8]| {
        let request = city
            .request("POST", "/api/v1/verify/image?place=sampling_desk")
            .header("content-type", "image/png")
            .header("citycode-id-number", value);
        request.body(Body::from(picture("TOKEN:TEXT"))).unwrap()
    };
    city.send(ask(b"11010519491231002X")).await.ok();
    assert!(city.fakes.asked::<VerifyRequest>().id_number == "11010519491231002X");
    let answer = city.send(ask(b"\xe5\xbc\xa0")).await;
    assert_eq!(answer.problem(), (400, "invalid_request".into()));
}

#[tokio::test]
async fn a_body_that_is_not_a_picture_of_a_code_is_refused_with_the_reason() {
    let city = City::new();
    let mut cut = picture("TOKEN:TEXT");
    cut.truncate(cut.len() / 2);
    for bytes in [Vec::new(), b"GIF89a".to_vec(), cut] {
        let answer = show(&city, "?place=sentinel", "image/png", bytes).await;
        assert_eq!(answer.problem(), (422, "unreadable_image".into()));
    }
    assert_eq!(city.fakes.calls(), 0);
}

#[tokio::test]
async fn another_content_type_a_missing_place_and_a_number_in_the_url_are_refused() {
    let city = City::new();
    for (query, kind) in [
        ("?place=sentinel", "image/gif"),
        ("?place=sentinel", "application/json"),
        ("", "image/png"),
        ("?place=sentinel&id_number=11010519491231002X", "image/png"),
        ("?place=sentinel&place=staffed", "image/png"),
    ] {
        let answer = show(&city, query, kind, picture("TOKEN:TEXT")).await;
        assert_eq!(answer.problem(), (400, "invalid_request".into()), "{query} {kind}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("11010519491231002X"));
    }
    assert_eq!(city.fakes.calls(), 0);
}

#[tokio::test]
async fn more_pictures_than_are_decoded_concurrently_wait() {
    let city = City::new();
    city.fakes.ready(verdict());
    let shown = (0..6).map(|_| show(&city, "?place=sentinel", "image/png", picture("TOKEN:TEXT")));
    for answer in futures::future::join_all(shown).await {
        answer.ok();
    }
    assert_eq!(city.fakes.calls(), 6);
}

/// A body that sends this many mebibytes and then stalls; notifies when all of them were read.
fn stalled(mebibytes: usize) -> (Body, Arc<Notify>) {
    let all_taken = Arc::new(Notify::new());
    let telling = Arc::clone(&all_taken);
    let mut left = mebibytes;
    let stream = futures::stream::poll_fn(move |_| {
        if left == 0 {
            telling.notify_one();
            return Poll::Pending;
        }
        left -= 1;
        Poll::Ready(Some(Ok::<_, Infallible>(Bytes::from(vec![0; 1 << 20]))))
    });
    (Body::from_stream(stream), all_taken)
}

fn picture_of(request: http::request::Builder, body: Body) -> http::Request<Body> {
    request.header("content-type", "image/png").body(body).unwrap()
}

const IMAGE: &str = "/api/v1/verify/image?place=sentinel";

#[tokio::test]
async fn the_memory_of_pictures_is_bounded_and_further_ones_are_unavailable_with_retry_after() {
    let city = Arc::new(City::new());
    city.fakes.ready(verdict());
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        let (body, all_taken) = stalled(16);
        let (city, request) = (Arc::clone(&city), picture_of(city.request("POST", IMAGE), body));
        waiting.spawn(async move { city.send(request).await });
        all_taken.notified().await;
    }
    let (body, all_taken) = stalled(1);
    let answer = city.send(picture_of(city.request("POST", IMAGE), body)).await;
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert!(all_taken.notified().now_or_never().is_none(), "no more of it was read");
    waiting.shutdown().await;
    show(&city, "?place=sentinel", "image/png", picture("TOKEN:TEXT"))
        .await
        .ok();
}

#[tokio::test]
async fn uploads_that_announce_much_and_send_nothing_reserve_no_memory() {
    let city = Arc::new(City::new());
    city.fakes.ready(verdict());
    let mut waiting = JoinSet::new();
    for gate in 0..40 {
        let (body, all_taken) = stalled(0);
        let roles = [&*format!("verifier:sentinel:gate-{gate}")];
        let request = city.request_of(&format!("gate-{gate}"), &roles, "POST", IMAGE);
        let request = picture_of(request.header("content-length", 16 << 20), body);
        let city = Arc::clone(&city);
        waiting.spawn(async move { city.send(request).await });
        all_taken.notified().await;
    }
    show(&city, "?place=sentinel", "image/png", picture("TOKEN:TEXT"))
        .await
        .ok();
}

#[tokio::test]
async fn a_picture_is_not_read_for_a_caller_that_may_not_verify_there() {
    let city = City::new();
    for (roles, path, expected) in [
        (vec![], IMAGE, (403, "not_allowed")),
        (vec!["channel:kiosk", "officer", "auditor"], IMAGE, (403, "not_allowed")),
        (vec!["verifier:sampling_desk:desk-1"], IMAGE, (403, "not_allowed")),
        (
            vec!["verifier:sentinel:gate-1"],
            "/api/v1/verify/image?place=sentinel&device=gate-2",
            (403, "not_allowed"),
        ),
        (
            vec!["verifier:sentinel:gate-1"],
            "/api/v1/verify/image?place=moon",
            (422, "unknown_place"),
        ),
    ] {
        let (body, all_taken) = stalled(1);
        let answer = city
            .send(picture_of(city.request_of("somebody", &roles, "POST", path), body))
            .await;
        assert_eq!(
            answer.problem(),
            (expected.0, expected.1.to_owned()),
            "{roles:?} {path}"
        );
        assert!(all_taken.notified().now_or_never().is_none(), "{roles:?} {path}");
    }
    assert_eq!(city.fakes.calls(), 0);
}

#[tokio::test]
async fn the_pictures_of_one_caller_are_limited_at_once_and_per_minute() {
    let city = Arc::new(City::new());
    city.fakes.ready(verdict());
    let gate = |number: u32| {
        let roles = [&*format!("verifier:sentinel:gate-{number}")];
        city.request_of(&format!("gate-{number}"), &roles, "POST", IMAGE)
    };
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        let (body, all_taken) = stalled(1);
        let (city, request) = (Arc::clone(&city), picture_of(gate(1), body));
        waiting.spawn(async move { city.send(request).await });
        all_taken.notified().await;
    }
    let code = || Body::from(picture("TOKEN:TEXT"));
    let fifth = city.send(picture_of(gate(1), code())).await;
    assert_eq!(fifth.problem(), (429, "rate_limited".into()));
    city.send(picture_of(gate(2), code())).await.ok();
    waiting.shutdown().await;
    city.send(picture_of(gate(1), code())).await.ok();

    // Bodies that are not pictures count too, because reading them is the cost.
    for _ in 1..60 {
        let answer = city.send(picture_of(gate(2), Body::from("GIF89a"))).await;
        assert_eq!(answer.problem(), (422, "unreadable_image".into()));
    }
    let answer = city.send(picture_of(gate(2), code())).await;
    assert_eq!(answer.problem(), (429, "rate_limited".into()));
}
