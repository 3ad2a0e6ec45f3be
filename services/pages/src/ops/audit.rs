//! `/ops/audit`: why a verdict was given, and what another policy would have decided.

mod explained;
mod what_if;

use askama::Template;
use axum::Form;
use axum::extract::{Multipart, State};
use axum::response::{Redirect, Response};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1::{ExplainRequest, RecordedScan, explain_request};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

use super::access::{Operating, TabLink};
use super::asking::{purpose, sentence};
use super::fields::{Faults, Field, Input};
use super::numbers;
use super::policy::Sent;
use super::streamed::{self, Streamed};
use crate::frame::{Frame, page};
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};
use explained::Explained;

/// The period that the form of what-if offers.
const OFFERED_SECONDS: i64 = 7 * 86_400;
const MOST_NAME_CHARS: usize = 64;

#[derive(Template)]
#[template(path = "ops/audit.html")]
struct AuditPage<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    scan: Vec<Field>,
    what_if: Vec<Field>,
    problem: Option<(String, String)>,
    explained: Option<Explained>,
}

/// The form that asks about a scan.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Typed {
    form_token: String,
    device: String,
    scan_id: String,
    purpose: String,
}

pub(super) async fn show(State(site): SharedSite, op: Operating) -> Response {
    let f = op.frame(&site, "/ops/audit");
    page(StatusCode::OK, &audit_page(&site, &op, f, &Typed::default()))
}

/// A reload of an answer leads to the forms.
pub(super) async fn again(_: Operating) -> Redirect {
    Redirect::to("/ops/audit")
}

fn audit_page<'a>(site: &Site, op: &Operating, f: Frame<'a>, typed: &Typed) -> AuditPage<'a> {
    let now = site.now();
    let times = (
        numbers::local_input(site, now - OFFERED_SECONDS),
        numbers::local_input(site, now),
    );
    AuditPage {
        tabs: op.tabs(&f),
        scan: vec![
            Field::new(&f, "device", Input::Line, &typed.device),
            Field::new(&f, "scan_id", Input::Line, &typed.scan_id),
            Field::new(&f, "purpose", Input::Line, &typed.purpose),
        ],
        what_if: what_if_fields(&f, (&times.0, &times.1), "", ""),
        problem: None,
        explained: None,
        f,
    }
}

fn what_if_fields(f: &Frame<'_>, (from, to): (&str, &str), purpose: &str, policy: &str) -> Vec<Field> {
    let mut why = Field::new(f, "purpose", Input::Line, purpose);
    // The page has two fields for a purpose, and ids are unique.
    why.name = "why";
    vec![
        Field::new(f, "from", Input::Time, from),
        Field::new(f, "to", Input::Time, to),
        why,
        Field::new(f, "policy", Input::Long, policy),
    ]
}

/// Explains a recorded verdict.
pub(super) async fn explain(
    State(site): SharedSite,
    op: Operating,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    op.check(&site, &typed.form_token)?;
    let f = op.frame(&site, "/ops/audit");
    let mut faults = Faults::default();
    for (name, typed) in [("device", &typed.device), ("scan_id", &typed.scan_id)] {
        if typed.trim().is_empty() || typed.trim().chars().count() > MOST_NAME_CHARS {
            faults.add(name, f.t("ops-name-wrong"));
        }
    }
    let why = purpose(&f, &typed.purpose, &mut faults);
    if !faults.is_empty() {
        let mut shown = audit_page(&site, &op, f, &typed);
        faults.show_in(&mut shown.scan);
        return Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &shown));
    }
    let request = ExplainRequest {
        purpose: why,
        question: Some(explain_request::Question::Scan(RecordedScan {
            device: typed.device.trim().to_owned(),
            scan_id: typed.scan_id.trim().to_owned(),
            day: None,
        })),
    };
    let request = site.request(&op.caller()?, request)?;
    let answer = site.clients.audit.clone().explain(request).await;
    let mut shown = audit_page(&site, &op, f, &typed);
    match answer {
        Ok(answer) => {
            shown.explained = Some(Explained::of(&shown.f, &answer.into_inner()));
            Ok(page(StatusCode::OK, &shown))
        }
        Err(status) => {
            let problem = Problem::from(status);
            let text = match problem.code() {
                Code::NoRecord => shown.f.t("ops-no-record"),
                Code::Retention => shown.f.t("ops-retention"),
                _ => sentence(&shown.f, &problem),
            };
            shown.problem = Some((problem.code().as_str().to_owned(), text));
            let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(page(status, &shown))
        }
    }
}

/// Judges the scans of a period under another policy.
pub(super) async fn what_if(State(site): SharedSite, op: Operating, form: Multipart) -> Result<Response, PageError> {
    let sent = Sent::read(form).await?;
    op.check(&site, &sent.form_token)?;
    let f = op.frame(&site, "/ops/audit");
    let mut faults = Faults::default();
    let (from, to) = (
        numbers::local_time(&site, sent.field("from")),
        numbers::local_time(&site, sent.field("to")),
    );
    if from.is_none() {
        faults.add("from", f.t("ops-time-wrong"));
    }
    if to.is_none() {
        faults.add("to", f.t("ops-time-wrong"));
    } else if from.is_some() && to <= from {
        faults.add("to", f.t("ops-period-wrong"));
    }
    let mut of_purpose = Faults::default();
    let why = purpose(&f, sent.field("why"), &mut of_purpose);
    of_purpose.rename("why", &mut faults);
    if sent.is_unreadable {
        faults.add("policy", f.t("ops-policy-unreadable"));
    } else if sent.policy.trim().is_empty() {
        faults.add("policy", f.t("ops-policy-empty"));
    } else if let Err(error) = citycode_policy_file::parse(&sent.policy) {
        faults.add("policy", f.t1("ops-policy-invalid", "error", &error.to_string()));
    }
    let (Some(from), Some(to), true) = (from, to, faults.is_empty()) else {
        let mut shown = audit_page(&site, &op, f, &Typed::default());
        let period = (sent.field("from"), sent.field("to"));
        shown.what_if = what_if_fields(&shown.f, period, sent.field("why"), &sent.policy);
        faults.show_in(&mut shown.what_if);
        return Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &shown));
    };
    let shown = Streamed {
        tabs: op.tabs(&f),
        title: f.t("ops-what-if"),
        script: "",
        back: "/ops/audit",
        f,
    };
    let asked = what_if::Asked {
        purpose: why,
        policy: sent.policy,
        from,
        to,
    };
    let (caller, choice, own) = (op.caller()?, op.choice, Arc::clone(&site));
    Ok(streamed::answer(&shown, move |parts| async move {
        what_if::tell(&own, choice, &caller, asked, &parts).await;
    }))
}
