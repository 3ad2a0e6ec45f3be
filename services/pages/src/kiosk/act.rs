//! The acts of a kiosk, and the page after one: what stopped working, the print, 打印出来了吗？

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_domain::policy::KindPolicy;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_wire::proto::issuer::v1::{CodeLife, IssueRequest, IssuedCode, RegisterRequest};
use citycode_wire::proto::revocation::v1::ReportLossRequest;
use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::at::InVisit;
use super::choose::{authentication, codes_of, elsewhere};
use super::idle::keep;
use super::print_folder;
use super::visit::{Act, Asked, Done};
use crate::acts::ActResult;
use crate::frame::{Frame, page};
use crate::paper::{Receipt, Sheet};
use crate::picture;
use crate::problem_page::PageError;

/// The page after an act.
#[derive(Template)]
#[template(path = "kiosk/done.html")]
struct DonePage<'a> {
    f: Frame<'a>,
    result: ActResult,
    /// The sheet or receipt that the browser prints; empty if it prints nothing.
    sheet: String,
    /// Whether the browser prints it without a click.
    prints_now: bool,
    /// Whether a print job is in the folder.
    job: Job,
    receipt: Receipt,
    /// The command id of the act whose code can be printed again.
    again: Option<Uuid>,
}

/// A print job as a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    None,
    Sent,
    Failed,
}

/// The page while the outcome of an act is not known: it asks again by itself.
#[derive(Template)]
#[template(path = "kiosk/pending.html")]
struct Pending<'a> {
    f: Frame<'a>,
    result: ActResult,
}

/// The form of the step before.
#[derive(Deserialize)]
pub(super) struct Confirmed {
    #[serde(default)]
    form_token: String,
    #[serde(default)]
    command_id: String,
    #[serde(default)]
    kind: String,
    #[serde(rename = "for", default)]
    whom: String,
}

/// Does an act.
pub(super) async fn act(visiting: InVisit, Path(act): Path<String>, Form(form): Form<Confirmed>) -> Result<Response, PageError> {
    let InVisit { at, visit } = &visiting;
    at.check_form(&form.form_token)?;
    let act = Act::parse(&act).ok_or(PageError::NotFound)?;
    let for_relative = form.whom == "relative" && visit.relative.is_some();
    let kind = at.kind(&form.kind, act, for_relative)?;
    let command_id = Uuid::try_parse(&form.command_id).map_err(|_| PageError::StaleForm)?;
    if visit.done_with(command_id).is_some() {
        return Ok(Redirect::to("/kiosk/done").into_response());
    }
    let asked = visit.asked(&at.site, act, &kind.name, for_relative);
    if asked.command_id != command_id || visit.is_full() {
        // The form is of another visit, or of a step that another act has overtaken.
        return Ok(Redirect::to("/kiosk/codes").into_response());
    }
    perform(visiting, asked).await
}

/// Asks again for the outcome of an act: the same call with the same command id.
pub(super) async fn pending(visiting: InVisit) -> Result<Response, PageError> {
    match visiting.visit.pending.clone() {
        Some(asked) => perform(visiting, asked).await,
        None => Ok(Redirect::to("/kiosk/done").into_response()),
    }
}

async fn perform(mut visiting: InVisit, asked: Asked) -> Result<Response, PageError> {
    let kind = visiting.at.site.kind(&asked.kind).ok_or(PageError::NotFound)?.clone();
    let outcome = if asked.act == Act::Loss {
        report_loss(&visiting, &asked).await.map(|code_id| (None, code_id.clone(), Some(code_id)))
    } else {
        let issued = issue(&visiting, &asked).await;
        issued.map(|code| (Some(code.clone()), code.code_id, code.supersedes))
    };
    let (code, code_id, died) = match outcome {
        Ok(done) => done,
        Err(problem) => return Ok(failed(visiting, asked, &problem)),
    };
    let done = Done {
        at: visiting.at.site.now(),
        asked,
        code_id,
        died,
    };
    visiting.visit.pending = None;
    if visiting.visit.done_with(done.asked.command_id).is_none() {
        visiting.visit.done.push(done.clone());
    }
    let cookie = visiting.visit.set_cookie(&visiting.at.site, &visiting.at.session);
    let mut response = done_page(&visiting, &kind, &done, code.as_ref()).await?;
    keep(&mut response, &cookie);
    Ok(response)
}

