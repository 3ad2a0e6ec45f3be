//! What applies to every page: only known hosts, forms only from our own pages, and the security headers.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::lang::Choice;
use crate::site::Site;

/// Only our own files; no frames around the page, no inline scripts or styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The same for pages with a camera: their reader of codes is WebAssembly.
const CAMERA_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self'; media-src 'self' blob:; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks the request, and completes the answer.
pub(crate) async fn check(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let Some(host) = host_of(request.headers(), request.uri()) else {
        return (StatusCode::BAD_REQUEST, "the request names no host, or several\n").into_response();
    };
    if !is_known_host(&host, &site.host_names) {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not configured for these pages\n",
        )
            .into_response();
    }
    if request.method() == Method::POST && !is_from_own_page(request.headers(), &host) {
        return (StatusCode::FORBIDDEN, "this form was sent by another site\n").into_response();
    }
    let (parts, body) = request.into_parts();
    let choice = Choice::of(&parts);
    let has_camera = has_camera(parts.uri.path());
    let mut response = next.run(Request::from_parts(parts, body)).await;
    complete(response.headers_mut(), choice, has_camera);
    response
}

/// The headers of every page: the reader's new choice, and what the browser may do.
pub(crate) fn complete(headers: &mut HeaderMap, choice: Choice, has_camera: bool) {
    if choice.is_new
        && let Ok(kept) = HeaderValue::from_str(&choice.set_cookie())
    {
        headers.append(SET_COOKIE, kept);
    }
    let (policy, permissions) = if has_camera {
        (
            CAMERA_POLICY,
            "camera=(self), microphone=(), geolocation=(), screen-wake-lock=(self)",
        )
    } else {
        (
            POLICY,
            "camera=(), microphone=(), geolocation=(), screen-wake-lock=(self)",
        )
    };
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(PERMISSIONS, HeaderValue::from_static(permissions));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn has_camera(path: &str) -> bool {
    ["/staff", "/gate"].iter().any(|area| path.starts_with(area))
}

/// The host that a request names: the `Host` header of HTTP/1.1, the authority of HTTP/2. `None` if there is none, or if
/// two differ.
fn host_of(headers: &HeaderMap, uri: &http::Uri) -> Option<String> {
    let mut named = headers.get_all(HOST).iter().map(|host| host.to_str().ok());
    let header = named.next();
    if named.next().is_some() {
        return None;
    }
    match (header, uri.authority()) {
        (Some(host), None) => host.map(str::to_owned),
        (Some(host), Some(authority)) => host.filter(|host| *host == authority.as_str()).map(str::to_owned),
        (None, authority) => authority.map(ToString::to_string),
    }
}

/// Whether the host is an address, `localhost`, or a configured name. A site of another name that resolves to this
/// machine (DNS rebinding) is refused, because its scripts could otherwise read the pages.
fn is_known_host(host: &str, configured: &[String]) -> bool {
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || configured.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether a form was sent by a page of this origin. All browsers send `Sec-Fetch-Site` or `Origin` with a form; a
/// program without either has no cookies that another site could misuse.
fn is_from_own_page(headers: &HeaderMap, host: &str) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return site == "same-origin";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority == Some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_addresses_localhost_and_configured_names_are_hosts() {
        let configured = ["code.example.org".to_owned()];
        for host in [
            "127.0.0.1:8080",
            "localhost",
            "localhost:1",
            "[::1]:8080",
            "[::1]",
            "192.0.2.7",
            "Code.Example.org:443",
        ] {
            assert!(is_known_host(host, &configured), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8080",
            "code.example.org.evil",
            "",
        ] {
            assert!(!is_known_host(host, &configured), "{host}");
        }
    }

    #[test]
    fn a_form_of_another_origin_is_refused() {
        let own = "127.0.0.1:8080";
        assert!(is_from_own_page(&headers(&[]), own));
        assert!(is_from_own_page(&headers(&[("origin", "http://127.0.0.1:8080")]), own));
        assert!(is_from_own_page(&headers(&[("sec-fetch-site", "same-origin")]), own));
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:8081"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!is_from_own_page(&headers(&[(name, value)]), own), "{name}: {value}");
        }
    }

    #[test]
    fn a_request_names_one_host_by_header_or_authority() {
        let uri = |text: &str| text.parse::<http::Uri>().expect("an address");
        let host = headers(&[("host", "127.0.0.1:8080")]);
        assert_eq!(host_of(&host, &uri("/my")).as_deref(), Some("127.0.0.1:8080"));
        let http2 = uri("http://evil.example/my");
        assert_eq!(host_of(&headers(&[]), &http2).as_deref(), Some("evil.example"));
        assert_eq!(host_of(&host, &http2), None, "they differ");
        assert_eq!(host_of(&headers(&[]), &uri("/my")), None);
        let mut two = host.clone();
        two.append(HOST, HeaderValue::from_static("evil.example"));
        assert_eq!(host_of(&two, &uri("/my")), None);
    }
}
