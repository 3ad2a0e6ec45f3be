//! Codes as files: the names under which browsers save them.

use axum::response::{IntoResponse as _, Response};
use citycode_domain::policy::KindPolicy;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};

use crate::lang::Language;
use crate::site::Site;

/// What a browser does with the file.
#[derive(Clone, Copy)]
pub(super) enum SavedAs {
    /// It saves a PNG.
    Image,
    /// It shows a PDF, from which people print or save.
    Sheet,
}

/// The file. Its name says which kind of code it is, and whether it is one of a demo; it contains nothing personal.
pub(super) fn answer(
    site: &Site,
    language: Language,
    kind: &KindPolicy,
    saved_as: SavedAs,
    bytes: Vec<u8>,
) -> Response {
    let (disposition, content_type, extension) = match saved_as {
        SavedAs::Image => ("attachment", "image/png", "png"),
        SavedAs::Sheet => ("inline", "application/pdf", "pdf"),
    };
    let label = language.of(&kind.label);
    let mark = match (site.is_demo(), language) {
        (false, _) => "",
        (true, Language::Chinese) => "演示-",
        (true, Language::English) => "DEMO-",
    };
    let ascii_mark = if site.is_demo() { "DEMO-" } else { "" };
    let name = format!(
        "{disposition}; filename=\"{ascii_mark}{}-code.{extension}\"; filename*=UTF-8''{}",
        kind.name,
        percent_encoded(&format!("{mark}{label}.{extension}"))
    );
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    response
}

/// A text as an extended parameter of a header (RFC 8187 §3.2.1).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn names_of_files_may_be_chinese() {
        assert_eq!(percent_encoded("码 1.png"), "%E7%A0%81%201.png");
        assert_eq!(percent_encoded("a\"\r\n'.png"), "a%22%0D%0A%27.png");
    }
}
