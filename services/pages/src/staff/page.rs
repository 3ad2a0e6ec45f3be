//! `/staff`: the place and its connection, the verdict, the input, and the last scans.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use citycode_domain::policy::PlacePolicy;
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::Deserialize;

use super::recent::{RecentScans, ShownScan};
use crate::checks::ask::Failure;
use crate::checks::checkpoint::AtCheckpoint;
use crate::checks::knowledge::{self, Knowledge};
use crate::checks::verdict::Verdict;
use crate::checks::wording::Setting;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};

/// The query `?place=NAME`.
#[derive(Deserialize, Default)]
pub(super) struct AtPlace {
    place: Option<String>,
}

#[derive(Template)]
#[template(path = "staff/page.html")]
struct StaffPage<'a> {
    f: &'a Frame<'a>,
    place: &'a PlacePolicy,
    label: String,
    device: &'a str,
    places: Vec<PlaceLink>,
    known: Option<Knowledge>,
    verdict: Option<&'a Verdict>,
    cannot: Verdict,
    errors: Errors,
    recent: Vec<ShownScan>,
    scan_id: String,
}

/// A place of the device.
struct PlaceLink {
    name: String,
    label: String,
    current: bool,
}

/// What is wrong with the input.
#[derive(Default)]
pub(super) struct Errors {
    pub(super) code: Option<String>,
    pub(super) image: Option<String>,
}

/// One request at a place.
pub(super) struct Desk<'a> {
    pub(super) site: &'a Site,
    pub(super) f: Frame<'a>,
    pub(super) at: AtCheckpoint,
    pub(super) place: &'a PlacePolicy,
    pub(super) recent: RecentScans,
}

impl<'a> Desk<'a> {
    /// The request of a device at the place with this name.
    ///
    /// # Errors
    /// The device does not scan there.
    pub(super) fn new(
        site: &'a Site,
        choice: Choice,
        at: AtCheckpoint,
        place: Option<&str>,
        parts: &Parts,
    ) -> Result<Self, PageError> {
        let place = place.filter(|name| !name.is_empty());
        let place = at.place(site, place).ok_or(PageError::Forbidden)?;
        let mut f = Frame::of(site, choice, "/staff", &at.session, at.device.name.clone());
        f.query = format!("place={}", place.name);
        let recent = RecentScans::of(site, parts, &at.session);
        Ok(Self {
            site,
            f,
            at,
            place,
            recent,
        })
    }

    /// Checks that the form is of this session.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn check_token(&self, token: &str) -> Result<(), PageError> {
        if token == self.f.form_token {
            Ok(())
        } else {
            Err(PageError::StaleForm)
        }
    }

    pub(super) fn setting(&self) -> Setting {
        Setting {
            gate: false,
            registers: self.place.registers,
        }
    }

    /// The answer with a verdict: a part for a script, else the whole page.
    pub(super) async fn answer(&self, verdict: &Verdict, part: bool) -> Response {
        let mut response = if part {
            verdict.part(&self.f)
        } else {
            self.page(StatusCode::OK, Some(verdict), Errors::default()).await
        };
        if let Ok(cookie) = self.recent.set_cookie(self.site, &self.at.session).parse() {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// The whole page.
    pub(super) async fn page(&self, status: StatusCode, verdict: Option<&Verdict>, errors: Errors) -> Response {
        let f = &self.f;
        let places = self.at.places(self.site).map(|place| PlaceLink {
            name: place.name.clone(),
            label: f.label(&place.label),
            current: place.name == self.place.name,
        });
        let shown = StaffPage {
            f,
            place: self.place,
            label: f.label(&self.place.label),
            device: &self.at.device.name,
            places: places.collect(),
            known: Knowledge::ask(self.site, &self.at, self.place).await,
            verdict,
            cannot: Verdict::failed(f, self.setting(), Failure::NoAnswer),
            errors,
            recent: self.recent.shown(f),
            scan_id: f.command_id(),
        };
        page(status, &shown)
    }
}

impl StaffPage<'_> {
    /// Whether the next input is the number of an ID card, which then gets the focus.
    fn waits_for_staff(&self) -> bool {
        self.verdict.is_some_and(|verdict| !verdict.step.is_nothing())
    }
}

pub(super) async fn show(
    State(site): SharedSite,
    choice: Choice,
    at: AtCheckpoint,
    Query(query): Query<AtPlace>,
    parts: Parts,
) -> Result<Response, PageError> {
    let desk = Desk::new(&site, choice, at, query.place.as_deref(), &parts)?;
    Ok(desk.page(StatusCode::OK, None, Errors::default()).await)
}

/// The age of the knowledge, which the page asks for each second.
pub(super) async fn state(
    State(site): SharedSite,
    choice: Choice,
    at: AtCheckpoint,
    Query(query): Query<AtPlace>,
    parts: Parts,
) -> Response {
    match Desk::new(&site, choice, at, query.place.as_deref(), &parts) {
        Ok(desk) => knowledge::part(&desk.f, Knowledge::ask(&site, &desk.at, desk.place).await),
        Err(error) => error.into_response(),
    }
}
