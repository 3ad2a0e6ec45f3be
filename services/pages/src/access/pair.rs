//! Pairing: a device without keys shows an eight-digit code for five minutes; an administrator types it at `/ops` with
//! the device's name, and its place or channel; then the device has a session.
//!
//! ```text
//! record of table pairing:   key = keyed hash of the code   value = PairingRequest as JSON
//! ```

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_access_records::{Entry, Table};
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::problem::{Code, Problem};
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

use crate::frame::{Frame, page};
use crate::lang::{Choice, cookie};
use crate::problem_page::PageError;
use crate::session::{Area, Device, Session, Who};
use crate::site::{SharedSite, Site};

/// How long a code is shown, in seconds.
const LIFETIME_SECONDS: i64 = 300;
/// Codes have eight digits.
const CODES: u32 = 100_000_000;
const COOKIE_NAME: &str = "citycode-pairing";
const PURPOSE: &str = "pairing";

/// What a device asks for, and what an administrator answers.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PairingRequest {
    /// The pages of the device: kiosk, staff or gate.
    pub(crate) area: Area,
    /// The device as the administrator named it; `None` until then.
    pub(crate) device: Option<Device>,
    /// How often it was typed with a place or channel that does not fit the pages.
    #[serde(default)]
    pub(crate) tries: u32,
}

impl PairingRequest {
    /// The key of the record of a code.
    pub(crate) fn key(site: &Site, code: &str) -> [u8; 16] {
        site.seal.name(PURPOSE, code.as_bytes())
    }
}

#[derive(Template)]
#[template(path = "pair.html")]
struct Pair<'a> {
    f: Frame<'a>,
    /// The code in two groups of four; `None` until the device chose its pages.
    code: Option<(String, String)>,
}

/// Shows the code, or goes to the device's page once it is paired.
pub(super) async fn show(State(site): SharedSite, choice: Choice, parts: Parts) -> Result<Response, PageError> {
    let f = Frame::public(&site, choice, "/pair");
    let Some(code) = shown_code(&site, &parts) else {
        return Ok(page(StatusCode::OK, &Pair { f, code: None }));
    };
    let key = PairingRequest::key(&site, &code);
    let record = site.records.get(Table::Pairing, &key, site.now()).await?;
    let Some(record) = record else {
        // The five minutes are over: the device asks for a new code.
        return Ok(page(StatusCode::OK, &Pair { f, code: None }));
    };
    let request: PairingRequest = serde_json::from_slice(&record.value).map_err(|_| Problem::internal())?;
    if let Some(device) = request.device {
        let used = Entry {
            value: &[],
            expires_at: 0,
        };
        // Of two browsers with this code one becomes the device.
        if site
            .records
            .replace(Table::Pairing, &key, record.revision, used)
            .await?
        {
            let session = Session::begin(&site, request.area, Who::Device(device));
            let headers = [(SET_COOKIE, session.set_cookie(&site))];
            return Ok((headers, Redirect::to(request.area.path())).into_response());
        }
        return Ok(page(StatusCode::OK, &Pair { f, code: None }));
    }
    let (first, second) = code.split_at(code.len() / 2);
    let code = Some((first.to_owned(), second.to_owned()));
    Ok(page(StatusCode::OK, &Pair { f, code }))
}

/// Whether the device still waits: 204, else 410, upon which its page is loaded again.
pub(super) async fn state(State(site): SharedSite, parts: Parts) -> Result<StatusCode, PageError> {
    let Some(code) = shown_code(&site, &parts) else {
        return Ok(StatusCode::GONE);
    };
    let key = PairingRequest::key(&site, &code);
    let record = site.records.get(Table::Pairing, &key, site.now()).await?;
    let waiting = record.is_some_and(|record| {
        serde_json::from_slice::<PairingRequest>(&record.value).is_ok_and(|request| request.device.is_none())
    });
    Ok(if waiting {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::GONE
    })
}

/// The code that this browser shows.
fn shown_code(site: &Site, parts: &Parts) -> Option<String> {
    let sealed = cookie(parts, COOKIE_NAME)?;
    String::from_utf8(site.seal.open(PURPOSE, sealed)?.to_vec()).ok()
}

/// The form of the page.
#[derive(Deserialize)]
pub(super) struct Wanted {
    area: Area,
}

/// Asks for a code.
pub(super) async fn ask(State(site): SharedSite, Form(wanted): Form<Wanted>) -> Result<Response, PageError> {
    if !matches!(wanted.area, Area::Kiosk | Area::Staff | Area::Gate) {
        return Err(PageError::NotFound);
    }
    let code = format!("{:08}", site.entropy.below(CODES));
    let request = PairingRequest {
        area: wanted.area,
        device: None,
        tries: 0,
    };
    let value = serde_json::to_vec(&request).map_err(|_| Problem::internal())?;
    let now = site.now();
    let entry = Entry {
        value: &value,
        expires_at: now + LIFETIME_SECONDS,
    };
    let key = PairingRequest::key(&site, &code);
    if !site.records.create(Table::Pairing, &key, entry, now).await? {
        return Err(Problem::new(Code::Unavailable, "the pairing code is in use; try again").into());
    }
    let sealed = site.seal.seal(PURPOSE, code.as_bytes(), &*site.entropy);
    let cookie = format!(
        "{COOKIE_NAME}={sealed}; Path=/pair; Max-Age={LIFETIME_SECONDS}; SameSite=Strict; HttpOnly{}",
        site.secure_attribute()
    );
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/pair")).into_response())
}
