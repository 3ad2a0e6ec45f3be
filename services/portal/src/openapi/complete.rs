//! Completes the description beyond what the handlers declare: problems, tokens, and the formats of answers.

use citycode_domain::admission::{Decision, Reason};
use citycode_service_kit::problem::{Code, Outcome};
use citycode_wire::limits::{DEVICE, Limit, METHOD, PERSON_NAME, PURPOSE, REASON, SCAN_ID};
use serde_json::{Value, json};

/// Paths that need no token.
const PUBLIC: [&str; 9] = [
    "/api/v1/keys",
    "/api/v1/status-keys",
    "/api/v1/status-lists",
    "/api/v1/status-lists/{list}",
    "/api/v1/policy",
    "/log/keys",
    "/log/{partition}/checkpoint",
    "/log/{partition}/witnessed",
    "/log/{partition}/tile/{tile}",
];

/// Statuses that any operation may return in addition to its own, with their meaning.
const PROBLEM_STATUSES: [(u16, &str); 13] = [
    (400, "The request is malformed, or a value has the wrong form"),
    (401, "No valid access token"),
    (403, "The caller, or its channel, may not do that"),
    (404, "It does not exist, or there is no valid code"),
    (405, "The path does not support that method"),
    (406, "Not available for the time that was asked about"),
    (409, "A rule forbids it in the present state"),
    (413, "Larger than allowed"),
    (422, "A value breaks a rule, or the picture cannot be read"),
    (429, "Too many calls"),
    (500, "An internal error"),
    (501, "Not available in this deployment"),
    (
        503,
        "A service that is needed cannot be reached; try again with the same command id",
    ),
];

/// Longest values of requests: (property, limit). `maxLength` counts characters, so a limit in bytes is reached earlier
/// by a text that is not ASCII; white space around names, reasons and purposes does not count.
const REQUEST_LIMITS: [(&str, Limit); 18] = [
    ("Authentication/method", METHOD),
    ("RegisterBody/name", PERSON_NAME),
    ("RenameBody/name", PERSON_NAME),
    ("ImportRow/name", PERSON_NAME),
    ("RenameBody/reason", REASON),
    ("RevokeCodeBody/reason", REASON),
    ("OfficerBody/reason", REASON),
    ("StandingBody/reason", REASON),
    ("VerifyBody/device", DEVICE),
    ("VerifyBody/scan_id", SCAN_ID),
    ("ExplainBody/purpose", PURPOSE),
    ("RunBody/purpose", PURPOSE),
    ("WhatIfBody/purpose", PURPOSE),
    ("ExportBody/purpose", PURPOSE),
    ("ProofBody/purpose", PURPOSE),
    ("HistoryBody/purpose", PURPOSE),
    ("CodesBody/purpose", PURPOSE),
    ("StateBody/purpose", PURPOSE),
];

/// Patterns and enumerations of answers, which the handlers' types do not declare: (property, additions to its schema).
/// Requests get only their limits, because they accept more than answers contain.
fn answer_schemas() -> [(&'static str, Value); 8] {
    let hex = |digits: u8| json!({"pattern": format!("^[0-9a-f]{{{digits}}}$")});
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    let decisions: Vec<&str> = Decision::ALL.iter().map(|decision| decision.name()).collect();
    [
        ("CodeAnswer/code_id", hex(16)),
        ("CodeStateAnswer/code_id", hex(16)),
        ("VerdictAnswer/code_id", hex(16)),
        ("KeyAnswer/kid", hex(8)),
        ("StatusKeyAnswer/kid", hex(8)),
        ("VerdictAnswer/decision", json!({"enum": decisions})),
        ("VerdictAnswer/reason", json!({"enum": reasons})),
        ("ImportAnswer/outcome", json!({"enum": ["issued", "kept", "rejected"]})),
    ]
}

/// The whole description as JSON.
pub(crate) fn finished(description: utoipa::openapi::OpenApi) -> Vec<u8> {
    let mut document = serde_json::to_value(description).expect("a description is a tree of strings and numbers");
    document["components"]["schemas"]["Problem"] = problem_schema();
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "An access token: `authorization: Bearer TOKEN`",
        }
    });
    let limits = REQUEST_LIMITS.map(|(place, limit)| (place, json!({"maxLength": limit.max})));
    for (place, says) in answer_schemas().into_iter().chain(limits) {
        let (schema, property) = place.split_once('/').expect("a schema and its property");
        let said = says.as_object().expect("an object").clone();
        let property = &mut document["components"]["schemas"][schema]["properties"][property];
        property
            .as_object_mut()
            .expect("the property is described")
            .extend(said);
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        // The router marks a parameter that contains slashes by a star, which is not part of its name.
        *paths = std::mem::take(paths)
            .into_iter()
            .map(|(path, item)| (path.replace("{*", "{"), item))
            .collect();
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                complete(path, method, operation);
            }
        }
    }
    serde_json::to_vec(&document).expect("a tree of strings and numbers")
}

/// Adds what applies to every operation: problems, and the token unless the operation is public.
fn complete(path: &str, method: &str, operation: &mut Value) {
    let content = || json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    let public = PUBLIC.contains(&path) && method == "get";
    if !public {
        operation["security"] = json!([{"bearer": []}]);
    }
    if let Some(body) = operation.get_mut("requestBody") {
        body.get_mut("content").into_iter().for_each(say_lines);
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        for response in responses.values_mut() {
            response.get_mut("content").into_iter().for_each(say_lines);
        }
        for (status, means) in PROBLEM_STATUSES {
            responses
                .entry(status.to_string())
                .or_insert_with(|| json!({"description": means, "content": content()}));
        }
    }
}

/// Marks newline-delimited JSON as such; no schema describes its lines.
fn say_lines(content: &mut Value) {
    const LINES: &str = "application/x-ndjson";
    if let Some(lines) = content.get_mut(LINES) {
        lines["schema"] = json!({"type": "string", "format": "binary", "contentMediaType": LINES});
    }
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "description": "RFC 9457: what went wrong, why, and what to do.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": {"type": "string", "enum": codes},
            "detail": {"type": "string"},
            "fix": {"type": "string"},
            "retry_after_seconds": {"type": "integer", "minimum": 0},
            "outcome": {
                "type": "string", "enum": [Outcome::NotDone.as_str(), Outcome::Unknown.as_str()],
                "description": "Only of calls that change something: what became of the change by this attempt. \
                    After `unknown` the same call with the same command id tells.",
            },
        },
        "example": {
            "type": "urn:citycode:problem:no_valid_code", "title": "No valid code", "status": 404,
            "code": "no_valid_code", "detail": "there is no valid code of this kind", "fix": "Issue one first.",
            "outcome": "not_done",
        },
    })
}
