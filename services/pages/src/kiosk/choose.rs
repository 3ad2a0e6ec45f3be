//! For whom, and what: for myself or a relative, then the paper codes of that person with what can be done.

use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_domain::policy::{ChannelAct, ChannelPolicy, KindPolicy};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState, ListCodesRequest};
use citycode_wire::proto::model::v1::Authentication;
use http::StatusCode;
use serde::Deserialize;

use super::at::InVisit;
use super::identify::{count_number, number_page};
use super::idle::keep;
use super::number;
use super::visit::Act;
use crate::acts::ActResult;
use crate::frame::{Frame, page};
use crate::my::{masked, reissue_name, state_icon, state_word};
use crate::problem_page::PageError;

#[derive(Template)]
#[template(path = "kiosk/who.html")]
struct WhoFor<'a> {
    f: Frame<'a>,
    /// The name on the card. After a typed number the page is the same for everybody (R31).
    person: Option<String>,
}

#[derive(Template)]
#[template(path = "kiosk/codes.html")]
struct Codes<'a> {
    f: Frame<'a>,
    person: String,
    cards: Vec<Card>,
    back: &'static str,
}

/// A kind with its last code, and what can be done.
struct Card {
    name: String,
    label: String,
    state: &'static str,
    state_icon: &'static str,
    state_text: String,
    sentence: String,
    tiles: Vec<Tile>,
}

/// A step to an act.
struct Tile {
    act: &'static str,
    address: String,
    icon: &'static str,
    name: String,
    hint: String,
}

/// A page that says that nothing can be done here, and where it can.
#[derive(Template)]
#[template(path = "kiosk/elsewhere.html")]
pub(super) struct Elsewhere<'a> {
    pub(super) f: Frame<'a>,
    pub(super) result: ActResult,
    pub(super) back: &'static str,
}

pub(super) async fn who(visiting: InVisit) -> Response {
    let f = visiting.at.frame("/kiosk/who");
    let person = visiting.visit.name.as_deref().map(masked);
    page(StatusCode::OK, &WhoFor { f, person })
}

pub(super) async fn show_relative(visiting: InVisit) -> Response {
    number_page(&visiting.at, true, String::new(), String::new())
}

/// The form with the relative's number.
#[derive(Deserialize)]
pub(super) struct RelativeForm {
    #[serde(default)]
    form_token: String,
    #[serde(default)]
    id_number: String,
}

pub(super) async fn relative(mut visiting: InVisit, Form(form): Form<RelativeForm>) -> Result<Response, PageError> {
    let at = &visiting.at;
    at.check_form(&form.form_token)?;
    let f = at.frame("/kiosk/relative");
    let id_number = number::tidy(&form.id_number);
    let checked = number::check(&at.site, &f, &id_number).and_then(|()| {
        if id_number == visiting.visit.id_number {
            return Err(f.t("number-own"));
        }
        count_number(at, &id_number)
    });
    if let Err(error) = checked {
        return Ok(number_page(at, true, id_number, error));
    }
    visiting.visit.relative = Some(id_number);
    let mut response = Redirect::to("/kiosk/codes?for=relative").into_response();
    keep(&mut response, &visiting.visit.set_cookie(&at.site, &at.session));
    Ok(response)
}

/// The query `?for=relative`: the relative of the visit.
#[derive(Deserialize, Default)]
pub(super) struct For {
    #[serde(rename = "for")]
    whom: Option<String>,
}

impl For {
    /// Whether the page is about the relative of the visit.
    pub(super) fn relative(&self, visiting: &InVisit) -> bool {
        self.whom.as_deref() == Some("relative") && visiting.visit.relative.is_some()
    }
}

/// The address with the query that keeps the relative.
pub(super) fn with_for(path: &str, for_relative: bool) -> String {
    match (for_relative, path.contains('?')) {
        (false, _) => path.to_owned(),
        (true, false) => format!("{path}?for=relative"),
        (true, true) => format!("{path}&for=relative"),
    }
}

/// The codes that this person may see of the holder. For a relative who is not registered they are none, as for one to
/// whom the person is not related (R31).
///
/// # Errors
/// The issuer's problem; `not_registered` for the person.
pub(super) async fn codes_of(visiting: &InVisit, relative: Option<&str>) -> Result<Vec<CodeState>, Problem> {
    let InVisit { at, visit } = visiting;
    let request = ListCodesRequest {
        channel: at.device.channel.clone(),
        authentication: authentication(visiting)?,
        id_number: relative.unwrap_or(&visit.id_number).to_owned(),
        guardian_id_number: relative.map(|_| visit.id_number.clone()).unwrap_or_default(),
        question_id: Vec::new(),
        actionable: true,
        details: false,
    };
    let mut issuer = at.site.clients.issuer.clone();
    match issuer.list_codes(at.site.request(&at.caller(), request)?).await {
        Ok(answer) => Ok(answer.into_inner().codes),
        Err(status) => match Problem::from(status) {
            problem if relative.is_some() && problem.code() == Code::NotRegistered => Ok(Vec::new()),
            problem => Err(problem),
        },
    }
}

/// How the person was authenticated: the provider's assertion if the channel demands one, else the method for the log.
///
/// # Errors
/// There is no assertion.
pub(super) fn authentication(visiting: &InVisit) -> Result<Option<Authentication>, Problem> {
    let InVisit { at, visit } = visiting;
    let asserted = at.site.authentication(&at.device.channel, &visit.id_number)?;
    Ok(asserted.or_else(|| {
        Some(Authentication {
            method: visit.proof.method().to_owned(),
            assertion: String::new(),
        })
    }))
}

