//! Sign-in: in a demo as one of the sample residents, or at one of the sample devices.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_access_records::{Entry, Table};
use citycode_domain::name::mask;
use citycode_domain::policy::{Acceptance, PlacePolicy};
use citycode_service_kit::problem::Problem;
use data_encoding::HEXLOWER;
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::Deserialize;

use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Area, Device, Operator, Resident, Session, Who};
use crate::site::{SharedSite, Site};

/// How long a device is recorded, in seconds.
const DEVICE_SECONDS: i64 = 365 * 86_400;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    f: Frame<'a>,
    people: Vec<Person>,
    /// Whether people sign in through a provider.
    provider: bool,
    identities: [&'static str; 8],
    /// The area that the reader wanted.
    area: &'static str,
    to: String,
    /// Whether the provider is to ask for an account again.
    again: bool,
}

struct Person {
    number: usize,
    name: String,
    role: String,
    id_number: String,
}

/// The sample devices and roles of a demo.
const IDENTITIES: [&str; 8] = [
    "kiosk",
    "staff",
    "gate",
    "officer",
    "health_authority",
    "auditor",
    "privacy",
    "admin",
];

/// Where the reader wanted to go.
#[derive(Deserialize, Default)]
pub(super) struct Wanted {
    #[serde(default)]
    to: String,
    #[serde(default)]
    area: String,
    #[serde(default)]
    again: String,
}

pub(super) async fn show(State(site): SharedSite, choice: Choice, Query(wanted): Query<Wanted>) -> Response {
    let mut f = Frame::public(&site, choice, "/sign-in");
    let to = page_of_ours(&wanted.to).to_owned();
    let area = match wanted.area.as_str() {
        "ops" => "ops",
        "staff" => "staff",
        "kiosk" => "kiosk",
        "gate" => "gate",
        _ => "my",
    };
    let again = wanted.again == "yes";
    f.query = format!("to={to}&area={area}{}", if again { "&again=yes" } else { "" });
    let people = site.demo.iter().enumerate().map(|(number, person)| Person {
        number,
        name: person.name.clone(),
        role: f.t(&person.role),
        id_number: person.id_number.clone(),
    });
    let people = people.collect();
    let signing_in = SignIn {
        people,
        provider: site.provider.is_some(),
        identities: IDENTITIES,
        area,
        to,
        again,
        f,
    };
    page(StatusCode::OK, &signing_in)
}

/// The form of the page.
#[derive(Deserialize)]
pub(super) struct Chosen {
    /// The number of the sample resident.
    person: Option<usize>,
    /// Another sample identity: `kiosk`, `staff`, `gate`, or a role of `/ops`.
    identity: Option<String>,
    /// Whether this is a shared computer: `yes` or `no`.
    shared: Option<String>,
    #[serde(default)]
    to: String,
}

pub(super) async fn sign_in(State(site): SharedSite, Form(chosen): Form<Chosen>) -> Result<Response, PageError> {
    if !site.is_demo() {
        return Err(PageError::Forbidden);
    }
    let (area, who) = if let Some(number) = chosen.person {
        let person = site.demo.get(number).ok_or(PageError::NotFound)?;
        let resident = Resident {
            id_number: person.id_number.clone(),
            name: person.name.clone(),
            shared_computer: chosen.shared.as_deref() == Some("yes"),
            relatives: Vec::new(),
        };
        (Area::My, Who::Resident(resident))
    } else {
        let identity = chosen.identity.as_deref().unwrap_or_default();
        sample_identity(&site, identity).await?.ok_or(PageError::NotFound)?
    };
    let session = Session::begin(&site, area, who);
    let wanted = page_of_ours(&chosen.to);
    let to = if wanted.starts_with(area.path()) {
        wanted
    } else {
        area.path()
    };
    Ok(([(SET_COOKIE, session.set_cookie(&site))], Redirect::to(to)).into_response())
}

