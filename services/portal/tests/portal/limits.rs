//! Size limits: bodies that are too large are refused before they are read.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use serde_json::json;

use crate::harness::City;

const MEBIBYTE: usize = 1 << 20;

/// A body of 50 MiB, and the number of its mebibytes that were read.
fn fifty_mebibytes() -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let chunks = (0..50).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from(vec![b' '; MEBIBYTE]))
    });
    (Body::from_stream(futures::stream::iter(chunks)), taken)
}

#[tokio::test]
async fn fifty_megabytes_of_json_are_refused_after_the_first_few() {
    let city = City::new();
    let (body, taken) = fifty_mebibytes();
    let request = city
        .request("POST", "/api/v1/issue")
        .header("content-type", "application/json");
    let answer = city.send(request.body(body).unwrap()).await;
    assert_eq!(answer.problem(), (413, "too_large".into()));
    assert!(taken.load(Ordering::Relaxed) <= 3);
}

#[tokio::test]
async fn a_picture_with_a_content_length_of_fifty_megabytes_is_not_read() {
    let city = City::new();
    let (body, taken) = fifty_mebibytes();
    let request = city
        .request("POST", "/api/v1/verify/image?place=sentinel")
        .header("content-type", "image/png")
        .header("content-length", 50 * MEBIBYTE);
    let answer = city.send(request.body(body).unwrap()).await;
    assert_eq!(answer.problem(), (413, "too_large".into()));
    assert_eq!(taken.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_picture_without_a_content_length_is_read_up_to_the_limit() {
    let city = City::new();
    let (body, taken) = fifty_mebibytes();
    let request = city
        .request("POST", "/api/v1/verify/image?place=sentinel")
        .header("content-type", "image/jpeg");
    let answer = city.send(request.body(body).unwrap()).await;
    assert_eq!(answer.problem(), (413, "too_large".into()));
    assert!(taken.load(Ordering::Relaxed) <= 18);
}

#[tokio::test]
async fn a_body_just_within_the_limit_is_accepted() {
    let city = City::new();
    let name = "n".repeat(MEBIBYTE - 100);
    let body = json!({"id_number": "N", "name": name});
    city.post("/api/v1/register", body).await.ok();
}
