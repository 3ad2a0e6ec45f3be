//! The OpenAPI description and the page to browse it.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use citycode_portal::Portal;
use citycode_wire::limits::FIELDS;
use http::Request;
use serde_json::{Value, json};

use crate::harness::City;

/// Every operation of the API, and whether it is public.
const OPERATIONS: [(&str, &str, bool); 43] = [
    ("post", "/api/v1/register", false),
    ("post", "/api/v1/relate", false),
    ("post", "/api/v1/unrelate", false),
    ("post", "/api/v1/rename", false),
    ("post", "/api/v1/erase", false),
    ("post", "/api/v1/issue", false),
    ("post", "/api/v1/reprint", false),
    ("post", "/api/v1/codes", false),
    ("post", "/api/v1/report-loss", false),
    ("post", "/api/v1/revoke", false),
    ("post", "/api/v1/revoke-code", false),
    ("post", "/api/v1/suspend", false),
    ("post", "/api/v1/reinstate", false),
    ("post", "/api/v1/standing", false),
    ("post", "/api/v1/verify", false),
    ("post", "/api/v1/verify/image", false),
    ("post", "/api/v1/verify/stream", false),
    ("post", "/api/v1/import", false),
    ("post", "/api/v1/audit/explain", false),
    ("post", "/api/v1/audit/queries", false),
    ("post", "/api/v1/audit/queries/about", false),
    ("post", "/api/v1/audit/run", false),
    ("post", "/api/v1/audit/state", false),
    ("post", "/api/v1/audit/what-if", false),
    ("post", "/api/v1/audit/export", false),
    ("post", "/api/v1/audit/log-proof", false),
    ("post", "/api/v1/audit/log-check", false),
    ("get", "/log/keys", true),
    ("get", "/log/{partition}/checkpoint", true),
    ("get", "/log/{partition}/witnessed", true),
    ("get", "/log/{partition}/tile/{tile}", true),
    ("post", "/api/v1/history", false),
    ("get", "/api/v1/keys", true),
    ("post", "/api/v1/keys/rotate", false),
    ("post", "/api/v1/keys/{kid}/compromise", false),
    ("get", "/api/v1/status-keys", true),
    ("get", "/api/v1/status-lists", true),
    ("get", "/api/v1/status-lists/{list}", true),
    ("get", "/api/v1/policy", true),
    ("post", "/api/v1/tokens", false),
    ("get", "/api/v1/tokens", false),
    ("post", "/api/v1/tokens/{id}/revoke", false),
    ("post", "/api/v1/start-links", false),
];

async fn description() -> Value {
    let city = City::new();
    let answer = city.get("/openapi.json", &[]).await;
    assert_eq!(answer.body, Portal::openapi_json(), "one description");
    answer.ok()
}

#[tokio::test]
async fn the_description_is_openapi_3_1_and_lists_exactly_these_operations() {
    let document = description().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys();
        described.extend(methods.map(|method| (method.clone(), path.clone())));
    }
    let agreed = OPERATIONS.map(|(method, path, _)| (method.to_owned(), path.to_owned()));
    assert_eq!(described, BTreeSet::from(agreed));
}

#[tokio::test]
async fn every_operation_declares_its_security_answers_and_problems() {
    let document = description().await;
    let mut ids = BTreeSet::new();
    for (method, path, public) in OPERATIONS {
        let operation = &document["paths"][path][method];
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{path}");
        assert!(
            operation["summary"].is_string() || operation["description"].is_string(),
            "{path}"
        );
        let security = if public { Value::Null } else { json!([{"bearer": []}]) };
        assert_eq!(operation["security"], security, "{path}");
        let answers = &operation["responses"];
        assert!(answers["200"]["content"].is_object(), "{path}");
        for status in ["400", "401", "404", "413", "429", "500", "503"] {
            let schema = &answers[status]["content"]["application/problem+json"]["schema"];
            assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{path} {status}");
        }
        assert_eq!(method == "post", operation["requestBody"].is_object(), "{path}");
    }
    let scheme = &document["components"]["securitySchemes"]["bearer"]["scheme"];
    assert_eq!(scheme, "bearer");
    let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    assert!(codes.as_array().unwrap().contains(&json!("idempotency_key_reused")));
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_resolves_and_every_request_refuses_unknown_fields() {
    let document = description().await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > OPERATIONS.len());
    for reference in found {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference}");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let bodies: Vec<_> = schemas.iter().filter(|(name, _)| name.ends_with("Body")).collect();
    assert!(bodies.len() >= 12);
    for (name, schema) in bodies {
        assert_eq!(schema["additionalProperties"], false, "{name}");
    }
}

