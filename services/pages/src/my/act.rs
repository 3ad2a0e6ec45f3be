//! The acts of `/my/KIND`: get and reissue, report lost, show, print and download.

use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use citycode_domain::policy::{ChannelAct, KindPolicy};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{IssueRequest, IssuedCode, ReprintRequest};
use citycode_wire::proto::revocation::v1::ReportLossRequest;
use data_encoding::BASE64URL_NOPAD;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::codes_kept::{KeptCode, KeptCodes};
use super::kind::{For, KindPage, Shown, frame};
use super::subject::{Subject, channel_for, codes_of};
use crate::acts::ActResult;
use crate::caller::PageCaller;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::picture;
use crate::problem_page::PageError;
use crate::session::{Resident, SignedIn};
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
    fn check(&self, site: &Site, signed_in: &SignedIn<Resident>) -> Result<Vec<u8>, PageError> {
        let id = signed_in.session.command(site, &self.form_token, &self.command_id)?;
        Ok(id.as_bytes().to_vec())
    }
}

/// What all acts of a kind have in common.
struct Act<'a> {
    site: &'a Site,
    kind: &'a KindPolicy,
    subject: Subject<'a>,
    command_id: Vec<u8>,
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

    fn frame(&self, choice: Choice, signed_in: &SignedIn<Resident>) -> Frame<'a> {
        frame(self.site, choice, self.kind, &signed_in.session, &signed_in.who)
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
            command_id: self.command_id.clone(),
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
            command_id: self.command_id.clone(),
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
            command_id: self.command_id.clone(),
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

    /// The page of the kind as it is after the act.
    async fn page(&self, f: Frame<'a>, result: ActResult) -> Result<KindPage<'a>, PageError> {
        let mut shown = KindPage::open(self.site, f, self.kind, &self.subject).await?;
        shown.result = Some(result);
        Ok(shown)
    }
}

/// Gets a code, or reissues it.
pub(super) async fn issue(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    parts: Parts,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    let f = act.frame(choice, &signed_in);
    if act.kind.device_bound && signed_in.who.shared_computer {
        return Err(PageError::Forbidden);
    }
    let code = match act.issue(&form.device_key).await {
        Ok(code) => code,
        Err(problem) => return failed(&act, f, &problem).await,
    };
    let codes = codes_of(&site, &act.subject).await.unwrap_or_default();
    let headline = f.t1("act-issued", "kind", &f.kind(&act.kind.name));
    let result = ActResult::done(&f, headline, &act.kind.name, code.supersedes.as_deref(), &codes);
    let mut shown = act.page(f, result).await?;
    if !act.kind.device_bound {
        shown.shown = Shown::Image(picture::svg(&shown.f, act.kind, &code)?);
        return Ok(page(StatusCode::OK, &shown));
    }
    let mut kept = KeptCodes::of(&site, &parts, &signed_in.who);
    let new = KeptCode {
        code_id: code.code_id.clone(),
        token: code.token.clone(),
    };
    kept.keep(new, code.supersedes.as_deref());
    shown.shown = Shown::Live(code.token);
    shown.offers.hint = None;
    let cookie = kept.set_cookie(&site, &signed_in.who);
    Ok(([(SET_COOKIE, cookie)], page(StatusCode::OK, &shown)).into_response())
}

/// Reports a code lost.
pub(super) async fn report_loss(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    parts: Parts,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    let f = act.frame(choice, &signed_in);
    let code_id = match act.report_loss().await {
        Ok(code_id) => code_id,
        Err(problem) => return failed(&act, f, &problem).await,
    };
    let codes = codes_of(&site, &act.subject).await.unwrap_or_default();
    let headline = f.t1("act-lost", "kind", &f.kind(&act.kind.name));
    let result = ActResult::done(&f, headline, &act.kind.name, Some(&code_id), &codes);
    let shown = act.page(f, result).await?;
    let mut kept = KeptCodes::of(&site, &parts, &signed_in.who);
    kept.forget(&code_id);
    let cookie = kept.set_cookie(&site, &signed_in.who);
    Ok(([(SET_COOKIE, cookie)], page(StatusCode::OK, &shown)).into_response())
}

/// Shows an image code.
pub(super) async fn show_code(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    let f = act.frame(choice, &signed_in);
    match act.reprint().await {
        Ok(code) => {
            let mut shown = KindPage::open(&site, f, act.kind, &act.subject).await?;
            shown.shown = Shown::Image(picture::svg(&shown.f, act.kind, &code)?);
            Ok(page(StatusCode::OK, &shown))
        }
        Err(problem) => failed(&act, f, &problem).await,
    }
}

/// The print sheet of a code, as PDF.
pub(super) async fn print(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    match act.reprint().await {
        Ok(code) => Ok(file(
            "application/pdf",
            "inline",
            "pdf",
            picture::sheet(&site, act.kind, &code)?,
        )),
        Err(problem) => failed(&act, act.frame(choice, &signed_in), &problem).await,
    }
}

/// The image of a code, as PNG.
pub(super) async fn download(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let act = Act::new(&site, &kind, &query, &signed_in, &form)?;
    match act.reprint().await {
        Ok(code) => Ok(file(
            "image/png",
            "attachment",
            "png",
            picture::png(&site, act.kind, &code)?,
        )),
        Err(problem) => failed(&act, act.frame(choice, &signed_in), &problem).await,
    }
}

/// A file whose name contains nothing personal.
fn file(kind: &'static str, disposition: &'static str, extension: &str, bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let name = format!("{disposition}; filename=\"code.{extension}\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    response
}

async fn failed(act: &Act<'_>, f: Frame<'_>, problem: &Problem) -> Result<Response, PageError> {
    let result = ActResult::failed(&f, problem);
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut shown = KindPage::open(f.site, f, act.kind, &act.subject).await?;
    shown.result = Some(result);
    Ok(page(status, &shown))
}