/// The page after an act that was refused, or whose outcome is not known.
fn failed(mut visiting: InVisit, asked: Asked, problem: &Problem) -> Response {
    let unknown = problem.outcome() == Some(Outcome::Unknown);
    let for_relative = asked.relative.is_some();
    visiting.visit.pending = unknown.then_some(asked);
    let cookie = visiting.visit.set_cookie(&visiting.at.site, &visiting.at.session);
    let f = visiting.at.frame(if unknown { "/kiosk/pending" } else { "/kiosk/codes" });
    let mut response = if unknown {
        let result = ActResult::failed(&f, problem);
        let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        page(status, &Pending { f, result })
    } else if for_relative && problem.code() == Code::NotRegistered {
        // An unknown relative looks like an unrelated one (R31).
        elsewhere(f, &Problem::new(Code::RelationshipUnknown, problem.detail()))
    } else {
        elsewhere(f, problem)
    };
    keep(&mut response, &cookie);
    response
}

/// Gets a code, or the same one again. Somebody whose card was read is registered on the way.
async fn issue(visiting: &InVisit, asked: &Asked) -> Result<IssuedCode, Problem> {
    let first = issue_once(visiting, asked).await;
    let Some(name) = &visiting.visit.name else {
        return first;
    };
    match first {
        Err(problem) if problem.code() == Code::NotRegistered && asked.relative.is_none() => {}
        other => return other,
    }
    let InVisit { at, visit } = visiting;
    let id = format!("{} register", visit.id);
    let request = RegisterRequest {
        command_id: at.site.seal.name("kiosk-act", id.as_bytes()).to_vec(),
        channel: at.device.channel.clone(),
        authentication: Some(authentication(visiting)),
        id_number: visit.id_number.clone(),
        name: name.clone(),
        attestation: None,
    };
    at.site.clients.issuer.clone().register(at.site.request(&at.caller(), request)?).await?;
    issue_once(visiting, asked).await
}

async fn issue_once(visiting: &InVisit, asked: &Asked) -> Result<IssuedCode, Problem> {
    let at = &visiting.at;
    let (holder, guardian) = parties(visiting, asked);
    let request = IssueRequest {
        command_id: asked.command_id.as_bytes().to_vec(),
        channel: at.device.channel.clone(),
        authentication: Some(authentication(visiting)),
        kind: asked.kind.clone(),
        id_number: holder,
        guardian_id_number: guardian,
        device_key: Vec::new(),
        attestation: None,
        print: true,
    };
    let answer = at.site.clients.issuer.clone().issue(at.site.request(&at.caller(), request)?).await?;
    answer.into_inner().code.ok_or_else(Problem::internal)
}

async fn report_loss(visiting: &InVisit, asked: &Asked) -> Result<String, Problem> {
    let at = &visiting.at;
    let (holder, guardian) = parties(visiting, asked);
    let request = ReportLossRequest {
        command_id: asked.command_id.as_bytes().to_vec(),
        channel: at.device.channel.clone(),
        authentication: Some(authentication(visiting)),
        kind: asked.kind.clone(),
        id_number: holder,
        guardian_id_number: guardian,
    };
    let mut revocation = at.site.clients.revocation.clone();
    let answer = revocation.report_loss(at.site.request(&at.caller(), request)?).await?;
    Ok(answer.into_inner().code_id)
}

/// The ID numbers of holder and guardian; the guardian's is empty if the person acts alone.
fn parties(visiting: &InVisit, asked: &Asked) -> (String, String) {
    let own = visiting.visit.id_number.clone();
    match &asked.relative {
        Some(relative) => (relative.clone(), own),
        None => (own, String::new()),
    }
}

