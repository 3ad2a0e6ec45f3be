//! The first page, 请刷身份证, and the end of a visit.

use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::at::AtKiosk;
use super::print_folder;
use super::visit::Visit;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;

#[derive(Template)]
#[template(path = "kiosk/idle.html")]
pub(super) struct Idle<'a> {
    pub(super) f: Frame<'a>,
    /// What the page says about the last visit; empty for nothing.
    pub(super) notice: String,
    /// Whether the last visit was finished, not ended by its time.
    pub(super) finished: bool,
    /// Why a card was not accepted; empty for nothing.
    pub(super) error: String,
    pub(super) takes_numbers: bool,
}

/// The query of the page.
#[derive(Deserialize, Default)]
pub(super) struct Told {
    #[serde(default)]
    notice: String,
}

/// Shows the page. Whoever comes here starts anew: a visit that was left ends.
pub(super) async fn show(at: AtKiosk, Query(told): Query<Told>) -> Result<Response, PageError> {
    let f = at.frame("/kiosk");
    let notice = match told.notice.as_str() {
        "finished" => f.t("kiosk-finished"),
        "ended" => f.t("kiosk-ended"),
        _ => String::new(),
    };
    let idle = Idle {
        notice,
        finished: told.notice == "finished",
        error: String::new(),
        takes_numbers: at.takes_numbers(),
        f,
    };
    let mut response = page(StatusCode::OK, &idle);
    if at.visit.is_some() {
        close(&at).await?;
        keep(&mut response, &Visit::clear_cookie());
    }
    Ok(response)
}

/// The form of every step.
#[derive(Deserialize)]
pub(super) struct Leaving {
    #[serde(default)]
    form_token: String,
}

/// 结束办理: nothing of the person remains, and the next one finds Chinese and the standard view.
pub(super) async fn finish(at: AtKiosk, Form(form): Form<Leaving>) -> Result<Response, PageError> {
    at.check_form(&form.form_token)?;
    close(&at).await?;
    let mut response = Redirect::to("/kiosk?notice=finished").into_response();
    keep(&mut response, &Visit::clear_cookie());
    keep(&mut response, &Choice::default().set_cookie());
    Ok(response)
}

/// Ends the visit and deletes its print jobs.
async fn close(at: &AtKiosk) -> Result<(), PageError> {
    // The files first: if they cannot be deleted, the visit is still there to try again.
    print_folder::clear(&at.site, &at.device.id).await?;
    if let Some(visit) = &at.visit {
        visit.end(&at.site).await?;
    }
    Ok(())
}

/// Adds a cookie to an answer.
pub(super) fn keep(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}
