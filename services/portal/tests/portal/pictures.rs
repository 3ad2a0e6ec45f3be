//! A picture of a code.

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
async fn the_text_in_a_picture_is_checked_like_a_scan() {
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
async fn the_number_of_the_card_beside_the_code_comes_in_a_header() {
    let city = City::new();
    city.fakes.ready(verdict());
    let ask = |value: &'static [u8]| {
        let request = city
            .request("POST", "/api/v1/verify/image?place=staffed")
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
async fn what_is_no_picture_of_a_code_is_said_so() {
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
async fn more_pictures_than_are_read_at_once_wait_their_turn() {
    let city = City::new();
    city.fakes.ready(verdict());
    let shown = (0..6).map(|_| show(&city, "?place=sentinel", "image/png", picture("TOKEN:TEXT")));
    for answer in futures::future::join_all(shown).await {
        answer.ok();
    }
    assert_eq!(city.fakes.calls(), 6);
}

/// A body that never comes to its end, and whether any of it was asked for.
fn endless() -> (Body, Arc<Notify>) {
    let asked = Arc::new(Notify::new());
    let telling = Arc::clone(&asked);
    let never = futures::stream::poll_fn(move |_| {
        telling.notify_one();
        Poll::<Option<Result<Bytes, Infallible>>>::Pending
    });
    (Body::from_stream(never), asked)
}

#[tokio::test]
async fn what_pictures_hold_has_an_end_and_who_finds_no_room_is_told_when_to_come_again() {
    let city = Arc::new(City::new());
    city.fakes.ready(verdict());
    let request = |body| {
        let request = city.request("POST", "/api/v1/verify/image?place=sentinel");
        request.header("content-type", "image/png").body(body).unwrap()
    };
    // Each may have 16 MiB, and says nothing of its length.
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        let (body, asked) = endless();
        let (city, request) = (Arc::clone(&city), request(body));
        waiting.spawn(async move { city.send(request).await });
        asked.notified().await;
    }
    let (body, asked) = endless();
    let answer = city.send(request(body)).await;
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert!(asked.notified().now_or_never().is_none(), "nothing of it was read");
    waiting.shutdown().await;
    show(&city, "?place=sentinel", "image/png", picture("TOKEN:TEXT"))
        .await
        .ok();
}
