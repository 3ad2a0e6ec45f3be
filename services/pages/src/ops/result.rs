//! What an act of an operator did.

use askama::Template;
use axum::response::Response;
use citycode_service_kit::problem::Problem;
use http::StatusCode;

use super::access::{Operating, TabLink};
use crate::acts::ActResult;
use crate::frame::{Frame, page};

/// The form that asks again with the same command id, after an unknown outcome.
pub(super) struct Again {
    pub(super) action: String,
    pub(super) fields: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "ops/result.html")]
struct ResultPage<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    title: String,
    result: ActResult,
    again: Again,
    back: String,
}

/// An act that was done, and ended or changed no code.
pub(super) fn done(headline: String) -> ActResult {
    ActResult {
        result: "done".to_owned(),
        outcome: "",
        headline,
        died: Vec::new(),
        alive: Vec::new(),
    }
}

/// Shows the result of an act.
pub(super) fn show(
    op: &Operating,
    f: Frame<'_>,
    title: String,
    result: Result<ActResult, Problem>,
    again: Again,
    back: &str,
) -> Response {
    let status = result
        .as_ref()
        .err()
        .map(|problem| problem.clone().of_change().status());
    let status = status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::OK);
    let result = result.unwrap_or_else(|problem| ActResult::failed(&f, &problem));
    let shown = ResultPage {
        tabs: op.tabs(&f),
        title,
        result,
        again,
        back: back.to_owned(),
        f,
    };
    page(status, &shown)
}
