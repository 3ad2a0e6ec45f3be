//! The step before an act: it names the code that stops working, with its expiry.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_service_kit::problem::Code;
use citycode_wire::proto::issuer::v1::CodeLife;
use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::at::InVisit;
use super::choose::{act_name, codes_of, elsewhere, last, status, with_for};
use super::visit::Act;
use crate::frame::{Frame, page};
use crate::problem_page::PageError;

#[derive(Template)]
#[template(path = "kiosk/confirm.html")]
struct Confirm<'a> {
    f: Frame<'a>,
    person: String,
    act: &'static str,
    kind: String,
    label: String,
    title: String,
    confirm_name: String,
    /// Kind and expiry of the code that stops working; `None` if none does.
    dies: Option<String>,
    for_relative: bool,
    command_id: Uuid,
    back: String,
}

/// The query of the page.
#[derive(Deserialize)]
pub(super) struct Wanted {
    act: String,
    kind: String,
    #[serde(rename = "for")]
    whom: Option<String>,
}

pub(super) async fn show(visiting: InVisit, Query(wanted): Query<Wanted>) -> Result<Response, PageError> {
    let InVisit { at, visit } = &visiting;
    let act = Act::parse(&wanted.act).ok_or(PageError::NotFound)?;
    let for_relative = wanted.whom.as_deref() == Some("relative") && visit.relative.is_some();
    let kind = at.kind(&wanted.kind, act, for_relative)?;
    // Back after the act: the page says what was done, and offers nothing that would be done twice.
    if visit
        .last_of(&kind.name, for_relative)
        .is_some_and(|done| done.asked.act == act)
    {
        return Ok(Redirect::to("/kiosk/done").into_response());
    }
    let mut f = at.frame("/kiosk/confirm");
    f.query = with_for(&format!("?act={}&kind={}", act.word(), kind.name), for_relative);
    f.query.remove(0);
    let back = with_for("/kiosk/codes", for_relative);
    let codes = match codes_of(&visiting, visit.relative_if(for_relative).as_deref()).await {
        Ok(codes) => codes,
        Err(problem) if problem.code() == Code::NotRegistered && visit.name.is_some() => Vec::new(),
        Err(problem) => return Ok(elsewhere(f, status(&problem), &problem)),
    };
    let code = last(&codes, kind);
    let life = code.map(citycode_wire::proto::issuer::v1::CodeState::state);
    let ends = matches!(life, Some(CodeLife::Valid | CodeLife::Suspended));
    let possible = match act {
        Act::Issue => !ends,
        Act::Reissue => life == Some(CodeLife::Valid),
        Act::Loss => ends,
    };
    if !possible || visit.is_full() {
        return Ok(Redirect::to(&back).into_response());
    }
    let name = act_name(&f, act, kind, at.channel()?);
    let label = f.label(&kind.label);
    let confirm = Confirm {
        person: visiting.person(&f, for_relative),
        act: act.word(),
        kind: kind.name.clone(),
        title: f.t2("kiosk-act-kind", ("act", &name), ("kind", &label)),
        confirm_name: f.t1("confirm-act", "act", &name),
        dies: code.filter(|_| ends).map(|code| {
            let until = f.valid_until(&code.expires_at);
            f.t2("kiosk-kind-until", ("kind", &label), ("until", &until))
        }),
        for_relative,
        command_id: visit.asked(&at.site, act, &kind.name, for_relative).command_id,
        back,
        label,
        f,
    };
    Ok(page(StatusCode::OK, &confirm))
}
