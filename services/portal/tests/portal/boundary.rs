//! Tests that apply to every call: callers, command ids, errors, the form of bodies, paths, headers.

use axum::body::Body;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_wire::proto::issuer::v1::{EraseRequest, RegisterRequest, RotateKeysRequest};
use http::Request;
use serde_json::{Value, json};
use tonic::Status;

use crate::fakes::Behaviour;
use crate::harness::City;

/// Every route that changes something, with a valid body.
fn changes() -> Vec<(&'static str, Value)> {
    let person = json!({"kind": "k", "id_number": "N", "channel": "c"});
    let officer = json!({"kind": "k", "id_number": "N", "reason": "r"});
    let pair = json!({"guardian": "G", "dependent": "D"});
    vec![
        ("/api/v1/register", json!({"id_number": "N", "name": "n"})),
        ("/api/v1/relate", pair.clone()),
        ("/api/v1/unrelate", pair),
        ("/api/v1/rename", json!({"id_number": "N", "name": "n", "reason": "r"})),
        ("/api/v1/erase", json!({"id_number": "N"})),
        ("/api/v1/issue", person.clone()),
        ("/api/v1/reprint", person.clone()),
        ("/api/v1/report-loss", person),
        ("/api/v1/revoke", officer.clone()),
        (
            "/api/v1/revoke-code",
            json!({"code_id": "9f86d081884c7d65", "reason": "r"}),
        ),
        ("/api/v1/suspend", officer.clone()),
        ("/api/v1/reinstate", officer),
        (
            "/api/v1/standing",
            json!({"id_number": "N", "standing": "red", "reason": "r"}),
        ),
        ("/api/v1/keys/rotate", json!({})),
        ("/api/v1/keys/0badc0de/compromise", json!({})),
    ]
}

/// Every read-only POST route, with a valid body.
fn questions() -> Vec<(&'static str, Value)> {
    vec![
        ("/api/v1/codes", json!({"id_number": "N"})),
        ("/api/v1/verify", json!({"place": "p", "code": "c"})),
        ("/api/v1/history", json!({"code_id": "9f86d081884c7d65"})),
    ]
}

fn all() -> impl Iterator<Item = (&'static str, Value)> {
    changes().into_iter().chain(questions())
}

