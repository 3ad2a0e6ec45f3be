//! What every page of a kiosk needs: the machine, its channel, and the visit. A kiosk that cannot serve anybody shows
//! 本机暂停服务 instead of any page.

use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use citycode_domain::policy::{ChannelAct, ChannelPolicy, GuardianPolicy, KindPolicy};
use http::StatusCode;

use super::settings::Identification;
use super::visit::{Act, Proof, Visit};
use crate::caller::PageCaller;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::my::masked;
use crate::problem_page::PageError;
use crate::session::{Device, Session, SignedIn};
use crate::site::Site;

/// A kiosk that works, and the visit at it.
pub(super) struct AtKiosk {
    pub(super) site: Arc<Site>,
    pub(super) choice: Choice,
    pub(super) session: Session,
    pub(super) device: Device,
    pub(super) visit: Option<Visit>,
}

/// A kiosk with a visit of an authenticated person. Without one the reader is sent back to the first page.
pub(super) struct InVisit {
    pub(super) at: AtKiosk,
    pub(super) visit: Visit,
}

#[derive(Template)]
#[template(path = "kiosk/out_of_order.html")]
struct OutOfOrder<'a> {
    f: Frame<'a>,
    text: String,
}

impl AtKiosk {
    /// The frame of a page of the kiosk.
    pub(super) fn frame(&self, path: &str) -> Frame<'_> {
        Frame::of(&self.site, self.choice, path, &self.session, String::new())
    }

    /// The kiosk's channel.
    ///
    /// # Errors
    /// The policy has no such channel.
    pub(super) fn channel(&self) -> Result<&ChannelPolicy, PageError> {
        self.site
            .policy
            .channel(&self.device.channel)
            .ok_or(PageError::Forbidden)
    }

    /// How people are authenticated here.
    pub(super) fn identification(&self) -> Option<&Identification> {
        self.site.kiosk.identification.get(&self.device.channel)
    }

    /// Whether an ID number can be typed: in a demo, or where an attendant confirms it.
    pub(super) fn takes_numbers(&self) -> bool {
        self.site.is_demo() || self.has_attendant()
    }

    pub(super) fn has_attendant(&self) -> bool {
        self.identification().is_some_and(|how| how.attendant_pin.is_some())
    }

    pub(super) fn has_reader(&self) -> bool {
        self.identification().is_some_and(|how| how.reader_key.is_some())
    }

    /// The caller of the kiosk's calls.
    pub(super) fn caller(&self) -> PageCaller {
        PageCaller::kiosk(&self.site, &self.device.id, &self.device.channel)
    }

    /// The paper kinds with which this channel may do something, for the person or for a relative.
    pub(super) fn kinds(&self, for_relative: bool) -> Result<Vec<&KindPolicy>, PageError> {
        let channel = self.channel()?;
        let acts = [ChannelAct::Issue, ChannelAct::Reissue, ChannelAct::ReportLoss];
        let kinds = self.site.policy.kinds.iter().filter(|kind| {
            let shared = matches!(
                kind.guardian,
                GuardianPolicy::WithRelationship | GuardianPolicy::WithValidCode(_)
            );
            let own = kind.guardian != GuardianPolicy::PerGuardian;
            let whose = if for_relative { shared } else { own };
            whose && !kind.device_bound && acts.iter().any(|act| channel.may(*act, kind.kind))
        });
        Ok(kinds.collect())
    }

    /// A kind of [`AtKiosk::kinds`] with which this channel may do this.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn kind(&self, name: &str, act: Act, for_relative: bool) -> Result<&KindPolicy, PageError> {
        let act = match act {
            Act::Issue => ChannelAct::Issue,
            Act::Reissue => ChannelAct::Reissue,
            Act::Loss => ChannelAct::ReportLoss,
        };
        let channel = self.channel()?;
        let kinds = self.kinds(for_relative)?.into_iter();
        let mut kinds = kinds.filter(|kind| kind.name == name && channel.may(act, kind.kind));
        kinds.next().ok_or(PageError::NotFound)
    }

    /// Checks that a form was sent by this session.
    ///
    /// # Errors
    /// [`PageError::StaleForm`].
    pub(super) fn check_form(&self, form_token: &str) -> Result<(), PageError> {
        self.session.check_form(&self.site, form_token)
    }

    /// Why the kiosk can serve nobody; `None` if it can.
    fn out_of_order(&self, f: &Frame<'_>) -> Option<String> {
        let settings = &self.site.kiosk;
        if let Some(label) = &settings.out_of_order {
            return Some(f.label(label));
        }
        let missing_folder = settings.print_folder.as_ref().is_some_and(|folder| !folder.is_dir());
        let channel = self.site.policy.channel(&self.device.channel);
        let serves = channel.is_some_and(|channel| !channel.needs_assertion || self.site.assertions.is_some());
        let authenticates = self.site.is_demo() || self.identification().is_some_and(Identification::is_possible);
        if missing_folder {
            Some(f.t("kiosk-out-printer"))
        } else if serves && authenticates {
            None
        } else {
            Some(f.t("kiosk-out-settings"))
        }
    }
}

impl InVisit {
    /// Whom the page is about, with the name's middle or the number's beginning hidden.
    pub(super) fn person(&self, f: &Frame<'_>, for_relative: bool) -> String {
        let relative = self.visit.relative_if(for_relative);
        let id_number = relative.as_deref().unwrap_or(&self.visit.id_number);
        let mut samples = self.at.site.demo.iter();
        let sample = samples.find(|person| person.id_number == id_number);
        let name = self.visit.name.as_deref().or(sample.map(|person| person.name.as_str()));
        // The name of a relative would say that the typed number is known (R31).
        match name.filter(|_| relative.is_none()) {
            Some(name) => masked(name),
            None => f.t1("kiosk-number-ends", "end", id_number.get(14..).unwrap_or_default()),
        }
    }
}

impl<S> FromRequestParts<S> for AtKiosk
where
    S: Send + Sync,
    Arc<Site>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let site = Arc::<Site>::from_ref(state);
        let signed_in = SignedIn::<Device>::from_request_parts(parts, state).await;
        let SignedIn { session, who } = signed_in.map_err(IntoResponse::into_response)?;
        let visit = Visit::of(&site, parts, &session)
            .await
            .map_err(IntoResponse::into_response)?;
        let at = Self {
            choice: Choice::of(parts),
            site,
            session,
            device: who,
            visit,
        };
        let f = at.frame("/kiosk");
        if let Some(text) = at.out_of_order(&f) {
            return Err(page(StatusCode::OK, &OutOfOrder { f, text }));
        }
        drop(f);
        Ok(at)
    }
}

impl<S> FromRequestParts<S> for InVisit
where
    S: Send + Sync,
    Arc<Site>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let mut at = AtKiosk::from_request_parts(parts, state).await?;
        match at.visit.take() {
            Some(visit) if visit.proof != Proof::None => Ok(Self { at, visit }),
            Some(_) => Err(Redirect::to("/kiosk/identify").into_response()),
            None => Err(Redirect::to("/kiosk?notice=ended").into_response()),
        }
    }
}
