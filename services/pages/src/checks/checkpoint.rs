//! The device that scans, and the place at which it does.

use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRef, FromRequestParts};
use axum::response::{IntoResponse as _, Response};
use citycode_auth::Role;
use citycode_domain::policy::PlacePolicy;
use data_encoding::HEXLOWER;
use http::StatusCode;
use http::request::Parts;

use super::wants_part;
use crate::caller::PageCaller;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Area, Device, Session, Who};
use crate::site::Site;

/// The session of a paired device at `/staff` or `/gate`.
///
/// A device that was ended gets a page that says so, with status 410, also for the part that its page polls each second.
pub(crate) struct AtCheckpoint {
    pub(crate) session: Session,
    pub(crate) device: Device,
}

impl AtCheckpoint {
    /// The place with this name, if the device scans there; without a name its first place.
    pub(crate) fn place<'a>(&self, site: &'a Site, name: Option<&str>) -> Option<&'a PlacePolicy> {
        let mut own = self.places(site);
        match name {
            Some(name) => own.find(|place| place.name == name),
            None => own.next(),
        }
    }

    /// The places of the device that the policy has.
    pub(crate) fn places<'a>(&self, site: &'a Site) -> impl Iterator<Item = &'a PlacePolicy> {
        let names = self.device.places.iter();
        names.filter_map(|name| site.policy.place(name))
    }

    /// The device as a caller of the verifier at this place. It reads ID cards.
    pub(crate) fn caller(&self, site: &Site, place: &PlacePolicy) -> PageCaller {
        let device = site.seal.name("device", self.device.id.as_bytes());
        PageCaller {
            subject: format!("pages-{}", HEXLOWER.encode(&device)),
            role: Role::Verifier {
                places: vec![place.name.clone()],
                device: self.device.id.clone(),
            },
            card_reader: true,
        }
    }
}

#[derive(Template)]
#[template(path = "checks/retired.html")]
struct Retired<'a> {
    f: Frame<'a>,
    gate: bool,
}

impl<S> FromRequestParts<S> for AtCheckpoint
where
    S: Send + Sync,
    Arc<Site>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let site = Arc::<Site>::from_ref(state);
        let area = match parts.uri.path() {
            path if path.starts_with(Area::Gate.path()) => Area::Gate,
            _ => Area::Staff,
        };
        let opened = Session::open(&site, parts, area).await;
        if let Some(session) = opened.map_err(|error| error.into_response())? {
            return match &session.who {
                Who::Device(device) => Ok(Self {
                    device: device.clone(),
                    session,
                }),
                _ => Err(PageError::Forbidden.into_response()),
            };
        }
        if Session::sealed(&site, parts, area).is_some() {
            let f = Frame::public(&site, Choice::of(parts), area.path());
            let gate = area == Area::Gate;
            return Err(page(StatusCode::GONE, &Retired { f, gate }));
        }
        // A script that polls or scans reloads the page, which then sends the reader to sign in.
        if wants_part(&parts.headers) {
            return Err(StatusCode::UNAUTHORIZED.into_response());
        }
        Err(PageError::sign_in(area, area.path()).into_response())
    }
}
