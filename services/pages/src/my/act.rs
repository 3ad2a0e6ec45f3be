//! The acts of `/my/KIND`: get and reissue, report lost, show, print and download. Each but the download ends in a
//! redirection to the page of its result (`result.rs`).

use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_domain::policy::{ChannelAct, KindPolicy};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{IssueRequest, IssuedCode, ReprintRequest};
use citycode_wire::proto::revocation::v1::ReportLossRequest;
use data_encoding::BASE64URL_NOPAD;
use http::header::SET_COOKIE;
use serde::Deserialize;
use uuid::Uuid;

use super::codes_kept::{KeptCode, KeptCodes};
use super::files;
use super::kind::For;
use super::result::{self, Did, Done};
use super::results::Results;
use super::subject::{Subject, channel_for};
use crate::caller::PageCaller;
use crate::lang::Choice;
use crate::picture;
use crate::problem_page::PageError;
use crate::session::{Resident, Session, SignedIn};
use crate::site::{SharedSite, Site};

/// The form of an act.
#[derive(Deserialize)]
pub(super) struct ActForm {
    #[serde(default)]
    form_token: String,
    /// The command id: the form sent twice does nothing twice.
    #[serde(default)]
    command_id: String,
    /// The public key of the browser, base64url; only for live codes.
    #[serde(default)]
    device_key: String,
}

impl ActForm {
    fn check(&self, site: &Site, signed_in: &SignedIn<Resident>) -> Result<Uuid, PageError> {
        signed_in.session.command(site, &self.form_token, &self.command_id)
    }
}

/// What all acts of a kind have in common.
struct Act<'a> {
    site: &'a Site,
    kind: &'a KindPolicy,
    subject: Subject<'a>,
    command_id: Uuid,
}

impl<'a> Act<'a> {
    fn new(
        site: &'a Site,
        kind: &str,
        query: &For,
        signed_in: &'a SignedIn<Resident>,
        form: &ActForm,
    ) -> Result<Self, PageError> {
        let kind = site.kind(kind).ok_or(PageError::NotFound)?;
        let subject = Subject::new(&signed_in.who, query.relative)?;
        if !subject.may_have(kind) {
            return Err(PageError::NotFound);
        }
        let command_id = form.check(site, signed_in)?;
        Ok(Self {
            site,
            kind,
            subject,
            command_id,
        })
    }

    /// The first of these acts that a channel of these pages may do, as a caller.
    fn through(&self, acts: &[ChannelAct]) -> Result<(String, PageCaller), Problem> {
        let channel = acts.iter().find_map(|act| channel_for(self.site, self.kind, *act));
        let channel = channel.ok_or_else(|| {
            Problem::new(
                Code::ChannelNotAllowed,
                "no channel of these pages may do this in this kind",
            )
        })?;
        let caller = PageCaller::resident(self.site, &self.subject.resident.id_number, &channel.name);
        Ok((channel.name.clone(), caller))
    }

    async fn issue(&self, device_key: &str) -> Result<IssuedCode, Problem> {
        let (channel, caller) = self.through(&[ChannelAct::Issue, ChannelAct::Reissue])?;
        let device_key = BASE64URL_NOPAD.decode(device_key.as_bytes()).unwrap_or_default();
        let request = IssueRequest {
            command_id: self.command_id.as_bytes().to_vec(),
            authentication: self.site.authentication(&channel, &self.subject.resident.id_number)?,
            channel,
            kind: self.kind.name.clone(),
            id_number: self.subject.holder().to_owned(),
            guardian_id_number: self.subject.guardian().to_owned(),
            device_key,
            attestation: None,
            print: true,
        };
        let mut issuer = self.site.clients.issuer.clone();
        let answer = issuer.issue(self.site.request(&caller, request)?).await?;
        answer.into_inner().code.ok_or_else(Problem::internal)
    }

    async fn reprint(&self) -> Result<IssuedCode, Problem> {
        let (channel, caller) = self.through(&[ChannelAct::Reprint])?;
        let request = ReprintRequest {
            command_id: self.command_id.as_bytes().to_vec(),
            authentication: self.site.authentication(&channel, &self.subject.resident.id_number)?,
            channel,
            kind: self.kind.name.clone(),
            id_number: self.subject.holder().to_owned(),
            guardian_id_number: self.subject.guardian().to_owned(),
            print: true,
        };
        let mut issuer = self.site.clients.issuer.clone();
        let answer = issuer.reprint(self.site.request(&caller, request)?).await?;
        answer.into_inner().code.ok_or_else(Problem::internal)
    }

