//! What a page answers if it cannot be shown.

use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRequestParts, MatchedPath};
use axum::response::{IntoResponse, Redirect, Response};
use citycode_access_records::Unavailable;
use citycode_service_kit::problem::{Code, Problem};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};

use crate::frame::{Frame, page};
use crate::guard;
use crate::lang::Choice;
use crate::session::Area;
use crate::site::Site;

/// Why a page cannot be shown.
#[derive(Debug)]
pub(crate) enum PageError {
    /// There is no session; the address of the page is kept for after the sign-in.
    SignIn(Area, String),
    /// There is no such page.
    NotFound,
    /// The reader may not see it.
    Forbidden,
    /// The form is not of this session, or too old.
    StaleForm,
    /// The identity provider did not lead to a session of this area.
    NotSignedIn(Area, NotSignedIn),
    /// A service or the records cannot be asked, or refuse.
    Problem(Problem),
}

/// Why a person who signs in through the identity provider gets no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotSignedIn {
    /// The answer belongs to no sign-in of this browser: it was used, changed, or took too long.
    Stale,
    /// The person refused at the provider.
    Cancelled,
    /// The provider refuses the code, or its ID token is not for this sign-in.
    Refused,
    /// The provider does not answer.
    Unreachable,
    /// The provider's claims give no right to the area.
    NoRight,
}

impl NotSignedIn {
    /// The id of the text, and the code for machines.
    fn words(self, area: Area) -> (&'static str, &'static str) {
        match self {
            Self::Stale => ("not-signed-in-stale", "stale_form"),
            Self::Cancelled => ("not-signed-in-cancelled", "not_allowed"),
            Self::Refused => ("not-signed-in-refused", "not_allowed"),
            Self::Unreachable => ("not-signed-in-unreachable", "unavailable"),
            Self::NoRight if area == Area::My => ("not-signed-in-no-number", "not_allowed"),
            Self::NoRight => ("not-signed-in-no-right", "not_allowed"),
        }
    }
}

impl PageError {
    /// Sends the reader to sign in.
    pub(crate) fn sign_in(area: Area, path: &str) -> Self {
        Self::SignIn(area, path.to_owned())
    }
}

impl From<Unavailable> for PageError {
    fn from(error: Unavailable) -> Self {
        tracing::error!(%error, "the records of sessions cannot be used");
        Self::Problem(Problem::new(
            Code::Unavailable,
            "it is not known whether this session was ended",
        ))
    }
}

impl From<Problem> for PageError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<tonic::Status> for PageError {
    fn from(status: tonic::Status) -> Self {
        Self::Problem(Problem::from(status))
    }
}

/// The site and the reader's choice, with which an error becomes a page. The layer [`show_errors`] uses it.
impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if let Self::SignIn(area, path) = &self {
            return Redirect::to(&format!("/sign-in?to={path}&area={}", area.word())).into_response();
        }
        // The layer replaces this answer by a page in the reader's language.
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl PageError {
    fn status(&self) -> StatusCode {
        match self {
            Self::SignIn(..) => StatusCode::SEE_OTHER,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotSignedIn(_, NotSignedIn::Unreachable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Forbidden | Self::StaleForm | Self::NotSignedIn(..) => StatusCode::FORBIDDEN,
            Self::Problem(problem) => {
                StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    f: Frame<'a>,
    title: String,
    text: String,
    code: &'a str,
    /// The address at which the reader signs in again; empty if that does not help.
    sign_in: String,
}

/// Replaces the answer of a [`PageError`] by a page.
pub(crate) async fn show_errors(
    axum::extract::State(site): axum::extract::State<Arc<Site>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(choice) = Choice::from_request_parts(&mut parts, &()).await;
    let path = parts.uri.path().to_owned();
    let response = next.run(axum::extract::Request::from_parts(parts, body)).await;
    let Some(error) = response.extensions().get::<Arc<PageError>>().cloned() else {
        return response;
    };
    let mut f = Frame::public(&site, choice, &path);
    let mut sign_in = String::new();
    let (id, code) = match &*error {
        PageError::NotFound => ("error-not-found", "not_found"),
        PageError::Forbidden => ("error-forbidden", "not_allowed"),
        PageError::StaleForm => ("error-stale-form", "stale_form"),
        PageError::Problem(problem) => ("error-unavailable", problem.code().as_str()),
        PageError::NotSignedIn(area, why) => {
            // The provider may know the person still: another account needs its form again.
            let again = if *why == NotSignedIn::NoRight { "&again=yes" } else { "" };
            sign_in = format!("/sign-in?area={}{again}", area.word());
            // The provider's answer cannot be looked at again in another language.
            (f.path, f.query) = ("/sign-in".to_owned(), format!("area={}{again}", area.word()));
            ("not-signed-in", why.words(*area).1)
        }
        PageError::SignIn(..) => return response,
    };
    let text = match &*error {
        PageError::Problem(problem) => f.problem(problem),
        PageError::NotSignedIn(area, why) => f.t(why.words(*area).0),
        _ => f.t(&format!("{id}-text")),
    };
    let title = f.t(id);
    let shown = ErrorPage {
        title,
        text,
        code,
        sign_in,
        f,
    };
    page(error.status(), &shown)
}

/// Shows people a page at addresses that do not exist, or that only take forms. Programs, and the API, keep the problem.
#[derive(Clone)]
pub struct UnknownAddresses(pub(crate) Arc<Site>);

/// Addresses of the API and of the log.
const FOR_PROGRAMS: [&str; 2] = ["/api/", "/log/"];

impl UnknownAddresses {
    /// A layer around all routes of a portal.
    pub async fn show(
        axum::extract::State(Self(site)): axum::extract::State<Self>,
        request: axum::extract::Request,
        next: axum::middleware::Next,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let by_person = parts.method == Method::GET
            && accepts_html(&parts.headers)
            && !FOR_PROGRAMS.iter().any(|area| path.starts_with(area));
        let is_matched = parts.extensions.get::<MatchedPath>().is_some();
        let choice = Choice::of(&parts);
        let response = next.run(axum::extract::Request::from_parts(parts, body)).await;
        let unknown = match response.status() {
            StatusCode::NOT_FOUND => !is_matched || !response.headers().contains_key(CONTENT_TYPE),
            StatusCode::METHOD_NOT_ALLOWED => true,
            _ => false,
        };
        if !(by_person && unknown) {
            return response;
        }
        // An address such as `//other.example` must not become a link.
        let f = Frame::public(&site, choice, "/");
        let shown = ErrorPage {
            title: f.t("error-not-found"),
            text: f.t("error-not-found-text"),
            code: "not_found",
            sign_in: String::new(),
            f,
        };
        let mut shown = page(response.status(), &shown);
        guard::complete(shown.headers_mut(), choice, false);
        shown
    }
}

/// Browsers name HTML when somebody opens an address; programs name JSON, anything or nothing.
fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    accepted
        .flat_map(|accept| accept.split(','))
        .any(|kind| kind.trim_start().starts_with("text/html"))
}
