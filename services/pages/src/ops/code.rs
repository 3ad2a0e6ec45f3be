//! `/ops/code`: the life of a code, found by its printed serial, or by kind and ID number. It never gives a verdict: a
//! serial that was read aloud is not a code that was shown.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1::history_request::Subject;
use citycode_wire::proto::audit::v1::{AsOf, HistoryRequest, as_of};
use citycode_wire::proto::issuer::v1::CodeLife;
use http::StatusCode;
use serde::Deserialize;

use super::access::{Operating, TabLink};
use super::asking::{codes_of, purpose, sentence};
use super::fields::{Faults, Field, Input, kinds};
use super::numbers;
use super::timeline::{Entry, entries};
use crate::caller::PageCaller;
use crate::frame::{Frame, page};
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};

/// A code that was found.
struct Found {
    serial: String,
    code_id: String,
    kind: String,
    /// The moment of a history of the past; empty for now.
    as_of: String,
    entries: Vec<Entry>,
}

#[derive(Template)]
#[template(path = "ops/code.html")]
struct CodePage<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    by_serial: Vec<Field>,
    by_person: Vec<Field>,
    past: Vec<Field>,
    /// Why nothing was found.
    problem: Option<(String, String)>,
    found: Option<Found>,
}

/// The form: a serial, or a kind and an ID number; and for the past a time and a purpose.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Typed {
    form_token: String,
    serial: String,
    kind: String,
    id_number: String,
    guardian: String,
    as_of: String,
    purpose: String,
}

pub(super) async fn show(State(site): SharedSite, op: Operating) -> Response {
    let f = op.frame(&site, "/ops/code");
    page(StatusCode::OK, &code_page(&op, f, &Typed::default(), Faults::default()))
}

fn code_page<'a>(op: &Operating, f: Frame<'a>, typed: &Typed, faults: Faults) -> CodePage<'a> {
    let mut fields = vec![
        Field::new(&f, "serial", Input::Code, &typed.serial).alternative(),
        Field::new(&f, "kind", kinds(&f, &typed.kind), ""),
        Field::new(&f, "id_number", Input::Code, &typed.id_number).alternative(),
        Field::new(&f, "guardian", Input::Code, &typed.guardian).alternative(),
        Field::new(&f, "as_of", Input::Time, &typed.as_of).alternative(),
        Field::new(&f, "purpose", Input::Line, &typed.purpose).alternative(),
    ];
    faults.show_in(&mut fields);
    let past = fields.split_off(4);
    let by_person = fields.split_off(1);
    CodePage {
        tabs: op.tabs(&f),
        by_serial: fields,
        by_person,
        past,
        problem: None,
        found: None,
        f,
    }
}

/// What is asked, checked.
struct Question {
    subject: Asked,
    as_of: Option<i64>,
    purpose: String,
}

enum Asked {
    Code(String),
    Person {
        kind: String,
        id_number: String,
        guardian: String,
    },
}

fn question(site: &Site, f: &Frame<'_>, typed: &Typed) -> Result<Question, Faults> {
    let mut faults = Faults::default();
    let subject = if !typed.serial.trim().is_empty() {
        let code_id = numbers::code_id(&typed.serial);
        if code_id.is_none() {
            faults.add("serial", f.t("ops-serial-wrong"));
        }
        Asked::Code(code_id.unwrap_or_default())
    } else if typed.id_number.trim().is_empty() {
        faults.add("serial", f.t("ops-code-nothing"));
        Asked::Code(String::new())
    } else {
        let id_number = numbers::id_number(site, &typed.id_number);
        if id_number.is_none() {
            faults.add("id_number", f.t("problem-invalid-id-number"));
        }
        let guardian = match typed.guardian.trim() {
            "" => Some(String::new()),
            guardian => numbers::id_number(site, guardian),
        };
        if guardian.is_none() {
            faults.add("guardian", f.t("problem-invalid-id-number"));
        }
        Asked::Person {
            kind: typed.kind.clone(),
            id_number: id_number.unwrap_or_default(),
            guardian: guardian.unwrap_or_default(),
        }
    };
    let as_of = match typed.as_of.trim() {
        "" => None,
        time => {
            let time = numbers::local_time(site, time);
            if time.is_none() {
                faults.add("as_of", f.t("ops-time-wrong"));
            }
            time
        }
    };
    // The contract of the audit demands a purpose only for questions about the past.
    let purpose = if typed.as_of.trim().is_empty() {
        String::new()
    } else {
        purpose(f, &typed.purpose, &mut faults)
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Question {
        subject,
        as_of,
        purpose,
    })
}

pub(super) async fn find(
    State(site): SharedSite,
    op: Operating,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    op.check(&site, &typed.form_token)?;
    let f = op.frame(&site, "/ops/code");
    let question = match question(&site, &f, &typed) {
        Ok(question) => question,
        Err(faults) => {
            let shown = code_page(&op, f, &typed, faults);
            return Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &shown));
        }
    };
    let caller = op.caller()?;
    match ask(&site, &caller, &f, question).await {
        Ok(found) => {
            let mut shown = code_page(&op, f, &typed, Faults::default());
            shown.found = Some(found);
            Ok(page(StatusCode::OK, &shown))
        }
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let text = match problem.code() {
                Code::NotFound => f.t("ops-code-unknown"),
                Code::NoValidCode => f.t("ops-code-none-of-kind"),
                _ => sentence(&f, &problem),
            };
            let mut shown = code_page(&op, f, &typed, Faults::default());
            shown.problem = Some((problem.code().as_str().to_owned(), text));
            Ok(page(status, &shown))
        }
    }
}

async fn ask(site: &Site, caller: &PageCaller, f: &Frame<'_>, question: Question) -> Result<Found, Problem> {
    let whole_slot = question.as_of.is_some() && matches!(question.subject, Asked::Person { .. });
    let code_id = match question.subject {
        Asked::Code(code_id) => code_id,
        Asked::Person {
            kind,
            id_number,
            guardian,
        } => code_of(site, caller, &kind, &id_number, &guardian).await?,
    };
    let request = HistoryRequest {
        subject: Some(Subject::CodeId(code_id.clone())),
        as_of: question.as_of.map(|instant| AsOf {
            until: Some(as_of::Until::Instant(instant)),
        }),
        purpose: question.purpose,
        whole_slot,
    };
    let mut audit = site.clients.audit.clone();
    let history = audit.history(site.request(caller, request)?).await?.into_inner();
    let kind = history.entries.iter().find_map(|entry| entry.details.get("kind"));
    Ok(Found {
        serial: numbers::serial(&code_id),
        kind: kind.map(|kind| f.kind(kind)).unwrap_or_default(),
        as_of: question.as_of.map(|time| f.minute(&time)).unwrap_or_default(),
        entries: entries(f, &history.entries, &code_id),
        code_id,
    })
}

/// The holder's code of this kind that lives or, if none does, the last one.
async fn code_of(
    site: &Site,
    caller: &PageCaller,
    kind: &str,
    id_number: &str,
    guardian: &str,
) -> Result<String, Problem> {
    let codes = codes_of(site, caller, id_number, guardian).await?;
    let of_kind = codes.into_iter().filter(|code| code.kind == kind);
    let last = of_kind.max_by_key(|code| {
        let lives = matches!(code.state(), CodeLife::Valid | CodeLife::Suspended);
        (lives, code.issued_at)
    });
    last.map(|code| code.code_id)
        .ok_or_else(|| Problem::new(Code::NoValidCode, "there is no code of this kind"))
}
