//! Sign-in through an OpenID Connect provider: the authorization code flow with PKCE (OpenID Connect Core 1.0 §3.1, RFC
//! 7636, RFC 9207).
//!
//! The state of a sign-in is a sealed cookie, so any portal completes it. The answer of the provider comes from another
//! site, so this cookie is `SameSite=Lax`; the session's cookie is `Strict` as always, and the page that sets it goes on
//! to the wanted page by itself.

mod provider;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::problem::Problem;
use data_encoding::BASE64URL_NOPAD;
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

pub use provider::SignInSettings;
pub(crate) use provider::{Identity, Provider};

use super::sign_in::page_of_ours;
use crate::frame::{Frame, page};
use crate::lang::{Choice, cookie};
use crate::problem_page::{NotSignedIn, PageError};
use crate::session::{Area, Device, Operator, Resident, Session, Who};
use crate::site::{SharedSite, Site};

const COOKIE_NAME: &str = "citycode-sign-in";
/// How long a person may take at the provider, in seconds.
const LIFETIME_SECONDS: i64 = 600;
/// Roles of operators, in the words of the claim.
const OPERATORS: [&str; 5] = ["officer", "health_authority", "auditor", "privacy", "admin"];

/// What is remembered while the person is at the provider.
#[derive(Serialize, Deserialize)]
struct Pending {
    state: String,
    nonce: String,
    verifier: String,
    area: Area,
    to: String,
    shared: bool,
    expires_at: i64,
}

/// The query of the link to the provider.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    area: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    shared: String,
    /// `yes`: the provider asks for an account even if it knows the person.
    #[serde(default)]
    again: String,
}

/// Sends the reader to the provider.
pub(super) async fn begin(State(site): SharedSite, Query(wanted): Query<Wanted>) -> Result<Response, PageError> {
    let provider = site.provider.as_ref().ok_or(PageError::NotFound)?;
    let area = match wanted.area.as_str() {
        "staff" => Area::Staff,
        "ops" => Area::Ops,
        _ => Area::My,
    };
    let random = || BASE64URL_NOPAD.encode(&site.entropy.array::<32>());
    let pending = Pending {
        state: random(),
        nonce: random(),
        verifier: random(),
        area,
        to: page_of_ours(&wanted.to).to_owned(),
        shared: wanted.shared == "yes",
        expires_at: site.now() + LIFETIME_SECONDS,
    };
    let mut address = provider
        .authorization(&pending.state, &pending.nonce, &pending.verifier, &*site.clock)
        .await
        .map_err(|why| PageError::NotSignedIn(area, why))?;
    if wanted.again == "yes" {
        address.push_str("&prompt=login");
    }
    let text = serde_json::to_vec(&pending).map_err(|_| Problem::internal())?;
    let sealed = site.seal.seal(COOKIE_NAME, &text, &*site.entropy);
    let cookie = format!(
        "{COOKIE_NAME}={sealed}; Path=/sign-in; Max-Age={LIFETIME_SECONDS}; SameSite=Lax; HttpOnly{}",
        site.secure_attribute()
    );
    Ok(([(SET_COOKIE, cookie)], Redirect::to(&address)).into_response())
}

/// The provider's answer.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Answer {
    code: String,
    state: String,
    error: String,
    iss: Option<String>,
}

#[derive(Template)]
#[template(path = "signed_in.html")]
struct SignedInPage<'a> {
    f: Frame<'a>,
    to: String,
}

/// Takes the provider's answer, and begins the session.
pub(super) async fn complete(
    State(site): SharedSite,
    choice: Choice,
    Query(answer): Query<Answer>,
    parts: Parts,
) -> Result<Response, PageError> {
    let provider = site.provider.as_ref().ok_or(PageError::NotFound)?;
    let pending = cookie(&parts, COOKIE_NAME)
        .and_then(|sealed| site.seal.open(COOKIE_NAME, sealed))
        .and_then(|text| serde_json::from_slice::<Pending>(&text).ok())
        .filter(|pending| site.now() < pending.expires_at);
    let area = pending.as_ref().map_or(Area::My, |pending| pending.area);
    let not_signed_in = |why| PageError::NotSignedIn(area, why);
    // Without the state of this browser, somebody else's answer would sign the reader in as another person.
    let pending = pending
        .filter(|pending| pending.state == answer.state)
        .ok_or(not_signed_in(NotSignedIn::Stale))?;
    if answer.iss.as_ref().is_some_and(|issuer| *issuer != provider.issuer()) {
        return Err(not_signed_in(NotSignedIn::Stale));
    }
    if answer.error == "access_denied" {
        return Err(not_signed_in(NotSignedIn::Cancelled));
    }
    if !answer.error.is_empty() || answer.code.is_empty() {
        return Err(not_signed_in(NotSignedIn::Refused));
    }
    let identity = provider
        .redeem(&answer.code, &pending.verifier, &pending.nonce, &*site.clock)
        .await
        .map_err(not_signed_in)?;
    let who = who(&site, &pending, identity).await?;
    let who = who.ok_or(not_signed_in(NotSignedIn::NoRight))?;
    let session = Session::begin(&site, pending.area, who);
    let to = if pending.to.starts_with(pending.area.path()) {
        pending.to
    } else {
        pending.area.path().to_owned()
    };
    let f = Frame::public(&site, choice, "/sign-in");
    let mut response = page(StatusCode::OK, &SignedInPage { f, to });
    let used = format!("{COOKIE_NAME}=; Path=/sign-in; Max-Age=0; SameSite=Lax; HttpOnly");
    for cookie in [session.set_cookie(&site), used] {
        if let Ok(cookie) = cookie.parse() {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    Ok(response)
}

/// Who the person is in this area; `None` if the claims do not say so.
async fn who(site: &Site, pending: &Pending, identity: Identity) -> Result<Option<Who>, PageError> {
    let Identity {
        subject,
        id_number,
        name,
        roles,
    } = identity;
    Ok(match pending.area {
        Area::My => {
            let checked = id_number.and_then(|number| crate::my::family::id_number(site, &number).ok());
            checked.map(|id_number| {
                Who::Resident(Resident {
                    id_number,
                    name,
                    shared_computer: pending.shared,
                    relatives: Vec::new(),
                })
            })
        }
        Area::Staff => {
            let verifier = roles
                .iter()
                .find_map(|role| role.strip_prefix("verifier:")?.split_once(':'));
            let Some((places, id)) = verifier else {
                return Ok(None);
            };
            let mut device = Device {
                pairing: String::new(),
                id: id.to_owned(),
                name,
                channel: String::new(),
                places: places.split(',').map(str::to_owned).collect(),
            };
            super::sign_in::record_device(site, &mut device).await?;
            Some(Who::Device(device))
        }
        Area::Ops => {
            let own: Vec<String> = roles
                .into_iter()
                .filter(|role| OPERATORS.contains(&role.as_str()))
                .collect();
            let name = if name.is_empty() { subject.clone() } else { name };
            (!own.is_empty()).then_some(Who::Operator(Operator {
                subject,
                name,
                roles: own,
            }))
        }
        Area::Kiosk | Area::Gate => None,
    })
}
