//! `/my/family`: the relatives of a session, invitations by which a relative consents, and the end of a relationship.
//!
//! The log names holders by random numbers, so nobody can list the relatives of a person. The reader names a relative by
//! ID number; the page adds the relative to the session if the relationship is recorded, and else makes an invitation:
//! a code that the relative types in her own session.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_access_records::{Entry, Table};
use citycode_domain::id_number::{IdNumber, InvalidIdNumber};
use citycode_domain::name::PersonName;
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{ListCodesRequest, RelateRequest, UnrelateRequest};
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

use super::kind::{self, For};
use super::subject::{asking_channel, require_relationship};
use crate::access::sign_in::masked;
use crate::caller::PageCaller;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Relative, Resident, Session, SignedIn};
use crate::site::{SharedSite, Site};
use crate::typed::narrow;

/// Relatives of one session: a cookie has at most 4,096 bytes.
const MOST_RELATIVES: usize = 8;
/// An invitation works for a day.
const INVITATION_SECONDS: i64 = 86_400;
/// Digits of an invitation.
const DIGITS: usize = 8;
const PURPOSE: &str = "invitation";
/// Longest name that a reader gives a relative, in characters.
const MAX_NAME: usize = 64;

#[derive(Template)]
#[template(path = "my/family.html")]
struct Family<'a> {
    f: Frame<'a>,
    relatives: Vec<(usize, String)>,
    /// What was done, or why it was not.
    said: Option<Said>,
    typed: Typed,
    /// The invitation that the reader gives to the relative.
    invitation: Option<String>,
    /// Who asks the reader for consent.
    asking: Option<Asking>,
}

struct Said {
    tone: &'static str,
    result: String,
    text: String,
    /// The field that is wrong.
    field: &'static str,
}

#[derive(Default)]
struct Typed {
    id_number: String,
    name: String,
}

struct Asking {
    code: String,
    name: String,
}

/// A form of the page.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct FamilyForm {
    form_token: String,
    command_id: String,
    id_number: String,
    name: String,
    code: String,
    confirmed: String,
}

/// What an invitation says; sealed in its record.
#[derive(Serialize, Deserialize)]
struct Invitation {
    guardian: String,
    guardian_name: String,
    dependent: String,
}

/// The relatives; with `?for=N` the code of the kind that has the same name as this page.
pub(super) async fn show(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Query(query): Query<For>,
    parts: Parts,
) -> Result<Response, PageError> {
    if query.relative.is_some() {
        let kind = Path("family".to_owned());
        return kind::show(State(site), choice, signed_in, kind, Query(query), parts).await;
    }
    Ok(page(StatusCode::OK, &Family::new(&site, choice, &signed_in)))
}

/// Adds a relative to the session, or makes an invitation.
pub(super) async fn add(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Form(form): Form<FamilyForm>,
) -> Result<Response, PageError> {
    check(&site, &signed_in, &form)?;
    let mut shown = Family::new(&site, choice, &signed_in);
    shown.typed = Typed {
        id_number: form.id_number.chars().take(MAX_NAME).collect(),
        name: form.name.chars().take(MAX_NAME).collect(),
    };
    let relative = match id_number(&site, &form.id_number) {
        Ok(number) => number,
        Err(why) => return Ok(shown.refused("id_number", why)),
    };
    let Ok(name) = PersonName::parse(&form.name) else {
        return Ok(shown.refused("name", "family-name-missing"));
    };
    let name = name.as_str();
    let resident = &signed_in.who;
    if relative == resident.id_number {
        return Ok(shown.refused("id_number", "family-self"));
    }
    if resident.relatives.len() >= MOST_RELATIVES && !resident.relatives.iter().any(|known| known.id_number == relative)
    {
        return Ok(shown.refused("id_number", "family-too-many"));
    }
    match is_related(&site, resident, &relative).await {
        Ok(()) => {
            let mut session = signed_in.session.clone();
            let mut resident = resident.clone();
            resident.relatives.retain(|known| known.id_number != relative);
            resident.relatives.push(Relative {
                id_number: relative,
                name: name.to_owned(),
            });
            session.who = crate::session::Who::Resident(resident);
            Ok(([(SET_COOKIE, session.set_cookie(&site))], Redirect::to("/my")).into_response())
        }
        // Nobody learns here whether a person is registered (R31): the invitation of one who is not is of no use.
        Err(problem) if matches!(problem.code(), Code::RelationshipUnknown | Code::NotRegistered) => {
            shown.invitation = Some(invite(&site, resident, &relative).await?);
            Ok(page(StatusCode::OK, &shown))
        }
        Err(problem) => Ok(shown.failed(&problem)),
    }
}