/// Where the description has a field of a protobuf message: (field, schema and property).
const DESCRIBED: [(&str, &str); 21] = [
    ("Authentication.method", "Authentication/method"),
    ("RegisterRequest.name", "RegisterBody/name"),
    ("RenameRequest.name", "RenameBody/name"),
    ("RenameRequest.reason", "RenameBody/reason"),
    ("RevokeCodeRequest.reason", "RevokeCodeBody/reason"),
    ("RevokeRequest.reason", "OfficerBody/reason"),
    ("SuspendRequest.reason", "OfficerBody/reason"),
    ("ReinstateRequest.reason", "OfficerBody/reason"),
    ("SetStandingRequest.reason", "StandingBody/reason"),
    ("VerifyRequest.device", "VerifyBody/device"),
    ("VerifyRequest.scan_id", "VerifyBody/scan_id"),
    ("ExplainRequest.purpose", "ExplainBody/purpose"),
    ("RunRequest.purpose", "RunBody/purpose"),
    ("WhatIfRequest.purpose", "WhatIfBody/purpose"),
    ("ListQueriesRequest.purpose", "QueriesBody/purpose"),
    ("ListQueriesAboutRequest.purpose", "QueriesAboutBody/purpose"),
    ("ExportRequest.purpose", "ExportBody/purpose"),
    ("ProveEventRequest.purpose", "ProofBody/purpose"),
    ("HistoryRequest.purpose", "HistoryBody/purpose"),
    ("CodesRequest.purpose", "CodesBody/purpose"),
    ("StateRequest.purpose", "StateBody/purpose"),
];

#[tokio::test]
async fn the_longest_values_of_requests_are_those_that_the_services_accept() {
    let document = description().await;
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut described = BTreeMap::new();
    for (schema, properties) in schemas {
        let properties = properties["properties"].as_object().into_iter().flatten();
        for (name, property) in properties {
            if let Some(longest) = property["maxLength"].as_u64() {
                described.insert(format!("{schema}/{name}"), longest);
            }
        }
    }
    let listed = FIELDS.map(|(field, limit)| {
        let (_, place) = DESCRIBED
            .iter()
            .find(|(described, _)| *described == field)
            .unwrap_or_else(|| panic!("{field} is described nowhere"));
        ((*place).to_owned(), limit.max as u64)
    });
    let mut agreed = BTreeMap::from(listed);
    // A row of an import has the name of a registration; the subject of a token is limited by its issuer.
    agreed.insert("ImportRow/name".to_owned(), agreed["RegisterBody/name"]);
    agreed.insert("TokenBody/subject".to_owned(), 128);
    assert_eq!(described, agreed);
}

#[tokio::test]
async fn every_described_operation_exists() {
    let city = City::new();
    for (method, path, public) in OPERATIONS {
        let path = path.replace("{kid}", "0badc0de").replace("{list}", "0000002a");
        let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
        let status = city.send(request.body(Body::empty()).unwrap()).await.status;
        // Without a token it is public, or it exists but is refused. The fakes' empty status list is their error.
        let fits = if public {
            ![401, 404, 405].contains(&status)
        } else {
            status == 401
        };
        assert!(fits, "{method} {path} {status}");
    }
}

#[tokio::test]
async fn the_page_loads_everything_from_its_own_origin() {
    let city = City::new();
    let page = city.get("/docs/", &[]).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self';"), "{policy}");
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!html.contains("<script>"), "the policy forbids scripts inside the page");
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in html.split(attribute).skip(1) {
            let target = rest.split('"').next().unwrap().trim_start_matches("./");
            assert!(!target.contains("//"), "{target} lies elsewhere");
            let file = city.get(&format!("/docs/{target}"), &[]).await;
            assert_eq!((file.status, file.body.is_empty()), (200, false), "{target}");
            loaded += 1;
        }
    }
    assert!(loaded >= 4, "{loaded}");
    let start = city.get("/docs/swagger-initializer.js", &[]).await;
    assert!(String::from_utf8_lossy(&start.body).contains("/openapi.json"));
}

#[tokio::test]
async fn the_description_is_served_also_with_an_expired_token() {
    let city = City::new();
    for path in ["/openapi.json", "/docs/"] {
        let answer = city.get(path, &[("authorization", "Bearer stale")]).await;
        assert_eq!(answer.status, 200, "{path}");
    }
}