    async fn report_loss(&self) -> Result<String, Problem> {
        let (channel, caller) = self.through(&[ChannelAct::ReportLoss])?;
        let request = ReportLossRequest {
            command_id: self.command_id.as_bytes().to_vec(),
            authentication: self.site.authentication(&channel, &self.subject.resident.id_number)?,
            channel,
            kind: self.kind.name.clone(),
            id_number: self.subject.holder().to_owned(),
            guardian_id_number: self.subject.guardian().to_owned(),
        };
        let mut revocation = self.site.clients.revocation.clone();
        let answer = revocation.report_loss(self.site.request(&caller, request)?).await?;
        Ok(answer.into_inner().code_id)
    }

    /// Keeps what the act did, and sends the browser to the page that says it.
    fn redirect(&self, parts: &Parts, session: &Session, done: &Done) -> Response {
        let mut results = Results::of(self.site, parts, session);
        results.keep(self.command_id, done);
        let address = result::address(&done.kind, done.act, self.command_id, done.relative);
        let cookie = results.set_cookie(self.site, session);
        ([(SET_COOKIE, cookie)], Redirect::to(&address)).into_response()
    }

    /// What the act did: nothing yet.
    fn done(&self, act: Did) -> Done {
        Done::new(act, &self.kind.name, self.subject.relative)
    }
}

/// Gets a code, or reissues it.
pub(super) async fn issue(
    State(site): SharedSite,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    parts: Parts,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    if act.kind.device_bound && signed_in.who.shared_computer {
        return Err(PageError::Forbidden);
    }
    let done = act.done(Did::Issue);
    let code = match act.issue(&form.device_key).await {
        Ok(code) => code,
        Err(problem) => return Ok(act.redirect(&parts, &signed_in.session, &done.failed(&problem))),
    };
    let mut done = done.with(&code.code_id, code.supersedes.as_deref());
    if !act.kind.device_bound {
        done.code = Some(code.into());
        return Ok(act.redirect(&parts, &signed_in.session, &done));
    }
    let mut kept = KeptCodes::of(&site, &parts, &signed_in.who);
    let new = KeptCode {
        code_id: code.code_id,
        token: code.token,
    };
    kept.keep(new, code.supersedes.as_deref());
    let mut response = act.redirect(&parts, &signed_in.session, &done);
    keep(&mut response, &kept.set_cookie(&site, &signed_in.who));
    Ok(response)
}

/// Reports a code lost.
pub(super) async fn report_loss(
    State(site): SharedSite,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    parts: Parts,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    let done = act.done(Did::Loss);
    let code_id = match act.report_loss().await {
        Ok(code_id) => code_id,
        Err(problem) => return Ok(act.redirect(&parts, &signed_in.session, &done.failed(&problem))),
    };
    let mut kept = KeptCodes::of(&site, &parts, &signed_in.who);
    kept.forget(&code_id);
    let mut response = act.redirect(&parts, &signed_in.session, &done.with(&code_id, Some(&code_id)));
    keep(&mut response, &kept.set_cookie(&site, &signed_in.who));
    Ok(response)
}

/// Shows an image code.
pub(super) async fn show_code(
    State(site): SharedSite,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    parts: Parts,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    let done = reprinted(&act, Did::Show).await;
    Ok(act.redirect(&parts, &signed_in.session, &done))
}

/// Makes the print sheet of a code.
pub(super) async fn print(
    State(site): SharedSite,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    parts: Parts,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    let done = reprinted(&act, Did::Print).await;
    Ok(act.redirect(&parts, &signed_in.session, &done))
}

async fn reprinted(act: &Act<'_>, did: Did) -> Done {
    let done = act.done(did);
    match act.reprint().await {
        Ok(code) => {
            let mut done = done.with(&code.code_id, None);
            done.code = Some(code.into());
            done
        }
        Err(problem) => done.failed(&problem),
    }
}

/// The image of a code, as PNG. The browser saves it and stays on its page.
pub(super) async fn download(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    parts: Parts,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    match act.reprint().await {
        Ok(code) => {
            let image = picture::png(&site, act.kind, &code)?;
            Ok(files::answer(
                &site,
                choice.language,
                act.kind,
                files::SavedAs::Image,
                image,
            ))
        }
        Err(problem) => {
            let done = act.done(Did::Show).failed(&problem);
            Ok(act.redirect(&parts, &signed_in.session, &done))
        }
    }
}

/// Adds a cookie to an answer.
fn keep(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = cookie.parse() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}
