//! The form of an act, and the step that shows what it will do.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use citycode_domain::name::PersonName;
use citycode_domain::policy::GuardianPolicy;
use citycode_domain::reason::ActReason;
use citycode_service_kit::problem::{Code, Problem};
use http::StatusCode;

use super::super::access::{Operating, TabLink};
use super::super::asking::sentence;
use super::super::confirm::{Confirm, Fact};
use super::super::fields::{Faults, Field, Input, choices, kinds};
use super::super::numbers;
use super::effects::{self, Holding};
use super::{Act, Typed};
use crate::frame::{Frame, page};
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};

/// The standings that the health authority may set.
const STANDINGS: [&str; 3] = ["green", "yellow", "red"];

#[derive(Template)]
#[template(path = "ops/act.html")]
struct ActForm<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    title: String,
    hint: String,
    action: String,
    fields: Vec<Field>,
    problem: Option<(String, String)>,
}

pub(in crate::ops) async fn form(
    State(site): SharedSite,
    op: Operating,
    Path(act): Path<String>,
) -> Result<Response, PageError> {
    let act = Act::of(&act, &op)?;
    let f = op.frame(&site, &act.path());
    let form = act_form(&op, f, act, &Typed::default(), Faults::default());
    Ok(page(StatusCode::OK, &form))
}

fn act_form<'a>(op: &Operating, f: Frame<'a>, act: Act, typed: &Typed, faults: Faults) -> ActForm<'a> {
    let mut fields = fields(&f, act, typed);
    faults.show_in(&mut fields);
    ActForm {
        tabs: op.tabs(&f),
        title: f.t(&format!("ops-act-{}", act.name())),
        hint: f.t(&format!("ops-act-{}-hint", act.name())),
        action: format!("{}/confirm", act.path()),
        fields,
        problem: None,
        f,
    }
}

fn fields(f: &Frame<'_>, act: Act, typed: &Typed) -> Vec<Field> {
    let mut fields = Vec::new();
    if act.is_of_kind() {
        fields.push(Field::new(f, "kind", kinds(f, &typed.kind), ""));
    }
    if act.is_of_two() {
        let mut guardian = Field::new(f, "guardian", Input::Code, &typed.guardian);
        guardian.label = f.t("ops-guardian-who-acts");
        guardian.hint = String::new();
        let mut dependent = Field::new(f, "id_number", Input::Code, &typed.id_number);
        dependent.label = f.t("ops-dependent");
        fields.extend([guardian, dependent]);
    } else {
        fields.push(Field::new(f, "id_number", Input::Code, &typed.id_number));
    }
    if act.is_of_kind() {
        fields.push(Field::new(f, "guardian", Input::Code, &typed.guardian).optional());
    }
    if act == Act::Rename {
        fields.push(Field::new(f, "name", Input::Line, &typed.name));
    }
    if act == Act::Standing {
        let standings = STANDINGS.map(|standing| (standing.to_owned(), f.t(&format!("ops-standing-{standing}"))));
        fields.push(Field::new(f, "standing", choices(standings, &typed.standing), ""));
    }
    if act.needs_reason() {
        fields.push(Field::new(f, "reason", Input::Line, &typed.reason));
    }
    fields
}

/// What was typed in the form that services accept; or what is wrong with which field.
pub(super) fn checked(site: &Site, f: &Frame<'_>, act: Act, typed: &Typed) -> Result<Typed, Faults> {
    let mut faults = Faults::default();
    let mut number = |name: &'static str, typed: &str| {
        let number = numbers::id_number(site, typed);
        if number.is_none() {
            faults.add(name, f.t("problem-invalid-id-number"));
        }
        number.unwrap_or_default()
    };
    let mut checked = Typed {
        id_number: number("id_number", &typed.id_number),
        guardian: if act.is_of_two() || !typed.guardian.trim().is_empty() {
            number("guardian", &typed.guardian)
        } else {
            String::new()
        },
        ..typed.clone()
    };
    if act.is_of_two() && !checked.guardian.is_empty() && checked.guardian == checked.id_number {
        faults.add("id_number", f.t("ops-same-person"));
    }
    if act.is_of_kind() {
        match site.kind(&typed.kind) {
            None => faults.add("kind", f.t("ops-kind-wrong")),
            Some(kind) if kind.guardian == GuardianPolicy::PerGuardian && typed.guardian.trim().is_empty() => {
                faults.add("guardian", f.t("ops-guardian-needed"));
            }
            Some(_) => {}
        }
    }
    if act == Act::Rename && PersonName::parse(&typed.name).is_err() {
        faults.add("name", f.t("problem-invalid-name"));
    }
    if act == Act::Standing && !STANDINGS.contains(&typed.standing.as_str()) {
        faults.add("standing", f.t("ops-standing-wrong"));
    }
    if act.needs_reason() {
        match ActReason::parse(&typed.reason) {
            Ok(reason) => reason.as_str().clone_into(&mut checked.reason),
            Err(_) => faults.add("reason", f.t("ops-reason-wrong")),
        }
    }
    if faults.is_empty() { Ok(checked) } else { Err(faults) }
}

