//! Start links: a secret that works once, for ten minutes, on this machine only, for one named area.
//!
//! The secret stands in the fragment of the link, which browsers do not send; a script puts it into the form, or the
//! reader types it.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_access_records::{Entry, Table};
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::peer::PeerKind;
use citycode_service_kit::problem::{Code, Problem};
use data_encoding::BASE32_NOPAD;
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::sign_in::sample_identity;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Area, Resident, Session, Who};
use crate::site::{SharedSite, Site};

/// How long a link works, in seconds.
pub const LIFETIME_SECONDS: i64 = 600;
/// Random bytes of a secret: too many to be guessed, few enough to be typed.
const SECRET_BYTES: usize = 10;
const GROUP: usize = 4;
const PURPOSE: &str = "start-link";

/// What a start link leads to.
#[derive(Serialize, Deserialize)]
pub(crate) enum Target {
    /// A session.
    Session(Area, Box<Who>),
    /// The choice of a sample resident, in a demo.
    SignIn,
}

/// Makes a start link and returns its secret, such as `ABCD-EFGH-IJKL-MNOP`.
///
/// # Errors
/// The records cannot be written.
pub(crate) async fn make(site: &Site, target: &Target) -> Result<Zeroizing<String>, PageError> {
    let secret: Zeroizing<[u8; SECRET_BYTES]> = Zeroizing::new(site.entropy.array());
    let letters = Zeroizing::new(BASE32_NOPAD.encode(&*secret));
    let now = site.now();
    let text = Zeroizing::new(serde_json::to_vec(target).map_err(|_| Problem::internal())?);
    let sealed = site.seal.seal(PURPOSE, &text, &*site.entropy);
    let entry = Entry {
        value: sealed.as_bytes(),
        expires_at: now + LIFETIME_SECONDS,
    };
    let key = site.seal.name(PURPOSE, letters.as_bytes());
    site.records.create(Table::StartLink, &key, entry, now).await?;
    let groups: Vec<&str> = (0..letters.len())
        .step_by(GROUP)
        .map(|at| &letters[at..at + GROUP])
        .collect();
    Ok(Zeroizing::new(groups.join("-")))
}

/// Takes the target of a secret: of several attempts one succeeds.
async fn take_target(site: &Site, typed: &str) -> Result<Option<Target>, PageError> {
    let letters = typed
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase());
    let letters: Zeroizing<String> = Zeroizing::new(letters.collect());
    let key = site.seal.name(PURPOSE, letters.as_bytes());
    let Some(record) = site.records.get(Table::StartLink, &key, site.now()).await? else {
        return Ok(None);
    };
    let used = Entry {
        value: &[],
        expires_at: 0,
    };
    if !site
        .records
        .replace(Table::StartLink, &key, record.revision, used)
        .await?
    {
        return Ok(None);
    }
    let sealed = String::from_utf8(record.value).unwrap_or_default();
    let text = site.seal.open(PURPOSE, &sealed);
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Makes start links for the local admin.
#[derive(Clone)]
pub struct StartLinks(pub(crate) std::sync::Arc<Site>);

/// Where a start link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFor {
    /// The codes of the person with this ID number, which is checked.
    Resident {
        /// ID number.
        id_number: String,
        /// Name; empty if it is not known.
        name: String,
    },
    /// A sample device or operator: `kiosk`, `staff`, `gate`, or a role such as `officer` or `admin`.
    Identity(String),
    /// The choice of a sample resident, in a demo.
    SignIn,
}

impl StartLinks {
    /// Makes a start link, and returns its secret for `/start#SECRET`.
    ///
    /// # Errors
    /// `invalid_request` for an unknown identity; `unavailable`: the records cannot be written.
    pub async fn make(&self, wanted: &StartFor) -> Result<Zeroizing<String>, Problem> {
        let made = async {
            let target = match wanted {
                StartFor::Resident { id_number, name } => {
                    let id_number = id_number_of(&self.0, id_number)?;
                    // A demo knows the names of its people; else nobody is asked for the name of a person.
                    let sample = self.0.demo.iter().find(|person| person.id_number == *id_number);
                    let resident = Resident {
                        id_number,
                        name: sample.map_or(name, |person| &person.name).clone(),
                        shared_computer: false,
                        relatives: Vec::new(),
                    };
                    Target::Session(Area::My, Box::new(Who::Resident(resident)))
                }
                StartFor::Identity(name) => {
                    let (area, who) = sample_identity(&self.0, name).await?.ok_or(PageError::NotFound)?;
                    Target::Session(area, Box::new(who))
                }
                StartFor::SignIn => Target::SignIn,
            };
            make(&self.0, &target).await
        };
        made.await.map_err(|error| match error {
            PageError::Problem(problem) => problem,
            _ => Problem::new(Code::InvalidRequest, "there is no such page to start"),
        })
    }
}

fn id_number_of(site: &Site, typed: &str) -> Result<String, PageError> {
    let checked = crate::my::family::id_number(site, typed);
    checked.map_err(|_| Problem::new(Code::InvalidIdNumber, "the ID number is not valid").into())
}

#[derive(Template)]
#[template(path = "start.html")]
struct Start<'a> {
    f: Frame<'a>,
    error: Option<String>,
}

pub(super) async fn show(State(site): SharedSite, choice: Choice) -> Response {
    let f = Frame::public(&site, choice, "/start");
    page(StatusCode::OK, &Start { f, error: None })
}

/// The form of the page.
#[derive(Deserialize)]
pub(super) struct Typed {
    #[serde(default)]
    secret: String,
}

pub(super) async fn take(
    State(site): SharedSite,
    choice: Choice,
    peer: Peer,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    let f = Frame::public(&site, choice, "/start");
    if !peer.0.is_local() {
        let error = Some(f.t("start-not-local"));
        return Ok(page(StatusCode::FORBIDDEN, &Start { f, error }));
    }
    if let Err(limited) = site.limits.start_secret(site.clock.monotonic()) {
        let error = Some(f.problem(&limited.into()));
        return Ok(page(StatusCode::TOO_MANY_REQUESTS, &Start { f, error }));
    }
    match take_target(&site, &typed.secret).await? {
        Some(Target::Session(area, who)) => {
            let session = Session::begin(&site, area, *who);
            let to = Redirect::to(area.path());
            Ok(([(SET_COOKIE, session.set_cookie(&site))], to).into_response())
        }
        Some(Target::SignIn) => Ok(Redirect::to("/sign-in").into_response()),
        None => {
            let error = Some(f.t("start-used"));
            Ok(page(StatusCode::FORBIDDEN, &Start { f, error }))
        }
    }
}

/// Where the request came from.
pub(super) struct Peer(PeerKind);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(PeerKind::of_request(&parts.headers, &parts.extensions)))
    }
}