/// Shows who asks for consent; with `confirmed` records the relationship.
pub(super) async fn consent(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Form(form): Form<FamilyForm>,
) -> Result<Response, PageError> {
    let command_id = check(&site, &signed_in, &form)?;
    let mut shown = Family::new(&site, choice, &signed_in);
    let code: String = form.code.chars().filter(char::is_ascii_digit).take(DIGITS).collect();
    let key = site.seal.name(PURPOSE, code.as_bytes());
    let person = Session::person_key(&site, &signed_in.who.id_number);
    if let Err(limited) = site.limits.invitation(person, key, site.clock.monotonic()) {
        return Ok(shown.failed(&limited.into()));
    }
    let record = site.records.get(Table::Invitation, &key, site.now()).await?;
    let sealed = record.and_then(|record| String::from_utf8(record.value).ok());
    let invitation = sealed.and_then(|sealed| site.seal.open(PURPOSE, &sealed));
    let invitation: Option<Invitation> = invitation.and_then(|text| serde_json::from_slice(&text).ok());
    // Somebody else's invitation looks like none.
    let invitation = invitation.filter(|invitation| invitation.dependent == signed_in.who.id_number);
    let Some(invitation) = invitation else {
        return Ok(shown.refused("code", "family-code-unknown"));
    };
    if form.confirmed != "yes" {
        shown.asking = Some(Asking {
            code,
            name: if invitation.guardian_name.is_empty() {
                shown.f.t("family-nameless")
            } else {
                masked(&invitation.guardian_name)
            },
        });
        return Ok(page(StatusCode::OK, &shown));
    }
    let channel = asking_channel(&site)?.name.clone();
    let caller = PageCaller::resident(&site, &signed_in.who.id_number, &channel);
    let request = RelateRequest {
        command_id,
        guardian_authentication: site.authentication(&channel, &invitation.guardian)?,
        dependent_authentication: site.authentication(&channel, &invitation.dependent)?,
        channel,
        guardian_id_number: invitation.guardian,
        dependent_id_number: invitation.dependent,
    };
    let related = site
        .clients
        .issuer
        .clone()
        .relate(site.request(&caller, request)?)
        .await;
    Ok(match related {
        Ok(_) => shown.done("family-related"),
        Err(status) => shown.failed(&Problem::from(status)),
    })
}

/// Ends the right of a relative to act for the reader.
pub(super) async fn end(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Form(form): Form<FamilyForm>,
) -> Result<Response, PageError> {
    let command_id = check(&site, &signed_in, &form)?;
    let shown = Family::new(&site, choice, &signed_in);
    let guardian = match id_number(&site, &form.id_number) {
        Ok(number) => number,
        Err(why) => return Ok(shown.refused("end_id_number", why)),
    };
    let channel = asking_channel(&site)?.name.clone();
    let caller = PageCaller::resident(&site, &signed_in.who.id_number, &channel);
    let request = UnrelateRequest {
        command_id,
        authentication: site.authentication(&channel, &signed_in.who.id_number)?,
        channel,
        guardian_id_number: guardian,
        dependent_id_number: signed_in.who.id_number.clone(),
    };
    let ended = site
        .clients
        .issuer
        .clone()
        .unrelate(site.request(&caller, request)?)
        .await;
    Ok(match ended {
        Ok(_) => shown.done("family-ended"),
        Err(status) => shown.failed(&Problem::from(status)),
    })
}

