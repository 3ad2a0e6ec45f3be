//! The built browser files: style sheets, scripts and the reader of QR codes. Their names contain a hash of their
//! content, so browsers keep them for ever and never mix two releases.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use citycode_service_kit::problem::{Code, Problem};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};

/// The folder of the files' addresses.
const FOLDER: &str = "/assets/";
/// A year: the longest time that caches honour.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

struct Embedded {
    /// The name without the hash, which templates use.
    name: &'static str,
    /// The name with the hash.
    file: &'static str,
    /// The media type.
    kind: &'static str,
    bytes: &'static [u8],
    /// The bytes as gzip (RFC 1952).
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The address of a file by its name without the hash; empty if there is none, which a test of all templates prevents.
pub(crate) fn address(name: &str) -> String {
    let found = EMBEDDED.iter().find(|asset| asset.name == name);
    found.map(|asset| format!("{FOLDER}{}", asset.file)).unwrap_or_default()
}

pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/assets/{file}", get(file))
        .route("/favicon.ico", get(favicon))
}

/// Where browsers look for the icon of what is not a page, such as a print sheet.
async fn favicon() -> Redirect {
    Redirect::permanent(&address("favicon.svg"))
}

async fn file(Path(name): Path<String>, request: HeaderMap) -> Response {
    let Some(asset) = EMBEDDED.iter().find(|asset| asset.file == name) else {
        return Problem::new(Code::NotFound, "there is no such file").into_response();
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE)),
        (VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if takes_gzip(&request) {
        let encoding = [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        return (headers, encoding, asset.gzip).into_response();
    }
    (headers, asset.bytes).into_response()
}

/// Whether the reader accepts gzip, without a weight: browsers send none.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accepted.split(',').any(|word| word.trim() == "gzip")
}
