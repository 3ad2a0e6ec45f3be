//! The comparison of policies.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};

use super::{World, world};
use crate::session::Session;

#[tokio::test]
async fn the_policy_is_compared_with_a_pasted_one() {
    let world = world();
    let session = world.session("privacy");
    let campus = citycode_policy_file::CAMPUS;
    for (policy, status, text) in [
        (citycode_policy_file::SHANGHAI, StatusCode::OK, "data-changes=\"0\""),
        (campus, StatusCode::OK, "data-changes="),
        ("name = 1", StatusCode::UNPROCESSABLE_ENTITY, "id=\"policy-error\""),
        ("", StatusCode::UNPROCESSABLE_ENTITY, "id=\"policy-error\""),
    ] {
        let (answered, page) = compared(&world, &session, policy).await;
        assert_eq!(answered, status);
        assert!(page.contains(text), "{page}");
    }
}

async fn compared(world: &World, session: &Session, policy: &str) -> (StatusCode, String) {
    let token = session.form_token(&world.site);
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let body = format!("{}{}--b--\r\n", part("form_token", &token), part("policy", policy));
    let request = Request::post("/ops/policy").header(CONTENT_TYPE, "multipart/form-data; boundary=b");
    world.ask(session, request, Body::from(body)).await
}
