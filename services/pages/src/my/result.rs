//! The pages after an act: what it did, as the code is now; and the print sheet that it made.

use axum::extract::{Path, Query, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_domain::policy::KindPolicy;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState, IssuedCode};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files;
use super::kind::{Again, For, KindPage, Offers, Shown, frame, with_query};
use super::results::Results;
use super::subject::{Subject, codes_of, last_of};
use crate::acts::ActResult;
use crate::frame::{Frame, page};
use crate::issued::IssuedAgain;
use crate::lang::Choice;
use crate::picture;
use crate::problem_page::PageError;
use crate::session::{Resident, SignedIn};
use crate::site::{SharedSite, Site};

/// An act.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Did {
    /// It got or reissued a code.
    Issue,
    /// It reported a code lost.
    Loss,
    /// It showed an image code.
    Show,
    /// It made the print sheet of a code.
    Print,
}

impl Did {
    /// The last part of the path of its form.
    fn path(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Loss => "loss",
            Self::Show => "show",
            Self::Print => "print",
        }
    }
}

/// What an act did.
#[derive(Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) act: Did,
    pub(super) kind: String,
    /// The number of the relative in the session.
    pub(super) relative: Option<usize>,
    /// The code that it made, ended or showed.
    code_id: Option<String>,
    /// The code that stopped working.
    died: Option<String>,
    /// An image code, to be shown or printed.
    pub(super) code: Option<IssuedAgain>,
    /// The code of the problem if it was not done, or it is not known whether it was.
    problem: Option<String>,
    /// Whether it is not known whether it was done.
    unknown: bool,
}

impl Done {
    pub(super) fn new(act: Did, kind: &str, relative: Option<usize>) -> Self {
        Self {
            act,
            kind: kind.to_owned(),
            relative,
            code_id: None,
            died: None,
            code: None,
            problem: None,
            unknown: false,
        }
    }

    /// It was done with this code, and ended that one.
    pub(super) fn with(mut self, code_id: &str, died: Option<&str>) -> Self {
        self.code_id = Some(code_id.to_owned());
        self.died = died.map(str::to_owned);
        self
    }

    /// It was refused, or its outcome is not known.
    pub(super) fn failed(mut self, problem: &Problem) -> Self {
        self.problem = Some(problem.code().as_str().to_owned());
        self.unknown = problem.outcome() == Some(Outcome::Unknown);
        self
    }

    fn problem(&self) -> Option<Problem> {
        let code = Code::parse(self.problem.as_deref()?).unwrap_or(Code::Internal);
        let problem = Problem::new(code, "the act was not done");
        Some(if self.unknown {
            problem.with_outcome(Outcome::Unknown)
        } else {
            problem
        })
    }

    /// Whether the code is still the one of which the result speaks.
    fn is_current(&self, code: Option<&CodeState>) -> bool {
        match self.act {
            _ if self.problem.is_some() => true,
            Did::Loss => code.map(|code| &code.code_id) == self.code_id.as_ref(),
            Did::Issue | Did::Show | Did::Print => {
                let same = code.filter(|code| Some(&code.code_id) == self.code_id.as_ref());
                same.is_some_and(|code| code.state() == CodeLife::Valid)
            }
        }
    }

    /// What it did, in words. To show or print a code needs none.
    fn words(&self, f: &Frame<'_>, codes: &[CodeState]) -> Option<ActResult> {
        if let Some(problem) = self.problem() {
            return Some(ActResult::failed(f, &problem));
        }
        let headline = match self.act {
            Did::Issue => "act-issued",
            Did::Loss => "act-lost",
            Did::Show | Did::Print => return None,
        };
        let headline = f.t1(headline, "kind", &f.kind(&self.kind));
        Some(ActResult::done(f, headline, &self.kind, self.died.as_deref(), codes))
    }
}

/// The address of the page after an act.
pub(super) fn address(kind: &str, act: Did, id: Uuid, relative: Option<usize>) -> String {
    let page = if act == Did::Print { "sheet" } else { "result" };
    with_query(&format!("/my/{kind}/{page}/{id}"), &query_of(relative))
}

