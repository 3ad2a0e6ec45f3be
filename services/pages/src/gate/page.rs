//! `/gate`: full screen, for the public. It waits for a code, shows a verdict for three seconds, and waits again.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use citycode_domain::policy::PlacePolicy;
use citycode_wire::proto::verifier::v1::VerifyRequest;
use http::StatusCode;
use serde::Deserialize;

use crate::checks::ask::{Failure, ask};
use crate::checks::checkpoint::AtCheckpoint;
use crate::checks::knowledge::{self, Knowledge};
use crate::checks::scanned::{scan_id, unattended_scan_of};
use crate::checks::verdict::Verdict;
use crate::checks::wants_part;
use crate::checks::wording::Setting;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};

#[derive(Template)]
#[template(path = "gate/page.html")]
struct GatePage<'a> {
    f: &'a Frame<'a>,
    label: String,
    /// What it asks people to show.
    asks: String,
    known: Option<Knowledge>,
    verdict: Option<&'a Verdict>,
    cannot: Verdict,
    scan_id: String,
}

/// One request of a gate, at its place.
struct Gate<'a> {
    site: &'a Site,
    f: Frame<'a>,
    at: AtCheckpoint,
    place: &'a PlacePolicy,
}

impl<'a> Gate<'a> {
    fn new(site: &'a Site, choice: Choice, at: AtCheckpoint) -> Result<Self, PageError> {
        let place = at.place(site, None).ok_or(PageError::Forbidden)?;
        let f = Frame::of(site, choice, "/gate", &at.session, at.device.name.clone());
        Ok(Self { site, f, at, place })
    }

    fn setting(&self) -> Setting {
        Setting {
            gate: true,
            registers: self.place.registers,
        }
    }

    /// What people show: the policy's first kind that the place accepts, and the ID card where the gate takes it.
    fn asks(&self) -> String {
        let mut kinds = self.site.policy.kinds.iter();
        let kind = kinds.find(|kind| self.place.acceptance(kind.kind).is_some());
        let kind = kind.map(|kind| self.f.label(&kind.label)).unwrap_or_default();
        let id = if self.place.accepts_id_card && self.site.is_demo() {
            "gate-ask-id-card"
        } else {
            "gate-ask"
        };
        self.f.t1(id, "kind", &kind)
    }

    async fn page(&self, status: StatusCode, verdict: Option<&Verdict>) -> Response {
        let f = &self.f;
        let shown = GatePage {
            f,
            label: f.label(&self.place.label),
            asks: self.asks(),
            known: Knowledge::ask(self.site, &self.at, self.place).await,
            verdict,
            cannot: Verdict::failed(f, self.setting(), Failure::NoAnswer),
            scan_id: f.command_id(),
        };
        page(status, &shown)
    }
}

pub(super) async fn show(State(site): SharedSite, choice: Choice, at: AtCheckpoint) -> Result<Response, PageError> {
    let gate = Gate::new(&site, choice, at)?;
    Ok(gate.page(StatusCode::OK, None).await)
}

/// The age of the knowledge, which the page asks for each second.
pub(super) async fn state(State(site): SharedSite, choice: Choice, at: AtCheckpoint) -> Response {
    match Gate::new(&site, choice, at) {
        Ok(gate) => knowledge::part(&gate.f, Knowledge::ask(&site, &gate.at, gate.place).await),
        Err(error) => error.into_response(),
    }
}

/// The form of the page.
#[derive(Deserialize)]
pub(super) struct GateScan {
    #[serde(default)]
    form_token: String,
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
    headers: HeaderMap,
    Form(form): Form<GateScan>,
) -> Result<Response, PageError> {
    let gate = Gate::new(&site, choice, at)?;
    if form.form_token != gate.f.form_token {
        return Err(PageError::StaleForm);
    }
    if form.code.trim().is_empty() {
        return Ok(gate.page(StatusCode::UNPROCESSABLE_ENTITY, None).await);
    }
    let request = VerifyRequest {
        place: gate.place.name.clone(),
        scan: Some(unattended_scan_of(&site, &form.code)),
        scan_id: scan_id(&site, &form.scan_id),
        ..VerifyRequest::default()
    };
    let asked = ask(&site, &gate.at.caller(&site, gate.place), request).await;
    let verdict = Verdict::of(&gate.f, gate.setting(), &asked);
    if wants_part(&headers) {
        return Ok(verdict.part(&gate.f));
    }
    Ok(gate.page(StatusCode::OK, Some(&verdict)).await)
}
