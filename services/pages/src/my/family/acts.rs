//! The forms of `/my/family`. Each ends in a redirection to the page that says what it did.

use axum::Form;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_domain::name::PersonName;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{ListCodesRequest, RelateRequest, UnrelateRequest};
use http::header::SET_COOKIE;
use serde::Deserialize;
use uuid::Uuid;

use super::invitation::{Invitation, digits};
use super::{Answer, Asking, MAX_TYPED, MOST_RELATIVES, Typed, address, id_number};
use crate::access::sign_in::masked;
use crate::caller::PageCaller;
use crate::my::results::Results;
use crate::my::subject::{asking_channel, require_relationship};
use crate::problem_page::PageError;
use crate::session::{Relative, Resident, SignedIn, Who};
use crate::site::{SharedSite, Site};

/// A form of the page.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(in crate::my) struct FamilyForm {
    form_token: String,
    command_id: String,
    id_number: String,
    name: String,
    code: String,
    confirmed: String,
}

/// A form that was sent by a page of this session.
struct Sent<'a> {
    site: &'a Site,
    parts: &'a Parts,
    signed_in: &'a SignedIn<Resident>,
    command_id: Uuid,
}

impl<'a> Sent<'a> {
    fn check(
        site: &'a Site,
        parts: &'a Parts,
        signed_in: &'a SignedIn<Resident>,
        form: &FamilyForm,
    ) -> Result<Self, PageError> {
        Ok(Self {
            site,
            parts,
            signed_in,
            command_id: signed_in.session.command(site, &form.form_token, &form.command_id)?,
        })
    }

    /// Keeps the answer, and sends the browser to its page.
    fn say(&self, answer: &Answer) -> Response {
        let session = &self.signed_in.session;
        let mut results = Results::of(self.site, self.parts, session);
        results.keep(self.command_id, answer);
        let cookie = results.set_cookie(self.site, session);
        ([(SET_COOKIE, cookie)], Redirect::to(&address(self.command_id))).into_response()
    }
}

/// Adds a relative to the session, or makes an invitation.
pub(in crate::my) async fn add(
    State(site): SharedSite,
    signed_in: SignedIn<Resident>,
    parts: Parts,
    Form(form): Form<FamilyForm>,
) -> Result<Response, PageError> {
    let sent = Sent::check(&site, &parts, &signed_in, &form)?;
    let mut answer = Answer {
        typed: Typed {
            id_number: form.id_number.chars().take(MAX_TYPED).collect(),
            name: form.name.chars().take(MAX_TYPED).collect(),
        },
        ..Answer::default()
    };
    let resident = &signed_in.who;
    let (relative, name) = match checked(&site, resident, &form) {
        Ok(checked) => checked,
        Err((field, text)) => return Ok(sent.say(&answer.refused(field, text))),
    };
    match is_related(&site, resident, &relative).await {
        Ok(()) => {
            let mut session = signed_in.session.clone();
            session.who = Who::Resident(with_relative(resident, relative, name));
            Ok(([(SET_COOKIE, session.set_cookie(&site))], Redirect::to("/my")).into_response())
        }
        // Nobody learns here whether a person is registered (R31): the invitation of one who is not is of no use.
        Err(problem) if matches!(problem.code(), Code::RelationshipUnknown | Code::NotRegistered) => {
            match Invitation::make(&site, resident, &relative).await {
                Ok(code) => answer.invitation = Some(code),
                Err(problem) => answer = answer.failed(&problem),
            }
            Ok(sent.say(&answer))
        }
        Err(problem) => Ok(sent.say(&answer.failed(&problem))),
    }
}

/// The ID number and the name of a relative.
///
/// # Errors
/// The field that is wrong, and the id of the text that says why.
fn checked(
    site: &Site,
    resident: &Resident,
    form: &FamilyForm,
) -> Result<(String, String), (&'static str, &'static str)> {
    let number = id_number(site, &form.id_number).map_err(|why| ("id_number", why))?;
    let name = PersonName::parse(&form.name).map_err(|_| ("name", "family-name-missing"))?;
    if number == resident.id_number {
        return Err(("id_number", "family-self"));
    }
    let known = resident.relatives.iter().any(|known| known.id_number == number);
    if resident.relatives.len() >= MOST_RELATIVES && !known {
        return Err(("id_number", "family-too-many"));
    }
    Ok((number, name.as_str().to_owned()))
}

