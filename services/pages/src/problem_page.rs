//! What a page answers if it cannot be shown.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use citycode_access_records::Unavailable;
use citycode_service_kit::problem::{Code, Problem};
use http::StatusCode;

use crate::frame::{Frame, page};
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
    /// A service or the records cannot be asked, or refuse.
    Problem(Problem),
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
            return Redirect::to(&format!(
                "/sign-in?to={path}&area={}",
                area.path().trim_start_matches('/')
            ))
            .into_response();
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
            Self::Forbidden | Self::StaleForm => StatusCode::FORBIDDEN,
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
    let f = Frame::public(&site, choice, &path);
    let (id, code) = match &*error {
        PageError::NotFound => ("error-not-found", "not_found"),
        PageError::Forbidden => ("error-forbidden", "not_allowed"),
        PageError::StaleForm => ("error-stale-form", "stale_form"),
        PageError::Problem(problem) => ("error-unavailable", problem.code().as_str()),
        PageError::SignIn(..) => return response,
    };
    let text = match &*error {
        PageError::Problem(problem) => f.problem(problem),
        _ => f.t(&format!("{id}-text")),
    };
    let title = f.t(id);
    page(error.status(), &ErrorPage { title, text, code, f })
}