pub(in crate::ops) async fn confirm(
    State(site): SharedSite,
    op: Operating,
    Path(act): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    let act = Act::of(&act, &op)?;
    op.check(&site, &typed.form_token)?;
    let f = op.frame(&site, &act.path());
    let wanted = match checked(&site, &f, act, &typed) {
        Ok(wanted) => wanted,
        Err(faults) => {
            let form = act_form(&op, f, act, &typed, faults);
            return Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &form));
        }
    };
    let holding = match effects::holding(&site, &op, act, &wanted).await {
        Ok(holding) => holding,
        Err(problem) => return Ok(refused(&op, f, act, &typed, &problem)),
    };
    let will = will(&f, act, &wanted);
    let confirm = Confirm {
        tabs: op.tabs(&f),
        title: f.t(&format!("ops-act-{}", act.name())),
        will,
        facts: facts(&f, act, &wanted),
        effects: holding.as_ref().map(|holding| holding.effects(&f, act, &wanted)),
        action: format!("{}/done", act.path()),
        hidden: hidden(&wanted, &sealed(&site, holding.as_ref())),
        act: act.name(),
        button: f.t1("confirm-act", "act", &f.t(&format!("ops-act-{}", act.name()))),
        back: act.path(),
        f,
    };
    Ok(page(StatusCode::OK, &confirm))
}

/// The form again, with the reason beside the field that it is about.
fn refused(op: &Operating, f: Frame<'_>, act: Act, typed: &Typed, problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut faults = Faults::default();
    match problem.code() {
        Code::NotRegistered | Code::InvalidIdNumber => faults.add("id_number", sentence(&f, problem)),
        Code::NoValidCode => faults.add("kind", f.t("ops-code-none-of-kind")),
        _ => {
            let text = sentence(&f, problem);
            let mut form = act_form(op, f, act, typed, faults);
            form.problem = Some((problem.code().as_str().to_owned(), text));
            return page(status, &form);
        }
    }
    page(status, &act_form(op, f, act, typed, faults))
}

/// What the act will do, in sentences.
fn will(f: &Frame<'_>, act: Act, wanted: &Typed) -> Vec<String> {
    let id = match act {
        Act::Standing => format!("ops-will-standing-{}", wanted.standing),
        act => format!("ops-will-{}", act.name()),
    };
    let first = f.t1(&id, "kind", &f.kind(&wanted.kind));
    let more = f
        .site
        .words
        .find(f.language(), &format!("ops-will-{}-more", act.name()), &[]);
    [first].into_iter().chain(more).collect()
}

fn facts(f: &Frame<'_>, act: Act, wanted: &Typed) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact { name: f.t(name), value };
    let mut facts = Vec::new();
    let number = if act.is_of_two() {
        "ops-dependent"
    } else {
        "ops-field-id-number"
    };
    facts.push(fact(number, wanted.id_number.clone()));
    if !wanted.guardian.is_empty() {
        facts.push(fact("ops-guardian-who-acts", wanted.guardian.clone()));
    }
    if act == Act::Rename {
        facts.push(fact("ops-field-name", wanted.name.clone()));
    }
    if act == Act::Standing {
        facts.push(fact(
            "ops-field-standing",
            f.t(&format!("ops-standing-{}", wanted.standing)),
        ));
    }
    if act.needs_reason() {
        facts.push(fact("ops-field-reason", wanted.reason.clone()));
    }
    facts
}

/// The fields that the next form sends again.
pub(super) fn hidden(wanted: &Typed, valid_before: &str) -> Vec<(&'static str, String)> {
    vec![
        ("kind", wanted.kind.clone()),
        ("id_number", wanted.id_number.clone()),
        ("guardian", wanted.guardian.clone()),
        ("name", wanted.name.clone()),
        ("standing", wanted.standing.clone()),
        ("reason", wanted.reason.clone()),
        ("valid_before", valid_before.to_owned()),
    ]
}

fn sealed(site: &Site, holding: Option<&Holding>) -> String {
    holding.map(|holding| holding.seal(site)).unwrap_or_default()
}
