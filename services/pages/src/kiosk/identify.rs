//! Who stands at the kiosk: an attested reading of the ID card, or a typed number that an attendant confirms.
//!
//! A typed number is only checked for its form before that. No service is asked, so nobody learns from the page or from
//! its timing whether the number is known (R31).

use askama::Template;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Form;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_access_records::{Entry, Table};
use citycode_domain::name::PersonName;
use http::StatusCode;
use serde::Deserialize;

use super::at::AtKiosk;
use super::idle::{Idle, keep};
use super::reading::{self, MAX_AGE_SECONDS, NotAccepted, Reading};
use super::visit::{Proof, Visit};
use super::{number, print_folder};
use crate::frame::{Frame, page};
use crate::problem_page::PageError;

/// A reading is remembered so much longer than it is valid, in seconds: the clocks of portals differ.
const REMEMBERED_LONGER: i64 = 60;
/// A reader that types twice does so within this time, in seconds: the second text is the same reading.
const TYPED_TWICE_SECONDS: i64 = 10;
/// Longest PIN that is looked at.
const MAX_PIN_BYTES: usize = 64;

#[derive(Template)]
#[template(path = "kiosk/number.html")]
struct Number<'a> {
    f: Frame<'a>,
    typed: String,
    error: String,
    /// Whether the number is a relative's.
    relative: bool,
}

#[derive(Template)]
#[template(path = "kiosk/identify.html")]
struct Identify<'a> {
    f: Frame<'a>,
    error: String,
    has_reader: bool,
    has_attendant: bool,
}

/// The page on which a number is typed.
pub(super) fn number_page(at: &AtKiosk, relative: bool, typed: String, error: String) -> Response {
    let f = at.frame(if relative { "/kiosk/relative" } else { "/kiosk/number" });
    let status = if error.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    page(
        status,
        &Number {
            f,
            typed,
            error,
            relative,
        },
    )
}

pub(super) async fn show_number(at: AtKiosk) -> Response {
    if at.takes_numbers() {
        number_page(&at, false, String::new(), String::new())
    } else {
        Redirect::to("/kiosk").into_response()
    }
}

/// The form of the first page and of the page for a number.
#[derive(Deserialize)]
pub(super) struct Presented {
    #[serde(default)]
    form_token: String,
    /// What the card reader typed.
    card: Option<String>,
    /// What was typed at the keypad.
    #[serde(default)]
    id_number: String,
}

/// Begins a visit.
pub(super) async fn present(at: AtKiosk, Form(form): Form<Presented>) -> Result<Response, PageError> {
    at.check_form(&form.form_token)?;
    match &form.card {
        Some(card) if card.trim_start().starts_with(reading::MARK) || !at.takes_numbers() => read_card(&at, card).await,
        // A simple reader types the bare number: that is worth no more than a typed one.
        Some(card) => take_number(&at, card).await,
        None => take_number(&at, &form.id_number).await,
    }
}

async fn read_card(at: &AtKiosk, typed: &str) -> Result<Response, PageError> {
    let key = at.identification().and_then(|how| how.reader_key.as_ref());
    let read = match key {
        Some(key) => reading::check(typed, key, at.site.now()),
        None => Err(NotAccepted::Unreadable),
    };
    let read = match read {
        Ok(read) => read,
        Err(NotAccepted::Unreadable) => return Ok(read_again(at, "card-unreadable")),
        Err(NotAccepted::Old) => return Ok(read_again(at, "card-old")),
    };
    let id_number = number::tidy(&read.id_number);
    let f = at.frame("/kiosk");
    let name = read.name.as_deref().map(PersonName::parse).transpose();
    let (Ok(()), Ok(name)) = (number::check(&at.site, &f, &id_number), name) else {
        return Ok(read_again(at, "card-unreadable"));
    };
    let visit_id = at.site.seal.name("kiosk-visit", &read.mac);
    let visit = Visit::begin(
        &at.site,
        visit_id,
        id_number,
        name.map(|name| name.as_str().to_owned()),
        Proof::CardReader,
    );
    if !use_once(at, &read, &visit).await? {
        return Ok(read_again(at, "card-used"));
    }
    begin(at, visit).await
}

/// Uses a reading, which works once. The same text from the same kiosk right after is a reader that types twice: the
/// visit is the same one, unless it ended.
async fn use_once(at: &AtKiosk, read: &Reading, visit: &Visit) -> Result<bool, PageError> {
    let (site, now) = (&at.site, at.site.now());
    let key = site.seal.name("card-reading", &read.mac);
    let used = format!("{} {now}", at.session.id);
    let entry = Entry {
        value: used.as_bytes(),
        expires_at: read.read_at + MAX_AGE_SECONDS + REMEMBERED_LONGER,
    };
    if site.records.create(Table::CardReading, &key, entry, now).await? {
        return Ok(true);
    }
    let record = site.records.get(Table::CardReading, &key, now).await?;
    let record = record.and_then(|record| String::from_utf8(record.value).ok());
    let same_kiosk = record
        .as_deref()
        .and_then(|used| used.split_once(' '))
        .is_some_and(|(session, used_at)| {
            let used_at = used_at.parse().unwrap_or(i64::MIN);
            session == at.session.id && now.saturating_sub(used_at) <= TYPED_TWICE_SECONDS
        });
    if !same_kiosk {
        return Ok(false);
    }
    Ok(site
        .records
        .get(Table::EndedSession, visit.id.as_bytes(), now)
        .await?
        .is_none())
}