fn query_of(relative: Option<usize>) -> String {
    relative.map(|number| format!("for={number}")).unwrap_or_default()
}

/// The page after an act.
pub(super) async fn show(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path((kind, id)): Path<(String, String)>,
    Query(query): Query<For>,
    parts: Parts,
) -> Result<Response, PageError> {
    let (kind, subject) = subject_of(&site, &kind, &query, &signed_in)?;
    let Some((id, done)) = find(&site, &parts, &signed_in, &id, kind, &subject) else {
        return Ok(to_kind(kind, &subject));
    };
    let codes = codes_of(&site, &subject).await?;
    let code = last_of(&codes, kind, &subject);
    if !done.is_current(code) {
        return Ok(to_kind(kind, &subject));
    }
    let mut f = frame(&site, choice, kind, &signed_in.session, &signed_in.who);
    f.path = format!("/my/{}/result/{id}", kind.name);
    let result = done.words(&f, &codes);
    let mut shown = KindPage::new(&site, f, kind, &subject, &codes);
    shown.result = result;
    if done.unknown {
        // Another act now could be done twice; only this one is asked for again.
        shown.offers = Offers::default();
        shown.again = Some(Again {
            action: with_query(&format!("/my/{}/{}", kind.name, done.act.path()), &subject.query()),
            command_id: id,
            needs_key: kind.device_bound && done.act == Did::Issue,
        });
    }
    match done.code.filter(|_| done.problem.is_none()) {
        Some(code) => {
            let code = IssuedCode::from(code);
            shown.shown = Shown::Image(picture::svg(&shown.f, kind, &code)?);
        }
        None => shown.show_live(&site, &parts, &signed_in.who, kind),
    }
    Ok(page(StatusCode::OK, &shown))
}

/// The print sheet, as PDF.
pub(super) async fn sheet(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path((kind, id)): Path<(String, String)>,
    Query(query): Query<For>,
    parts: Parts,
) -> Result<Response, PageError> {
    let (kind, subject) = subject_of(&site, &kind, &query, &signed_in)?;
    let Some((id, done)) = find(&site, &parts, &signed_in, &id, kind, &subject) else {
        return Ok(to_kind(kind, &subject));
    };
    if done.problem.is_some() {
        return Ok(Redirect::to(&address(&kind.name, Did::Show, id, subject.relative)).into_response());
    }
    let codes = codes_of(&site, &subject).await?;
    match done.code.clone() {
        // Nobody prints a code that does not work any more.
        Some(code) if done.is_current(last_of(&codes, kind, &subject)) => {
            let sheet = picture::sheet(&site, kind, &code.into())?;
            Ok(files::answer(
                &site,
                choice.language,
                kind,
                files::SavedAs::Sheet,
                sheet,
            ))
        }
        _ => Ok(to_kind(kind, &subject)),
    }
}

fn subject_of<'a>(
    site: &'a Site,
    kind: &str,
    query: &For,
    signed_in: &'a SignedIn<Resident>,
) -> Result<(&'a KindPolicy, Subject<'a>), PageError> {
    let kind = site.kind(kind).ok_or(PageError::NotFound)?;
    let subject = Subject::new(&signed_in.who, query.relative)?;
    if !subject.may_have(kind) {
        return Err(PageError::NotFound);
    }
    Ok((kind, subject))
}

/// What the form with this command id did, if it was a form of this kind and person.
fn find(
    site: &Site,
    parts: &Parts,
    signed_in: &SignedIn<Resident>,
    id: &str,
    kind: &KindPolicy,
    subject: &Subject<'_>,
) -> Option<(Uuid, Done)> {
    let id = Uuid::try_parse(id).ok()?;
    let done: Done = Results::of(site, parts, &signed_in.session).find(id)?;
    (done.kind == kind.name && done.relative == subject.relative).then_some((id, done))
}

/// The result is not of this session, or the code has changed since: the reader sees the code as it is.
fn to_kind(kind: &KindPolicy, subject: &Subject<'_>) -> Response {
    Redirect::to(&with_query(&format!("/my/{}", kind.name), &subject.query())).into_response()
}