/// The last code of a kind.
pub(super) fn last<'a>(codes: &'a [CodeState], kind: &KindPolicy) -> Option<&'a CodeState> {
    codes.iter().rev().find(|code| code.kind == kind.name)
}

pub(super) async fn codes(visiting: InVisit, Query(whom): Query<For>) -> Result<Response, PageError> {
    let for_relative = whom.relative(&visiting);
    let at = &visiting.at;
    let mut f = at.frame("/kiosk/codes");
    if for_relative {
        f.query = "for=relative".to_owned();
    }
    let codes = match codes_of(&visiting, visiting.visit.relative_if(for_relative).as_deref()).await {
        Ok(codes) => codes,
        // The reader gave the name, so the first act registers the person.
        Err(problem) if problem.code() == Code::NotRegistered && visiting.visit.name.is_some() => Vec::new(),
        Err(problem) => return Ok(elsewhere(f, status(&problem), &problem)),
    };
    let kinds = at.kinds(for_relative)?;
    let cards = kinds
        .into_iter()
        .map(|kind| card(&visiting, &f, kind, last(&codes, kind), for_relative));
    let codes = Codes {
        person: visiting.person(&f, for_relative),
        cards: cards.collect::<Result<_, _>>()?,
        back: if for_relative { "/kiosk/relative" } else { "/kiosk/who" },
        f,
    };
    Ok(page(StatusCode::OK, &codes))
}

/// The HTTP status of a problem.
pub(super) fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The page for a person with whom a kiosk can do nothing.
pub(super) fn elsewhere(f: Frame<'_>, status: StatusCode, problem: &Problem) -> Response {
    let mut result = ActResult::failed(&f, problem);
    match problem.code() {
        Code::NotRegistered => result.headline = f.t("kiosk-not-registered"),
        Code::RelationshipUnknown => result.headline = f.t("kiosk-unrelated"),
        Code::NotEligible => result.headline = f.t("kiosk-not-eligible"),
        _ => {}
    }
    page(
        status,
        &Elsewhere {
            f,
            result,
            back: "/kiosk/who",
        },
    )
}

fn card(
    visiting: &InVisit,
    f: &Frame<'_>,
    kind: &KindPolicy,
    code: Option<&CodeState>,
    for_relative: bool,
) -> Result<Card, PageError> {
    let state = state_word(code);
    let label = f.label(&kind.label);
    let valid = code.filter(|_| state == "valid");
    let sentence = match (valid, state) {
        (Some(code), _) => f.t2(
            "kiosk-have",
            ("kind", &label),
            ("until", &f.valid_until(&code.expires_at)),
        ),
        (None, "suspended") => f.t("suspended-text"),
        (None, _) => f.t1("kiosk-have-none", "kind", &label),
    };
    Ok(Card {
        name: kind.name.clone(),
        state,
        state_icon: state_icon(state),
        state_text: f.t(&format!("state-{}", state.replace('_', "-"))),
        sentence,
        tiles: tiles(visiting, f, kind, code, for_relative)?,
        label,
    })
}

fn tiles(
    visiting: &InVisit,
    f: &Frame<'_>,
    kind: &KindPolicy,
    code: Option<&CodeState>,
    for_relative: bool,
) -> Result<Vec<Tile>, PageError> {
    let channel = visiting.at.channel()?;
    let life = code.map(CodeState::state);
    let (valid, held) = (life == Some(CodeLife::Valid), life == Some(CodeLife::Suspended));
    // The code of this visit is printed again, not replaced: its paper may only have got stuck.
    let last = visiting.visit.last_of(&kind.name, for_relative);
    let own = last.is_some_and(|done| done.asked.act.prints() && code.is_some_and(|code| code.code_id == done.code_id));
    let mut tiles = Vec::new();
    if own && valid {
        tiles.push(Tile {
            act: "reprint",
            address: "/kiosk/done".to_owned(),
            icon: "printer",
            name: f.t("kiosk-print-again"),
            hint: f.t("kiosk-print-again-hint"),
        });
    }
    let acts = [
        (Act::Issue, ChannelAct::Issue, !valid && !held),
        (Act::Reissue, ChannelAct::Reissue, valid && !own),
        (Act::Loss, ChannelAct::ReportLoss, valid || held),
    ];
    let offered = acts
        .into_iter()
        .filter(|(_, act, now)| *now && channel.may(*act, kind.kind));
    if !visiting.visit.is_full() {
        tiles.extend(offered.map(|(act, ..)| Tile {
            act: act.word(),
            address: with_for(
                &format!("/kiosk/confirm?act={}&kind={}", act.word(), kind.name),
                for_relative,
            ),
            icon: if act.prints() { "printer" } else { "lost" },
            name: act_name(f, act, kind, channel),
            hint: f.t(&format!("kiosk-hint-{}", act.word())),
        }));
    }
    Ok(tiles)
}

/// What an act is called for this kind at this channel.
pub(super) fn act_name(f: &Frame<'_>, act: Act, kind: &KindPolicy, channel: &ChannelPolicy) -> String {
    match act {
        Act::Issue => f.t("get"),
        Act::Reissue => reissue_name(f, kind, channel),
        Act::Loss => f.t("report-loss"),
    }
}
