//! The scan of a code or ID card.

use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::response::Response;
use citycode_domain::admission::Reason;
use citycode_wire::proto::verifier::v1::VerifyRequest;
use citycode_wire::proto::verifier::v1::verify_request::Scan;
use http::StatusCode;
use serde::Deserialize;

use super::compare::Pending;
use super::page::{Desk, Errors};
use super::recent::ID_CARD;
use crate::checks::ask::{Asked, ask};
use crate::checks::checkpoint::AtCheckpoint;
use crate::checks::scanned::{scan_id, scan_of};
use crate::checks::verdict::{Step, Verdict};
use crate::checks::wants_part;
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::site::SharedSite;

/// The form of the page.
#[derive(Deserialize)]
pub(super) struct ScanForm {
    #[serde(default)]
    form_token: String,
    #[serde(default)]
    place: String,
    #[serde(default)]
    code: String,
    /// The id of this scan (R20): a form that is sent twice is one scan. Scripts send one for each scan, or none.
    #[serde(default)]
    scan_id: String,
}

pub(super) async fn scan(
    State(site): SharedSite,
    choice: Choice,
    at: AtCheckpoint,
    parts: Parts,
    Form(form): Form<ScanForm>,
) -> Result<Response, PageError> {
    let mut desk = Desk::new(&site, choice, at, Some(&form.place), &parts)?;
    desk.check_token(&form.form_token)?;
    if form.code.trim().is_empty() {
        let errors = Errors {
            code: Some(desk.f.t("scan-missing")),
            ..Errors::default()
        };
        return Ok(desk.page(StatusCode::UNPROCESSABLE_ENTITY, None, errors).await);
    }
    let verdict = judge(&mut desk, scan_of(&site, &form.code), &scan_id(&site, &form.scan_id)).await;
    Ok(desk.answer(&verdict, wants_part(&parts.headers)).await)
}

/// Asks for the verdict, and adds it to the last scans.
pub(super) async fn judge(desk: &mut Desk<'_>, scan: Scan, scan_id: &str) -> Verdict {
    let request = VerifyRequest {
        place: desk.place.name.clone(),
        scan: Some(scan.clone()),
        scan_id: scan_id.to_owned(),
        ..VerifyRequest::default()
    };
    let asked = ask(desk.site, &desk.at.caller(desk.site, desk.place), request).await;
    let (kind, code) = match scan {
        Scan::IdCard(_) => (ID_CARD, None),
        Scan::Code(code) => ("", Some(code)),
    };
    let verdict = Verdict::of(&desk.f, desk.setting(), &asked);
    desk.recent.add(desk.site.now(), desk.place.registers, &asked, kind);
    match (asked, code) {
        (
            Asked::Verdict {
                reason: Reason::IdCheckRequired,
                kind,
                expires_at,
                ..
            },
            Some(code),
        ) => {
            let pending = Pending {
                place: desk.place.name.clone(),
                code,
                scan_id: scan_id.to_owned(),
                at: desk.site.now(),
                kind,
                expires_at,
                number: None,
            };
            let step = Step::Number {
                scan: pending.seal(desk.site, &desk.at.session),
                typed: String::new(),
                error: None,
            };
            verdict.with_step(step)
        }
        _ => verdict,
    }
}
