//! Middleware for every answer: a span and metrics, security headers, an answer when a handler panics, and a time
//! limit.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use citycode_pages::UnknownAddresses;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::deadline;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_service_kit::serve::{MAX_HTTP_BODY_BYTES, READ_ONLY_POSTS, with_fallbacks};
use citycode_service_kit::telemetry::set_parent_from;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

/// Longest time that one answer may take; streams are not bound by it. A change whose answer is lost is repeated with
/// its command id.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Adds a time limit to routes that answer once; it is passed on to the services with the call.
pub(crate) async fn within_time(request: Request, next: Next) -> Response {
    let change = is_change(&request);
    match deadline::within(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(elapsed) if change => Problem::from(elapsed).into_response(),
        Err(_) => Problem::new(Code::Unavailable, "the answer took too long").into_response(),
    }
}

/// Whether a call of this route may change something.
fn is_change(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    request.method() == http::Method::POST
        && path.is_some_and(|path| path.starts_with("/api/") && !READ_ONLY_POSTS.contains(&path))
}

/// Adds the outcome to the problem of every call that may change something.
async fn say_outcome(request: Request, next: Next) -> Response {
    let change = is_change(&request);
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>() else {
        return response;
    };
    let completed = match (change, problem.outcome()) {
        (false, _) => problem.clone().of_query(),
        // An internal error may have occurred after the change.
        (true, None) if problem.code() == Code::Internal => problem.clone().with_outcome(Outcome::Unknown),
        (true, _) => problem.clone().of_change(),
    };
    if completed.outcome() == problem.outcome() {
        return response;
    }
    completed.into_response()
}

/// Wraps the routes in all layers. With `unknown` people see a page where no route answers.
pub(crate) fn finish(routes: Router, unknown: Option<UnknownAddresses>, clock: Arc<dyn Clock>) -> Router {
    let mut routes = with_fallbacks(routes);
    if let Some(unknown) = unknown {
        routes = routes.layer(from_fn_with_state(unknown, UnknownAddresses::show));
    }
    routes
        .layer(DefaultBodyLimit::max(MAX_HTTP_BODY_BYTES))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(say_outcome))
        .layer(from_fn_with_state(clock, observe))
}

/// The panic's message may contain anything, so it is not returned; the panic hook has logged its location.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    metrics::counter!("citycode_portal_panics_total").increment(1);
    Problem::internal().into_response()
}

/// One span and one set of metrics per call. Both contain only the route's template: no query, body or key id.
async fn observe(State(clock): State<Arc<dyn Clock>>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = method_name(request.method());
    let span = tracing::info_span!(
        "http",
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    let begun = clock.monotonic();
    let mut response = async {
        if let Some(parent) = request.headers().get("traceparent") {
            set_parent_from(parent.to_str().unwrap_or_default());
        }
        next.run(request).await
    }
    .instrument(span.clone())
    .await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    let took = clock.monotonic().saturating_sub(begun);
    metrics::histogram!("citycode_portal_request_seconds", "method" => method, "route" => route, "status" => status.to_string())
        .record(took.as_secs_f64());
    dress(response.headers_mut());
    response
}

/// A caller may send any method; only these become a label.
fn method_name(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::HEAD => "HEAD",
        _ => "other",
    }
}

/// Security headers for browsers, unless the handler has set them. There is no CORS: pages of other origins may not
/// call.
fn dress(headers: &mut HeaderMap) {
    const DRESS: [(HeaderName, &str); 5] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        // Answers contain tokens and verdicts and are not cached; handlers of public data set their own lifetime.
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in DRESS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