impl<'a> Family<'a> {
    fn new(site: &'a Site, choice: Choice, signed_in: &SignedIn<Resident>) -> Self {
        let resident = &signed_in.who;
        let relatives = resident.relatives.iter().enumerate();
        Self {
            f: Frame::of(site, choice, "/my/family", &signed_in.session, masked(&resident.name)),
            relatives: relatives
                .map(|(at, relative)| (at + 1, masked(&relative.name)))
                .collect(),
            said: None,
            typed: Typed::default(),
            invitation: None,
            asking: None,
        }
    }

    /// A field is wrong; what was typed stays.
    fn refused(mut self, field: &'static str, text: &str) -> Response {
        self.said = Some(Said {
            tone: "bad",
            result: "invalid_request".to_owned(),
            text: self.f.t(text),
            field,
        });
        page(StatusCode::UNPROCESSABLE_ENTITY, &self)
    }

    fn failed(mut self, problem: &Problem) -> Response {
        self.said = Some(Said {
            tone: "bad",
            result: problem.code().as_str().to_owned(),
            text: self.f.problem(problem),
            field: "",
        });
        let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        page(status, &self)
    }

    fn done(mut self, text: &str) -> Response {
        self.said = Some(Said {
            tone: "good",
            result: "done".to_owned(),
            text: self.f.t(text),
            field: "",
        });
        page(StatusCode::OK, &self)
    }

    /// The sentence beside a field, if it is the wrong one.
    fn error(&self, field: &str) -> Option<&str> {
        self.said
            .as_ref()
            .filter(|said| said.field == field)
            .map(|said| said.text.as_str())
    }
}

fn check(site: &Site, signed_in: &SignedIn<Resident>, form: &FamilyForm) -> Result<Vec<u8>, PageError> {
    let id = signed_in.session.command(site, &form.form_token, &form.command_id)?;
    Ok(id.as_bytes().to_vec())
}

/// A typed ID number in its plain form: spaces are dropped, and full-width characters are read as plain ones.
///
/// # Errors
/// The id of the text that says what is wrong.
pub(crate) fn id_number(site: &Site, typed: &str) -> Result<String, &'static str> {
    let plain = typed.chars().filter(|c| !c.is_whitespace()).map(narrow);
    let plain: String = plain.take(MAX_NAME).collect::<String>().to_ascii_uppercase();
    let today = citycode_policy_file::local_date(&site.policy, citycode_domain::time::Timestamp(site.now()));
    match IdNumber::parse(&plain, today) {
        Ok(_) => Ok(plain),
        Err(InvalidIdNumber::Length) => Err("id-number-length"),
        Err(InvalidIdNumber::Retired) => Err("id-number-retired"),
        Err(InvalidIdNumber::CheckCharacter) => Err("id-number-typo"),
        Err(InvalidIdNumber::BirthDate | InvalidIdNumber::BornInFuture) => Err("id-number-birth"),
        Err(_) => Err("id-number-characters"),
    }
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
    };
    let mut issuer = site.clients.issuer.clone();
    let answer = issuer.list_codes(site.request(&caller, request)?).await?;
    require_relationship(answer.get_ref())
}

/// Makes an invitation, and returns its digits.
async fn invite(site: &Site, resident: &Resident, relative: &str) -> Result<String, PageError> {
    let invitation = Invitation {
        guardian: resident.id_number.clone(),
        guardian_name: resident.name.clone(),
        dependent: relative.to_owned(),
    };
    let text = serde_json::to_vec(&invitation).map_err(|_| Problem::internal())?;
    let sealed = site.seal.seal(PURPOSE, &text, &*site.entropy);
    let now = site.now();
    let entry = Entry {
        value: sealed.as_bytes(),
        expires_at: now + INVITATION_SECONDS,
    };
    let code = format!("{:08}", site.entropy.below(100_000_000));
    let key = site.seal.name(PURPOSE, code.as_bytes());
    if !site.records.create(Table::Invitation, &key, entry, now).await? {
        // One in a hundred million: the reader tries again.
        return Err(Problem::new(Code::Unavailable, "the invitation's code is in use").into());
    }
    Ok(code)
}
