//! `/my/family`: the relatives of a session, invitations by which a relative consents, and the end of a relationship.
//!
//! The log names holders by random numbers, so nobody can list the relatives of a person. The reader names a relative by
//! ID number; the page adds the relative to the session if the relationship is recorded, and else makes an invitation:
//! a code that the relative types in her own session.

mod acts;
mod invitation;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_domain::id_number::{IdNumber, InvalidIdNumber};
use citycode_service_kit::problem::{Code, Problem};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(super) use acts::{add, consent, end};

use super::kind::{self, For};
use super::results::Results;
use super::subject::{Subject, listed};
use crate::access::sign_in::masked;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Resident, SignedIn};
use crate::site::{SharedSite, Site};
use crate::typed::narrow;

/// Relatives of one session: a cookie has at most 4,096 bytes.
pub(super) const MOST_RELATIVES: usize = 8;
/// Longest text of a field that is shown again, in characters.
const MAX_TYPED: usize = 64;

#[derive(Template)]
#[template(path = "my/family.html")]
struct Family<'a> {
    f: Frame<'a>,
    relatives: Vec<(usize, String)>,
    /// Masked names of the persons who may act for the reader.
    guardians: Vec<String>,
    answer: Answer,
}

/// What the page says after one of its forms.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Answer {
    /// What was done, or why it was not.
    said: Option<Said>,
    typed: Typed,
    /// The invitation that the reader gives to the relative.
    invitation: Option<String>,
    /// Who asks the reader for consent.
    asking: Option<Asking>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    /// Whether it was done.
    done: bool,
    /// The value of `data-result`.
    result: String,
    /// The id of the text; empty for the problem that `result` names.
    text: String,
    /// The field that is wrong; empty if none is.
    field: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Typed {
    id_number: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Asking {
    code: String,
    /// Masked; empty if the person left none.
    name: String,
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
    let f = frame(&site, choice, &signed_in, "/my/family");
    shown(f, &signed_in.who, Answer::default()).await
}

/// The page after one of its forms.
pub(super) async fn said(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(id): Path<String>,
    parts: Parts,
) -> Result<Response, PageError> {
    let results = Results::of(&site, &parts, &signed_in.session);
    let found = Uuid::try_parse(&id).ok().and_then(|id| Some((id, results.find(id)?)));
    let Some((id, answer)) = found else {
        return Ok(Redirect::to("/my/family").into_response());
    };
    let f = frame(&site, choice, &signed_in, &address(id));
    shown(f, &signed_in.who, answer).await
}

async fn shown(f: Frame<'_>, resident: &Resident, answer: Answer) -> Result<Response, PageError> {
    let subject = Subject::new(resident, None)?;
    let guardians = listed(f.site, &subject).await?.guardians;
    let relatives = resident.relatives.iter().enumerate();
    let relatives = relatives.map(|(at, relative)| (at + 1, masked(&relative.name)));
    let family = Family {
        relatives: relatives.collect(),
        guardians,
        answer,
        f,
    };
    Ok(page(StatusCode::OK, &family))
}

/// The address of the page after a form with this command id.
fn address(id: Uuid) -> String {
    format!("/my/family/said/{id}")
}

fn frame<'a>(site: &'a Site, choice: Choice, signed_in: &SignedIn<Resident>, path: &str) -> Frame<'a> {
    Frame::of(site, choice, path, &signed_in.session, masked(&signed_in.who.name))
}

impl Family<'_> {
    /// What is said of no single field.
    fn said(&self) -> Option<&Said> {
        self.answer.said.as_ref().filter(|said| said.field.is_empty())
    }

    /// The sentence beside a field, if it is the wrong one.
    fn error(&self, field: &str) -> Option<String> {
        let said = self.answer.said.as_ref().filter(|said| said.field == field)?;
        Some(self.text(said))
    }

    fn text(&self, said: &Said) -> String {
        match (said.text.as_str(), Code::parse(&said.result)) {
            ("", Some(code)) => self.f.problem(&Problem::new(code, "the form was not accepted")),
            ("", None) => self.f.t("problem-other"),
            (text, _) => self.f.t(text),
        }
    }
}

impl Answer {
    /// A field is wrong; what was typed stays.
    fn refused(mut self, field: &str, text: &str) -> Self {
        self.said = Some(Said {
            done: false,
            result: "invalid_request".to_owned(),
            text: text.to_owned(),
            field: field.to_owned(),
        });
        self
    }

    fn failed(mut self, problem: &Problem) -> Self {
        self.said = Some(Said {
            done: false,
            result: problem.code().as_str().to_owned(),
            text: String::new(),
            field: String::new(),
        });
        self
    }

    fn done(mut self, text: &str) -> Self {
        self.said = Some(Said {
            done: true,
            result: "done".to_owned(),
            text: text.to_owned(),
            field: String::new(),
        });
        self
    }
}

/// A typed ID number in its plain form: spaces are dropped, and full-width characters are read as plain ones.
///
/// # Errors
/// The id of the text that says what is wrong.
pub(crate) fn id_number(site: &Site, typed: &str) -> Result<String, &'static str> {
    let plain = typed.chars().filter(|c| !c.is_whitespace()).map(narrow);
    let plain: String = plain.take(MAX_TYPED).collect::<String>().to_ascii_uppercase();
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