/// What was done last in this visit, without doing or printing anything.
pub(super) async fn show_done(visiting: InVisit) -> Result<Response, PageError> {
    let Some(done) = visiting.visit.done.last().cloned() else {
        return Ok(Redirect::to("/kiosk/codes").into_response());
    };
    let kind = visiting.at.site.kind(&done.asked.kind).ok_or(PageError::NotFound)?;
    done_page(&visiting, kind, &done, None).await
}

/// The form of 再打印一次.
#[derive(Deserialize)]
pub(super) struct Again {
    #[serde(default)]
    form_token: String,
    /// The command id of the act.
    #[serde(default)]
    command_id: String,
}

/// Prints the code of this visit again: the same call with the same command id gives the same code, so the right to
/// reprint is not needed.
pub(super) async fn print_again(visiting: InVisit, Form(form): Form<Again>) -> Result<Response, PageError> {
    let InVisit { at, visit } = &visiting;
    at.check_form(&form.form_token)?;
    let command_id = Uuid::try_parse(&form.command_id).map_err(|_| PageError::StaleForm)?;
    let done = visit.done_with(command_id).filter(|done| done.asked.act.prints()).cloned();
    let Some(done) = done else {
        return Ok(Redirect::to("/kiosk/codes").into_response());
    };
    let kind = at.site.kind(&done.asked.kind).ok_or(PageError::NotFound)?;
    let codes = codes_of(&visiting, done.asked.relative.is_some()).await?;
    let valid = codes.iter().any(|code| code.code_id == done.code_id && code.state() == CodeLife::Valid);
    if !valid {
        // It was replaced or reported lost meanwhile: its paper would admit nobody.
        let problem = Problem::new(Code::NoValidCode, "the code is no longer valid");
        return Ok(elsewhere(at.frame("/kiosk/codes"), &problem));
    }
    match issue_once(&visiting, &done.asked).await {
        Ok(code) => done_page(&visiting, kind, &done, Some(&code)).await,
        Err(problem) => Ok(elsewhere(at.frame("/kiosk/codes"), &problem)),
    }
}

/// The page after an act. With `code` it prints the sheet.
async fn done_page(visiting: &InVisit, kind: &KindPolicy, done: &Done, code: Option<&IssuedCode>) -> Result<Response, PageError> {
    let InVisit { at, visit } = visiting;
    let site = &at.site;
    let f = at.frame("/kiosk/done");
    let codes = codes_of(visiting, done.asked.relative.is_some()).await.unwrap_or_default();
    let label = f.label(&kind.label);
    let headline = f.t1(&format!("kiosk-done-{}", done.asked.act.word()), "kind", &label);
    let result = ActResult::done(&f, headline, &kind.name, done.died.as_deref(), &codes);
    let receipt = Receipt::new(&f, (done.asked.act.word(), &label), done.asked.command_id, done.at);
    let (mut sheet, mut job) = (String::new(), Job::None);
    match (code, &site.kiosk.print_folder) {
        (Some(code), Some(folder)) => {
            let pdf = picture::sheet(site, kind, code)?;
            let written = print_folder::write(site, folder, (&at.device.id, &visit.id), pdf).await;
            job = if written.is_ok() { Job::Sent } else { Job::Failed };
        }
        (Some(code), None) => sheet = Sheet::new(&f, kind, code, site.kiosk.print_format)?.html()?,
        // Nothing else is printed after a loss, so the receipt can be.
        (None, None) if done.asked.act == Act::Loss => sheet = receipt.html(&f, site.kiosk.print_format)?,
        (None, _) => {}
    }
    let page_of_done = DonePage {
        prints_now: code.is_some() && job == Job::None,
        again: done.asked.act.prints().then_some(done.asked.command_id),
        result,
        sheet,
        job,
        receipt,
        f,
    };
    Ok(page(StatusCode::OK, &page_of_done))
}
