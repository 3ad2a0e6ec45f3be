//! The acts of a kiosk. Each ends in a redirection, so that going back or reloading sends nothing again; what the next
//! page says is in the visit.

use axum::Form;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_wire::proto::issuer::v1::{CodeLife, IssueRequest, IssuedCode, RegisterRequest};
use citycode_wire::proto::revocation::v1::ReportLossRequest;
use serde::Deserialize;
use uuid::Uuid;

use super::at::InVisit;
use super::choose::{authentication, codes_of};
use super::idle::keep;
use super::visit::{Act, Asked, Done};
use crate::problem_page::PageError;

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
pub(super) async fn act(
    visiting: InVisit,
    Path(act): Path<String>,
    Form(form): Form<Confirmed>,
) -> Result<Response, PageError> {
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
    Ok(perform(visiting, asked).await)
}

/// Asks again for the outcome of an act: the same call with the same command id.
pub(super) async fn ask_again(visiting: InVisit) -> Response {
    match visiting.visit.pending.clone() {
        Some(asked) => perform(visiting, asked).await,
        None => Redirect::to("/kiosk/done").into_response(),
    }
}

async fn perform(mut visiting: InVisit, asked: Asked) -> Response {
    let outcome = if asked.act == Act::Loss {
        report_loss(&visiting, &asked).await.map(|code_id| (None, code_id))
    } else {
        issue(&visiting, &asked)
            .await
            .map(|code| (Some(code.clone()), code.code_id))
    };
    let visit = &mut visiting.visit;
    match outcome {
        Ok((code, code_id)) => {
            let died = match &code {
                Some(code) => code.supersedes.clone(),
                None => Some(code_id.clone()),
            };
            visit.pending = None;
            visit.to_print = code.map(Into::into);
            if visit.done_with(asked.command_id).is_none() {
                visit.done.push(Done {
                    at: visiting.at.site.now(),
                    asked,
                    code_id,
                    died,
                });
            }
            next(visiting, "/kiosk/done")
        }
        Err(problem) if problem.outcome() == Some(Outcome::Unknown) => {
            visit.pending = Some(asked);
            visit.problem = Some(problem.code().as_str().to_owned());
            next(visiting, "/kiosk/act/pending")
        }
        Err(problem) => {
            visit.pending = None;
            // An unknown relative looks like an unrelated one (R31).
            let hidden = asked.relative.is_some() && problem.code() == Code::NotRegistered;
            let code = if hidden {
                Code::RelationshipUnknown
            } else {
                problem.code()
            };
            visit.problem = Some(code.as_str().to_owned());
            next(visiting, "/kiosk/act/refused")
        }
    }
}

/// Keeps the visit, and sends the browser to a page.
fn next(mut visiting: InVisit, path: &str) -> Response {
    let cookie = visiting.visit.set_cookie(&visiting.at.site, &visiting.at.session);
    let mut response = Redirect::to(path).into_response();
    keep(&mut response, &cookie);
    response
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
pub(super) async fn print_again(mut visiting: InVisit, Form(form): Form<Again>) -> Result<Response, PageError> {
    let InVisit { at, visit } = &visiting;
    at.check_form(&form.form_token)?;
    let command_id = Uuid::try_parse(&form.command_id).map_err(|_| PageError::StaleForm)?;
    let done = visit
        .done_with(command_id)
        .filter(|done| done.asked.act.prints())
        .cloned();
    let Some(done) = done else {
        return Ok(Redirect::to("/kiosk/codes").into_response());
    };
    let codes = codes_of(&visiting, done.asked.relative.as_deref()).await?;
    let valid = codes
        .iter()
        .any(|code| code.code_id == done.code_id && code.state() == CodeLife::Valid);
    let printed = if valid {
        issue_once(&visiting, &done.asked).await
    } else {
        // It was replaced or reported lost meanwhile: its paper would admit nobody.
        Err(Problem::new(Code::NoValidCode, "the code is no longer valid"))
    };
    match printed {
        Ok(code) => {
            visiting.visit.to_print = Some(code.into());
            Ok(next(visiting, "/kiosk/done"))
        }
        Err(problem) => {
            visiting.visit.problem = Some(problem.code().as_str().to_owned());
            Ok(next(visiting, "/kiosk/act/refused"))
        }
    }
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
        authentication: authentication(visiting)?,
        id_number: visit.id_number.clone(),
        name: name.clone(),
        attestation: None,
    };
    at.site
        .clients
        .issuer
        .clone()
        .register(at.site.request(&at.caller(), request)?)
        .await?;
    issue_once(visiting, asked).await
}

async fn issue_once(visiting: &InVisit, asked: &Asked) -> Result<IssuedCode, Problem> {
    let at = &visiting.at;
    let (holder, guardian) = parties(visiting, asked);
    let request = IssueRequest {
        command_id: asked.command_id.as_bytes().to_vec(),
        channel: at.device.channel.clone(),
        authentication: authentication(visiting)?,
        kind: asked.kind.clone(),
        id_number: holder,
        guardian_id_number: guardian,
        device_key: Vec::new(),
        attestation: None,
        print: true,
    };
    let answer = at
        .site
        .clients
        .issuer
        .clone()
        .issue(at.site.request(&at.caller(), request)?)
        .await?;
    answer.into_inner().code.ok_or_else(Problem::internal)
}

async fn report_loss(visiting: &InVisit, asked: &Asked) -> Result<String, Problem> {
    let at = &visiting.at;
    let (holder, guardian) = parties(visiting, asked);
    let request = ReportLossRequest {
        command_id: asked.command_id.as_bytes().to_vec(),
        channel: at.device.channel.clone(),
        authentication: authentication(visiting)?,
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