/// The resident with this relative. A relative who was there keeps the number: another tab may show `?for=N`.
fn with_relative(resident: &Resident, id_number: String, name: String) -> Resident {
    let mut resident = resident.clone();
    match resident.relatives.iter_mut().find(|known| known.id_number == id_number) {
        Some(known) => known.name = name,
        None => resident.relatives.push(Relative { id_number, name }),
    }
    resident
}

/// Shows who asks for consent; with `confirmed` records the relationship.
pub(in crate::my) async fn consent(
    State(site): SharedSite,
    signed_in: SignedIn<Resident>,
    parts: Parts,
    Form(form): Form<FamilyForm>,
) -> Result<Response, PageError> {
    let sent = Sent::check(&site, &parts, &signed_in, &form)?;
    let mut answer = Answer::default();
    let code = digits(&form.code);
    let invitation = match Invitation::find(&site, &signed_in.who, &code).await {
        Ok(Some(invitation)) => invitation,
        Ok(None) => return Ok(sent.say(&answer.refused("code", "family-code-unknown"))),
        Err(problem) => return Ok(sent.say(&answer.failed(&problem))),
    };
    if form.confirmed != "yes" {
        let name = masked(&invitation.guardian_name);
        answer.asking = Some(Asking { code, name });
        return Ok(sent.say(&answer));
    }
    let channel = asking_channel(&site)?.name.clone();
    let caller = PageCaller::resident(&site, &signed_in.who.id_number, &channel);
    let request = RelateRequest {
        command_id: sent.command_id.as_bytes().to_vec(),
        guardian_authentication: site.authentication(&channel, &invitation.guardian)?,
        dependent_authentication: site.authentication(&channel, &invitation.dependent)?,
        channel,
        guardian_id_number: invitation.guardian,
        dependent_id_number: invitation.dependent,
    };
    let mut issuer = site.clients.issuer.clone();
    let related = issuer.relate(site.request(&caller, request)?).await;
    Ok(sent.say(&match related {
        Ok(_) => answer.done("family-related"),
        Err(status) => answer.failed(&Problem::from(status)),
    }))
}

/// Ends the right of a relative to act for the reader.
pub(in crate::my) async fn end(
    State(site): SharedSite,
    signed_in: SignedIn<Resident>,
    parts: Parts,
    Form(form): Form<FamilyForm>,
) -> Result<Response, PageError> {
    let sent = Sent::check(&site, &parts, &signed_in, &form)?;
    let answer = Answer::default();
    let guardian = match id_number(&site, &form.id_number) {
        Ok(number) => number,
        Err(why) => return Ok(sent.say(&answer.refused("end_id_number", why))),
    };
    let channel = asking_channel(&site)?.name.clone();
    let caller = PageCaller::resident(&site, &signed_in.who.id_number, &channel);
    let request = UnrelateRequest {
        command_id: sent.command_id.as_bytes().to_vec(),
        authentication: site.authentication(&channel, &signed_in.who.id_number)?,
        channel,
        guardian_id_number: guardian,
        dependent_id_number: signed_in.who.id_number.clone(),
    };
    let mut issuer = site.clients.issuer.clone();
    let ended = issuer.unrelate(site.request(&caller, request)?).await;
    Ok(sent.say(&match ended {
        Ok(_) => answer.done("family-ended"),
        Err(status) => answer.failed(&Problem::from(status)),
    }))
}

/// Whether the resident may act for this person.
async fn is_related(site: &Site, resident: &Resident, relative: &str) -> Result<(), Problem> {
    let channel = asking_channel(site).map_err(|_| Problem::internal())?;
    let caller = PageCaller::resident(site, &resident.id_number, &channel.name);
    let request = ListCodesRequest {
        channel: channel.name.clone(),
        authentication: site.authentication(&channel.name, &resident.id_number)?,
        id_number: relative.to_owned(),
        guardian_id_number: resident.id_number.clone(),
        question_id: Vec::new(),
        actionable: false,
        details: false,
    };
    let mut issuer = site.clients.issuer.clone();
    let answer = issuer.list_codes(site.request(&caller, request)?).await?;
    require_relationship(answer.get_ref())
}
