//! The step before an act that ends a code: it names the code, and says that it stops working at once.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use citycode_domain::policy::ChannelAct;
use http::StatusCode;
use serde::Deserialize;

use super::kind::{frame, reissue_name, with_query};
use super::subject::{Subject, channel_for, codes_of, last_of};
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Resident, SignedIn};
use crate::site::SharedSite;

#[derive(Template)]
#[template(path = "my/confirm.html")]
struct Confirm<'a> {
    f: Frame<'a>,
    label: String,
    /// `loss` or `reissue`.
    act: &'static str,
    act_name: String,
    confirm_name: String,
    expires_at: i64,
    action: String,
    back: String,
    device_bound: bool,
}

/// The query of the page.
#[derive(Deserialize)]
pub(super) struct Asked {
    act: String,
    #[serde(rename = "for")]
    relative: Option<usize>,
}

pub(super) async fn show(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let kind = site.kind(&kind).ok_or(PageError::NotFound)?;
    let subject = Subject::new(&signed_in.who, asked.relative)?;
    let mut f = frame(&site, choice, kind, &signed_in.session, &signed_in.who);
    let (act, channel_act, path) = match asked.act.as_str() {
        "loss" => ("loss", ChannelAct::ReportLoss, "loss"),
        "reissue" => ("reissue", ChannelAct::Reissue, "issue"),
        _ => return Err(PageError::NotFound),
    };
    let channel = channel_for(&site, kind, channel_act).ok_or(PageError::NotFound)?;
    let codes = codes_of(&site, &subject).await?;
    let code = last_of(&codes, kind, &subject).ok_or(PageError::NotFound)?;
    let query = subject.query();
    let act_name = if act == "loss" {
        f.t("report-loss")
    } else {
        reissue_name(&f, kind, channel)
    };
    let confirm = Confirm {
        label: f.label(&kind.label),
        confirm_name: f.t1("confirm-act", "act", &act_name),
        act,
        act_name,
        expires_at: code.expires_at,
        action: with_query(&format!("/my/{}/{path}", kind.name), &query),
        back: with_query(&format!("/my/{}", kind.name), &query),
        device_bound: kind.device_bound && act == "reissue",
        f: {
            f.path = format!("/my/{}/confirm", kind.name);
            f.query = if query.is_empty() {
                format!("act={act}")
            } else {
                format!("act={act}&{query}")
            };
            f
        },
    };
    Ok(page(StatusCode::OK, &confirm))
}
