//! The description of the API, OpenAPI 3.1: made from the handlers, completed with what holds for all of them,
//! and a page to browse it that loads nothing from elsewhere.

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, middleware};
use citycode_service_kit::problem::Code;
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::answer::json_bytes;

/// What the browsing page may load: its own files, and the pictures that its style sheet holds.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'";

/// Paths that need no token.
const PUBLIC: [&str; 5] = [
    "/api/v1/keys",
    "/api/v1/status-keys",
    "/api/v1/status-lists",
    "/api/v1/status-lists/{list}",
    "/api/v1/policy",
];

/// Statuses that any operation may answer beside its own, with what they mean.
const PROBLEM_STATUSES: [(u16, &str); 10] = [
    (400, "The request cannot be understood, or a value in it is not one"),
    (401, "No valid access token"),
    (403, "The caller, or its channel, may not do that"),
    (404, "Not known, or no valid code"),
    (409, "A rule forbids it as things stand"),
    (413, "Larger than allowed"),
    (422, "A value breaks a rule, or the picture cannot be read"),
    (429, "Too many calls"),
    (500, "An error of our own"),
    (
        503,
        "Something needed cannot be reached; try again with the same command id",
    ),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "citycode",
        description = "Codes are issued, die and are checked. Every error is an RFC 9457 problem with a stable `code`. Times are RFC 3339 in UTC. Unknown fields are refused. ID numbers never stand in a URL.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "residents", description = "Who is known, and who may act for whom"),
        (name = "codes", description = "Getting codes and losing them"),
        (name = "officers", description = "An officer's and the health authority's acts"),
        (name = "checking", description = "Scans at places"),
        (name = "keys", description = "Signing keys and status lists, for everyone"),
        (name = "audit", description = "What happened"),
        (name = "policy", description = "What is data here"),
    )
)]
struct Frame;

/// The description without its paths.
pub(crate) fn start() -> utoipa::openapi::OpenApi {
    Frame::openapi()
}

/// `/openapi.json` and `/docs`.
pub(crate) fn routes(description: utoipa::openapi::OpenApi) -> Router {
    let bytes = Bytes::from(finished(description));
    let config = utoipa_swagger_ui::Config::from("/openapi.json");
    let page: Router = utoipa_swagger_ui::SwaggerUi::new("/docs").config(config).into();
    Router::new()
        .route("/openapi.json", get(move || async move { cached(json_bytes(bytes)) }))
        .merge(page.layer(middleware::map_response(page_policy)))
}

async fn page_policy(response: Response) -> Response {
    let policy = (CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    cached(([policy], response).into_response())
}

fn cached(mut response: Response) -> Response {
    let hour = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, hour);
    response
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
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                complete(path, method, operation);
            }
        }
    }
    serde_json::to_vec(&document).expect("a tree of strings and numbers")
}

/// Adds what holds for every operation: problems, and the token unless it is public.
fn complete(path: &str, method: &str, operation: &mut Value) {
    let content = || json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    let public = PUBLIC.contains(&path) && method == "get";
    if !public {
        operation["security"] = json!([{"bearer": []}]);
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        for (status, means) in PROBLEM_STATUSES {
            responses
                .entry(status.to_string())
                .or_insert_with(|| json!({"description": means, "content": content()}));
        }
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
        },
        "example": {
            "type": "urn:citycode:problem:no_valid_code", "title": "No valid code", "status": 404,
            "code": "no_valid_code", "detail": "there is no valid code of this kind", "fix": "Issue one first.",
        },
    })
}
