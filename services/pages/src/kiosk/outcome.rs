//! The page after an act: what stopped working, the print, 打印出来了吗？; or why it was not done; or that its outcome is
//! not known yet.

use askama::Template;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_domain::policy::KindPolicy;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::IssuedCode;
use http::StatusCode;
use uuid::Uuid;

use super::at::InVisit;
use super::choose::{codes_of, elsewhere};
use super::idle::keep;
use super::print_folder;
use super::visit::{Act, Done};
use crate::acts::ActResult;
use crate::frame::{Frame, page};
use crate::paper::{Receipt, Sheet};
use crate::picture;
use crate::problem_page::PageError;

/// The page after an act that was done.
#[derive(Template)]
#[template(path = "kiosk/done.html")]
struct DonePage<'a> {
    f: Frame<'a>,
    result: ActResult,
    /// The sheet or receipt that the browser prints; empty if it prints nothing.
    sheet: String,
    /// Whether the browser prints it without a click.
    prints_now: bool,
    /// Whether the print job could not be written to the folder.
    print_failed: bool,
    receipt: Receipt,
    /// The command id of the act whose code can be printed again.
    again: Option<Uuid>,
}

/// The page while the outcome of an act is not known: it asks again by itself.
#[derive(Template)]
#[template(path = "kiosk/pending.html")]
struct Pending<'a> {
    f: Frame<'a>,
    result: ActResult,
}

/// What was done last in this visit. It does nothing again; it prints what the step before left to be printed.
pub(super) async fn done(mut visiting: InVisit) -> Result<Response, PageError> {
    let Some(done) = visiting.visit.done.last().cloned() else {
        return Ok(Redirect::to("/kiosk/codes").into_response());
    };
    let code = visiting.visit.to_print.take().map(IssuedCode::from);
    let cookie = visiting.visit.set_cookie(&visiting.at.site, &visiting.at.session);
    let kind = visiting.at.site.kind(&done.asked.kind).ok_or(PageError::NotFound)?;
    let mut response = done_page(&visiting, kind, &done, code.as_ref()).await?;
    keep(&mut response, &cookie);
    Ok(response)
}

async fn done_page(
    visiting: &InVisit,
    kind: &KindPolicy,
    done: &Done,
    code: Option<&IssuedCode>,
) -> Result<Response, PageError> {
    let InVisit { at, visit } = visiting;
    let site = &at.site;
    let f = at.frame("/kiosk/done");
    let codes = codes_of(visiting, done.asked.relative.as_deref())
        .await
        .unwrap_or_default();
    let label = f.label(&kind.label);
    let headline = f.t1(&format!("kiosk-done-{}", done.asked.act.word()), "kind", &label);
    let result = ActResult::done(&f, headline, &kind.name, done.died.as_deref(), &codes);
    let receipt = Receipt::new(&f, (done.asked.act.word(), &label), done.asked.command_id, done.at);
    let (mut sheet, mut print_failed) = (String::new(), false);
    match (code, &site.kiosk.print_folder) {
        (Some(code), Some(folder)) => {
            let pdf = picture::sheet(site, kind, code)?;
            let written = print_folder::write(site, folder, (&at.device.id, &visit.id), pdf).await;
            print_failed = written.is_err();
        }
        (Some(code), None) => sheet = Sheet::new(&f, kind, code, site.kiosk.print_format)?.html()?,
        // Nothing else is printed after a loss, so the receipt can be.
        (None, None) if done.asked.act == Act::Loss => sheet = receipt.html(&f, site.kiosk.print_format)?,
        (None, _) => {}
    }
    let page_of_done = DonePage {
        prints_now: code.is_some() && !sheet.is_empty(),
        again: done.asked.act.prints().then_some(done.asked.command_id),
        result,
        sheet,
        print_failed,
        receipt,
        f,
    };
    Ok(page(StatusCode::OK, &page_of_done))
}

/// Why the last act was not done.
pub(super) async fn refused(visiting: InVisit) -> Response {
    match problem(&visiting) {
        Some(problem) => elsewhere(visiting.at.frame("/kiosk/act/refused"), StatusCode::OK, &problem),
        None => Redirect::to("/kiosk/codes").into_response(),
    }
}

/// Says that the outcome of the last act is not known yet.
pub(super) async fn pending(visiting: InVisit) -> Response {
    let Some(problem) = problem(&visiting).filter(|_| visiting.visit.pending.is_some()) else {
        return Redirect::to("/kiosk/done").into_response();
    };
    let f = visiting.at.frame("/kiosk/act/pending");
    let result = ActResult::failed(
        &f,
        &problem.with_outcome(citycode_service_kit::problem::Outcome::Unknown),
    );
    page(StatusCode::OK, &Pending { f, result })
}

fn problem(visiting: &InVisit) -> Option<Problem> {
    let code = Code::parse(visiting.visit.problem.as_deref()?)?;
    Some(Problem::new(code, "the last act of this visit was not done"))
}
