//! The OpenAPI 3.1 description of the API, which is generated from the handlers and completed with what applies to
//! all of them, and a page to browse it that loads nothing from other origins.

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, middleware};
use utoipa::OpenApi;

use crate::answer::json_bytes;
use crate::api::{
    CheckAnswer, DailyRow, EventRow, ExportAnswer, ImportAnswer, ImportOptions, ImportRow, RunAnswer, StateAnswer,
    VerdictAnswer, VerdictRow, VerifyBody, WhatIfAnswer,
};

mod complete;

pub(crate) use complete::finished;

/// What the browsing page may load: its own files, and the pictures inside its style sheet.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "citycode",
        description = "This API issues, invalidates and checks QR codes. Every error is an RFC 9457 problem with a stable `code`. Times are RFC 3339 in UTC. Unknown fields are refused. URLs never contain ID numbers.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    // No media type describes the content of lines.
    components(schemas(VerifyBody, VerdictAnswer<'static>, ImportOptions, ImportRow, ImportAnswer<'static>, RunAnswer<'static>, StateAnswer<'static>, WhatIfAnswer<'static>, CheckAnswer<'static>, EventRow<'static>, VerdictRow<'static>, DailyRow<'static>, ExportAnswer)),
    tags(
        (name = "residents", description = "Registration of residents, their names, and family relationships"),
        (name = "codes", description = "Issuing, reprinting and listing codes, and loss reports"),
        (name = "officers", description = "Acts of officers and of the health authority"),
        (name = "checking", description = "Scans at places"),
        (name = "keys", description = "Public signing keys and status lists"),
        (name = "tokens", description = "Access tokens for trials; only with `citycode up`"),
        (name = "audit", description = "Histories of codes, explanations of verdicts, and audits of a period"),
        (name = "log", description = "The public trees of the event log, by which anybody can prove that nothing was altered"),
        (name = "policy", description = "The kinds, places and channels of the city's policy"),
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