/// The identity of a sample device or operator.
///
/// # Errors
/// The device cannot be recorded.
pub(crate) async fn sample_identity(site: &Site, name: &str) -> Result<Option<(Area, Who)>, PageError> {
    let places = || site.policy.places.iter();
    let who = match name {
        "kiosk" => {
            // Kiosks attest, and issue on paper.
            let channel = site
                .policy
                .channels
                .iter()
                .find(|channel| channel.attests && !channel.acts.is_empty());
            let channel = channel
                .or(site.policy.channels.first())
                .map(|channel| channel.name.clone());
            device(site, "kiosk-1", channel.unwrap_or_default(), Vec::new()).await?
        }
        "staff" => {
            // First the places at which staff compare ID cards.
            let compares = |place: &PlacePolicy| {
                let mut accepts = place.accepts.iter();
                accepts.any(|(_, acceptance)| *acceptance == Acceptance::AfterIdCheck)
            };
            let mut places: Vec<_> = places().collect();
            places.sort_by_key(|place| !compares(place));
            let places = places.into_iter().map(|place| place.name.clone());
            device(site, "staff-1", String::new(), places.collect()).await?
        }
        "gate" => {
            let first = places().next().map(|place| place.name.clone());
            device(site, "gate-1", String::new(), first.into_iter().collect()).await?
        }
        "officer" | "health_authority" | "auditor" | "privacy" | "admin" => Who::Operator(Operator {
            subject: format!("local-{name}"),
            name: name.to_owned(),
            roles: vec![name.to_owned()],
        }),
        _ => return Ok(None),
    };
    let area = match name {
        "kiosk" => Area::Kiosk,
        "staff" => Area::Staff,
        "gate" => Area::Gate,
        _ => Area::Ops,
    };
    Ok(Some((area, who)))
}

async fn device(site: &Site, id: &str, channel: String, places: Vec<String>) -> Result<Who, PageError> {
    let mut device = Device {
        pairing: String::new(),
        id: id.to_owned(),
        name: id.to_owned(),
        channel,
        places,
    };
    record_device(site, &mut device).await?;
    Ok(Who::Device(device))
}

/// Records a device, unless it is recorded; its pairing is that of the record.
///
/// # Errors
/// The records cannot be written.
pub(super) async fn record_device(site: &Site, device: &mut Device) -> Result<(), PageError> {
    device.pairing = HEXLOWER.encode(&site.draw());
    let value = serde_json::to_vec(device).unwrap_or_default();
    let now = site.now();
    let entry = Entry {
        value: &value,
        expires_at: now + DEVICE_SECONDS,
    };
    site.records
        .create(Table::Device, device.id.as_bytes(), entry, now)
        .await?;
    if let Some(record) = site.records.get(Table::Device, device.id.as_bytes(), now).await? {
        let recorded = serde_json::from_slice::<Device>(&record.value).map_err(|_| Problem::internal())?;
        device.pairing = recorded.pairing;
    }
    Ok(())
}

/// The path if it is one of a page of ours, else nothing: nobody is sent to another site.
pub(super) fn page_of_ours(path: &str) -> &str {
    let plain = path
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'/' | b'_' | b'-'));
    let ours = [Area::My, Area::Kiosk, Area::Staff, Area::Gate, Area::Ops]
        .iter()
        .any(|area| path == area.path() || path.strip_prefix(area.path()).is_some_and(|rest| rest.starts_with('/')));
    if plain && ours && !path.contains("//") {
        path
    } else {
        ""
    }
}

/// The name of a reader for the header of pages.
pub(crate) fn masked(name: &str) -> String {
    mask(name)
}

#[cfg(test)]
mod tests {
    use super::page_of_ours;

    #[test]
    fn only_paths_of_our_pages_are_followed() {
        for ours in ["/my", "/my/offline", "/ops/counts"] {
            assert_eq!(page_of_ours(ours), ours);
        }
        for other in [
            "",
            "/",
            "//evil.example",
            "/my//evil.example",
            "https://evil.example",
            "/myths",
            "/my?x=1",
            "/my\\x",
            "/my/%2e",
        ] {
            assert_eq!(page_of_ours(other), "", "{other}");
        }
    }
}