async fn take_number(at: &AtKiosk, typed: &str) -> Result<Response, PageError> {
    if !at.takes_numbers() {
        return Ok(read_again(at, "card-unreadable"));
    }
    let id_number = number::tidy(typed);
    let f = at.frame("/kiosk/number");
    if let Err(error) = number::check(&at.site, &f, &id_number) {
        return Ok(number_page(at, false, id_number, error));
    }
    if let Err(error) = count_number(at, &id_number) {
        return Ok(number_page(at, false, String::new(), error));
    }
    let proof = if at.site.is_demo() { Proof::Demo } else { Proof::None };
    begin(at, Visit::begin(&at.site, at.site.draw(), id_number, None, proof)).await
}

/// Counts a typed number against the limit of this kiosk. The sample residents of a demo are free: nobody has to guess
/// their numbers.
///
/// # Errors
/// The limit is exceeded: the sentence that says so.
pub(super) fn count_number(at: &AtKiosk, id_number: &str) -> Result<(), String> {
    let site = &at.site;
    if site.demo.iter().any(|person| person.id_number == id_number) {
        return Ok(());
    }
    let admitted = site.kiosk_tries.numbers.admit(&at.device.id, site.clock.monotonic());
    admitted.map_err(|_| at.frame("/kiosk").t("problem-rate-limited"))
}

/// Starts the visit, and removes what an earlier one may have left.
async fn begin(at: &AtKiosk, mut visit: Visit) -> Result<Response, PageError> {
    print_folder::clear(&at.site, &at.device.id).await?;
    let next = if visit.proof == Proof::None {
        "/kiosk/identify"
    } else {
        "/kiosk/who"
    };
    let mut response = Redirect::to(next).into_response();
    keep(&mut response, &visit.set_cookie(&at.site, &at.session));
    Ok(response)
}

fn read_again(at: &AtKiosk, why: &str) -> Response {
    let f = at.frame("/kiosk");
    let idle = Idle {
        notice: String::new(),
        finished: false,
        error: f.t(why),
        takes_numbers: at.takes_numbers(),
        f,
    };
    page(StatusCode::UNPROCESSABLE_ENTITY, &idle)
}

fn identify_page(at: &AtKiosk, error: String) -> Response {
    let status = if error.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let identify = Identify {
        f: at.frame("/kiosk/identify"),
        error,
        has_reader: at.has_reader(),
        has_attendant: at.has_attendant(),
    };
    page(status, &identify)
}

/// The page after a typed number: somebody has to confirm it. It says nothing about the number.
pub(super) async fn show_identify(at: AtKiosk) -> Response {
    match &at.visit {
        Some(visit) if visit.proof == Proof::None => identify_page(&at, String::new()),
        Some(_) => Redirect::to("/kiosk/who").into_response(),
        None => Redirect::to("/kiosk?notice=ended").into_response(),
    }
}

/// The form of that page.
#[derive(Deserialize)]
pub(super) struct Confirmed {
    #[serde(default)]
    form_token: String,
    #[serde(default)]
    pin: String,
}

/// An attendant confirms that the person is whom the number names.
pub(super) async fn confirm(mut at: AtKiosk, Form(form): Form<Confirmed>) -> Result<Response, PageError> {
    at.check_form(&form.form_token)?;
    if form.pin.trim_start().starts_with(reading::MARK) {
        return read_card(&at, &form.pin).await;
    }
    let Some(mut visit) = at.visit.take() else {
        return Ok(Redirect::to("/kiosk?notice=ended").into_response());
    };
    let site = &at.site;
    if site
        .kiosk_tries
        .pins
        .admit(&at.device.id, site.clock.monotonic())
        .is_err()
    {
        let error = at.frame("/kiosk").t("problem-rate-limited");
        return Ok(identify_page(&at, error));
    }
    let expected = at.identification().and_then(|how| how.attendant_pin.as_ref());
    let typed = number::tidy(&form.pin);
    // Pseudonyms of equal length are compared, so that the time of the comparison says nothing about the PIN.
    let name = |pin: &str| site.seal.name("attendant-pin", pin.as_bytes());
    let right = form.pin.len() <= MAX_PIN_BYTES
        && expected.is_some_and(|pin| verify_slices_are_equal(&name(&number::tidy(pin)), &name(&typed)).is_ok());
    if !right {
        let error = at.frame("/kiosk").t("pin-wrong");
        return Ok(identify_page(&at, error));
    }
    visit.proof = Proof::Attendant;
    let mut response = Redirect::to("/kiosk/who").into_response();
    keep(&mut response, &visit.set_cookie(site, &at.session));
    Ok(response)
}