#[tokio::test]
async fn without_a_valid_token_nothing_but_public_paths_answers() {
    let city = City::new();
    let others = [
        "/api/v1/verify/stream",
        "/api/v1/import",
        "/api/v1/verify/image?place=p",
    ];
    for (path, body) in all().chain(others.map(|path| (path, json!({})))) {
        for token in [None, Some("Bearer nonsense"), Some("Basic YTpi"), Some("Bearer ")] {
            let mut request = Request::post(path).header("content-type", "application/json");
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let answer = city.send(request.body(Body::from(body.to_string())).unwrap()).await;
            assert_eq!(answer.problem(), (401, "not_allowed".into()), "{path} {token:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    assert_eq!(city.fakes.calls(), 0);
}

#[tokio::test]
async fn the_callers_own_token_and_trace_are_passed_on_to_the_service() {
    let city = City::new();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = city
        .request("POST", "/api/v1/erase")
        .header("content-type", "application/json")
        .header("traceparent", trace);
    let request = request.body(Body::from(r#"{"id_number":"N"}"#)).unwrap();
    city.send(request).await.ok();
    let bearer = format!("Bearer {}", city.token);
    assert_eq!(city.fakes.metadata("authorization"), Some(bearer));
    assert_eq!(city.fakes.metadata("traceparent").as_deref(), Some(trace));
}

#[tokio::test]
async fn a_command_id_comes_from_header_or_body_and_both_must_agree() {
    const ID: &str = "0192f0c1-2b6d-7e55-8a10-0123456789ab";
    const BYTES: &[u8] = b"\x01\x92\xf0\xc1\x2b\x6d\x7e\x55\x8a\x10\x01\x23\x45\x67\x89\xab";
    let city = City::new();
    let body = |id: Option<&str>| json!({"id_number": "N", "command_id": id});
    let path = "/api/v1/erase";

    city.post_under(path, ID, body(None)).await.ok();
    assert_eq!(city.fakes.asked::<EraseRequest>().command_id, BYTES, "header");
    city.post_under(path, &format!("\"{ID}\""), body(None)).await.ok();
    assert_eq!(city.fakes.asked::<EraseRequest>().command_id, BYTES, "header in quotes");
    city.post(path, body(Some(ID))).await.ok();
    assert_eq!(city.fakes.asked::<EraseRequest>().command_id, BYTES, "body");
    city.post_under(path, ID, body(Some(&ID.to_uppercase()))).await.ok();
    assert_eq!(city.fakes.asked::<EraseRequest>().command_id, BYTES, "both, alike");
    city.post(path, body(None)).await.ok();
    let asked = city.fakes.asked::<EraseRequest>();
    assert_eq!(asked.command_id.len(), 16, "one was drawn");

    let other = "0192f0c1-2b6d-7e55-8a10-0123456789ac";
    let refused = [
        city.post_under(path, ID, body(Some(other))).await,
        city.post_under(path, "7", body(None)).await,
        city.post_under(path, "", body(None)).await,
        city.post(path, body(Some("not a uuid"))).await,
        city.post(path, body(Some(""))).await,
    ];
    for answer in refused {
        assert_eq!(answer.problem(), (400, "invalid_request".into()));
    }
    assert_eq!(city.fakes.calls(), 0);
}

#[tokio::test]
async fn every_change_passes_its_command_id_on_or_refuses_an_invalid_one() {
    let city = City::new();
    for (path, body) in changes() {
        let answer = city.post_under(path, "nonsense", body).await;
        assert_eq!(answer.problem(), (400, "invalid_request".into()), "{path}");
    }
    assert_eq!(city.fakes.calls(), 0);
    let id = "0192f0c1-2b6d-7e55-8a10-0123456789ab";
    city.post_under("/api/v1/keys/rotate", id, json!({})).await;
    assert_eq!(city.fakes.asked::<RotateKeysRequest>().command_id.len(), 16);
}

#[tokio::test]
async fn a_services_problem_arrives_unchanged() {
    let city = City::new();
    for &code in Code::ALL {
        let problem = Problem::new(code, "the reason of this call").with_retry_after(3);
        city.fakes.behaviour(Behaviour::Refuse(problem.clone()));
        for (path, body) in all() {
            let answer = city.post(path, body).await;
            let expected = (code.http_status(), code.as_str().to_owned());
            assert_eq!(answer.problem(), expected, "{path}");
            let expected = match (code, ["/api/v1/codes", "/api/v1/history"].contains(&path)) {
                (_, true) => problem.clone(),
                (Code::Internal, false) => problem.clone().with_outcome(Outcome::Unknown),
                (_, false) => problem.clone().of_change(),
            };
            assert_eq!(answer.json(), serde_json::to_value(&expected).unwrap(), "{path}");
            assert_eq!(answer.header("retry-after"), "3");
        }
    }
}

#[tokio::test]
async fn a_failure_of_the_transport_becomes_unavailable_without_its_text() {
    let city = City::new();
    let failure = Status::unavailable("tcp connect 10.1.2.3:99 refused");
    city.fakes.behaviour(Behaviour::Fail(failure));
    let answer = city.post("/api/v1/erase", json!({"id_number": "N"})).await;
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert_eq!(answer.json()["outcome"], "unknown");
    assert!(!String::from_utf8_lossy(&answer.body).contains("10.1.2.3"));
}

#[tokio::test]
async fn a_panic_becomes_an_internal_problem_and_the_portal_continues() {
    let city = City::new();
    city.fakes.behaviour(Behaviour::Panic);
    let answer = city.post("/api/v1/erase", json!({"id_number": "N"})).await;
    assert_eq!(answer.problem(), (500, "internal".into()));
    assert_eq!(answer.json()["outcome"], "unknown", "it may have come after the change");
    assert!(!String::from_utf8_lossy(&answer.body).contains("bug"));
    city.fakes.behaviour(Behaviour::Answer);
    city.post("/api/v1/erase", json!({"id_number": "N"})).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_service_that_never_answers_times_out() {
    let city = City::new();
    city.fakes.behaviour(Behaviour::Hang);
    let answer = city.post("/api/v1/erase", json!({"id_number": "N"})).await;
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert_eq!(answer.json()["outcome"], "unknown");
    let left = city
        .fakes
        .metadata("grpc-timeout")
        .expect("the services are told how long the portal waits");
    let milliseconds: u64 = left.strip_suffix('m').unwrap().parse().unwrap();
    assert!((14_000..15_000).contains(&milliseconds), "{left}");
    let question = city.post("/api/v1/codes", json!({"id_number": "N"})).await;
    assert_eq!(question.problem(), (503, "unavailable".into()));
    assert_eq!(question.json().get("outcome"), None);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_never_passed_on_is_not_done() {
    let city = City::new();
    let never = futures::stream::pending::<Result<axum::body::Bytes, std::convert::Infallible>>();
    let request = city
        .request("POST", "/api/v1/erase")
        .header("content-type", "application/json");
    let answer = city.send(request.body(Body::from_stream(never)).unwrap()).await;
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert_eq!(answer.json()["outcome"], "not_done");
    let refused = city.get("/api/v1/status-lists/x", &[]).await;
    assert_eq!(refused.json().get("outcome"), None);
    let stranger = Request::post("/api/v1/erase").body(Body::empty()).unwrap();
    assert_eq!(city.send(stranger).await.json()["outcome"], "not_done");
}

#[tokio::test]
async fn malformed_bodies_are_refused_without_repeating_them() {
    let city = City::new();
    for (path, good) in all() {
        let mut unknown = good.clone();
        unknown["colour"] = json!("SECRET");
        for body in [
            unknown.to_string(),
            "SECRET".into(),
            "[]".into(),
            "null".into(),
            String::new(),
        ] {
            let request = city.request("POST", path).header("content-type", "application/json");
            let answer = city.send(request.body(Body::from(body.clone())).unwrap()).await;
            assert_eq!(answer.problem(), (400, "invalid_request".into()), "{path} {body}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("SECRET"), "{path}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded"] {
            let request = city.request("POST", path).header("content-type", kind);
            let answer = city.send(request.body(Body::from(good.to_string())).unwrap()).await;
            assert_eq!(answer.problem(), (400, "invalid_request".into()), "{path}");
            assert!(answer.json()["detail"].as_str().unwrap().contains("content type"));
        }
    }
    assert_eq!(city.fakes.calls(), 0);
}

#[tokio::test]
async fn a_field_given_twice_is_refused() {
    let city = City::new();
    let request = city
        .request("POST", "/api/v1/register")
        .header("content-type", "application/json");
    let twice = r#"{"id_number":"A","name":"n","id_number":"B"}"#;
    let answer = city.send(request.body(Body::from(twice)).unwrap()).await;
    assert_eq!(answer.problem(), (400, "invalid_request".into()));
}

#[tokio::test]
async fn hostile_text_is_passed_on_unchanged_and_judged_by_the_services() {
    let city = City::new();
    let name = "\u{202e}\u{0}'; DROP TABLE--\u{1f600}\\n";
    let body = json!({"id_number": "", "name": name});
    city.post("/api/v1/register", body).await.ok();
    assert!(city.fakes.asked::<RegisterRequest>().name == name);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_problems() {
    let city = City::new();
    for path in ["/api/v1", "/api/v1/nothing", "/api/v2/verify", "/api/v1/keys/0badc0de"] {
        let answer = city.get(path, &[]).await;
        assert_eq!(answer.problem(), (404, "not_found".into()), "{path}");
    }
    for path in ["/api/v1/verify", "/api/v1/register", "/api/v1/import"] {
        let answer = city.get(path, &[]).await;
        assert_eq!(answer.problem(), (405, "invalid_request".into()), "{path}");
        assert_eq!(answer.header("allow"), "POST");
    }
}

#[tokio::test]
async fn every_answer_has_security_headers_and_no_other_origin_may_call() {
    let city = City::new();
    city.fakes.ready(crate::fakes::verdict());
    let preflight = Request::options("/api/v1/verify")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST");
    let answers = [
        city.post("/api/v1/verify", json!({"place": "p", "code": "c"})).await,
        city.post("/api/v1/verify", json!({})).await,
        city.get("/api/v1/verify", &[]).await,
        city.get("/no/such/path", &[]).await,
        city.send(preflight.body(Body::empty()).unwrap()).await,
    ];
    for answer in answers {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("cache-control"), "no-store");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"));
        let mut names = answer.headers.keys();
        assert!(names.all(|name| !name.as_str().starts_with("access-control")));
    }
}
