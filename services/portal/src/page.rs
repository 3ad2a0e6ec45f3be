//! The page at `/`: a short description with links, in Chinese and, with `?lang=en`, in English. It is static, has no
//! script, and loads nothing but its own style sheet. Web pages for residents will replace it.

use axum::Router;
use axum::extract::RawQuery;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

const CHINESE: &str = include_str!("page/zh.html");
const ENGLISH: &str = include_str!("page/en.html");
const STYLE: &str = include_str!("page/page.css");
/// The path of the style sheet: the content security policy forbids inline styles.
const STYLE_PATH: &str = "/page.css";
/// The content security policy: only the style sheet may be loaded; forms and frames are forbidden.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// It changes only with a release.
const CACHE: &str = "public, max-age=300";

/// `/` and its style sheet.
pub(crate) fn routes() -> Router {
    Router::new().route("/", get(page)).route(STYLE_PATH, get(style))
}

async fn page(RawQuery(query): RawQuery) -> Response {
    let english = query.is_some_and(|query| query.split('&').any(|pair| pair == "lang=en"));
    let (language, text) = if english { ("en", ENGLISH) } else { ("zh-CN", CHINESE) };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_LANGUAGE, HeaderValue::from_static(language)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (CACHE_CONTROL, HeaderValue::from_static(CACHE)),
    ];
    (headers, text).into_response()
}

async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static(CACHE)),
    ];
    (headers, STYLE).into_response()
}
