//! Sign-out: the session ends for every portal.

use axum::Form;
use axum::extract::{OriginalUri, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::{HeaderName, SET_COOKIE};
use serde::Deserialize;

use crate::problem_page::PageError;
use crate::session::{Area, Session, Who};
use crate::site::SharedSite;

pub(super) const AREAS: [Area; 5] = [Area::My, Area::Kiosk, Area::Staff, Area::Gate, Area::Ops];
const CLEAR: HeaderName = HeaderName::from_static("clear-site-data");

/// The form of every page's header.
#[derive(Deserialize)]
pub(super) struct Leaving {
    #[serde(default)]
    form_token: String,
}

pub(super) async fn sign_out(
    State(site): SharedSite,
    OriginalUri(uri): OriginalUri,
    parts: Parts,
    Form(form): Form<Leaving>,
) -> Result<Response, PageError> {
    let area = AREAS.into_iter().find(|area| uri.path().starts_with(area.path()));
    let area = area.ok_or(PageError::NotFound)?;
    let Some(session) = Session::open(&site, &parts, area).await? else {
        return Ok(Redirect::to("/").into_response());
    };
    session.check_form(&site, &form.form_token)?;
    session.end(&site).await?;
    let shared = matches!(&session.who, Who::Resident(resident) if resident.shared_computer);
    let mut response = ([(SET_COOKIE, Session::clear_cookie(area))], Redirect::to("/")).into_response();
    if shared {
        // Nothing of the person remains in a browser that others use.
        response
            .headers_mut()
            .insert(CLEAR, http::HeaderValue::from_static("\"storage\", \"cache\""));
    }
    Ok(response)
}
