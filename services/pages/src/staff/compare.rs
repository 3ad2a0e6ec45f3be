//! The ID comparison (R19): first the verifier compares the card's number with the code, then staff compare the person
//! with the card. Only both together admit, and a person who does not match is refused and recorded.

use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::response::Response;
use citycode_domain::admission::Reason;
use citycode_wire::proto::verifier::v1::VerifyRequest;
use citycode_wire::proto::verifier::v1::verify_request::Scan;
use serde::{Deserialize, Serialize};

use super::page::Desk;
use super::scan::judge;
use crate::checks::ask::{Asked, ask};
use crate::checks::checkpoint::AtCheckpoint;
use crate::checks::scanned::{plain, scan_id};
use crate::checks::verdict::{Step, Verdict};
use crate::checks::wants_part;
use crate::lang::Choice;
use crate::my::family::id_number;
use crate::problem_page::PageError;
use crate::session::Session;
use crate::site::{SharedSite, Site};

/// How long a comparison may take, in seconds: afterwards the person and the code are no longer at hand.
const LIFETIME_SECONDS: i64 = 300;

/// A longer text is no ID number, also one with spaces, but a code.
const LONGEST_NUMBER_BYTES: usize = 60;

/// A scan that waits for the comparison. The page carries it sealed, so that it can be neither read nor changed.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) place: String,
    /// The text of the code.
    pub(super) code: String,
    pub(super) scan_id: String,
    /// Unix seconds of the scan.
    pub(super) at: i64,
    pub(super) kind: Option<String>,
    pub(super) expires_at: Option<i64>,
    /// The number of the card, once it was found to belong to the code. Personal.
    pub(super) number: Option<String>,
}

impl Pending {
    /// As the page carries it.
    pub(super) fn seal(&self, site: &Site, session: &Session) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        site.seal.seal(&purpose(session), &text, &*site.entropy)
    }

    fn open(site: &Site, session: &Session, sealed: &str) -> Option<Self> {
        let text = site.seal.open(&purpose(session), sealed)?;
        let pending: Self = serde_json::from_slice(&text).ok()?;
        (site.now() < pending.at + LIFETIME_SECONDS).then_some(pending)
    }

    /// The request of a step. The steps of a scan have ids that begin alike.
    fn request(&self, step: &str) -> VerifyRequest {
        VerifyRequest {
            place: self.place.clone(),
            scan: Some(Scan::Code(self.code.clone())),
            scan_id: format!("{}/{step}", self.scan_id),
            ..VerifyRequest::default()
        }
    }

    /// What is shown while staff have not finished.
    fn waiting(&self) -> Asked {
        Asked::Verdict {
            reason: Reason::IdCheckRequired,
            kind: self.kind.clone(),
            expires_at: self.expires_at,
            age_ms: None,
        }
    }
}

fn purpose(session: &Session) -> String {
    format!("compare {}", session.id)
}

/// The form of a step.
#[derive(Deserialize)]
pub(super) struct Comparison {
    #[serde(default)]
    form_token: String,
    /// The [`Pending`].
    #[serde(default)]
    scan: String,
    /// The number on the card.
    #[serde(default)]
    id_number: String,
    /// `yes` or `no`: whether the person matches the card.
    #[serde(rename = "match")]
    matches: Option<String>,
}

pub(super) async fn compare(
    State(site): SharedSite,
    choice: Choice,
    at: AtCheckpoint,
    parts: Parts,
    Form(form): Form<Comparison>,
) -> Result<Response, PageError> {
    let pending = Pending::open(&site, &at.session, &form.scan).ok_or(PageError::StaleForm)?;
    let mut desk = Desk::new(&site, choice, at, Some(&pending.place), &parts)?;
    desk.check_token(&form.form_token)?;
    let verdict = match (form.matches.as_deref(), &pending.number) {
        (Some("no"), _) => differs(&mut desk, &pending).await,
        (Some("yes"), Some(number)) => matches(&mut desk, &pending, number).await,
        _ => card(&mut desk, &pending, &form.id_number).await,
    };
    Ok(desk.answer(&verdict, wants_part(&parts.headers)).await)
}

/// Compares the number on the card with the code.
async fn card(desk: &mut Desk<'_>, pending: &Pending, typed: &str) -> Verdict {
    let typed = plain(typed);
    if typed.len() > LONGEST_NUMBER_BYTES {
        // A scanner read the next code while the field for the number had the focus.
        return judge(desk, Scan::Code(typed), &scan_id(desk.site, "")).await;
    }
    let number = match id_number(desk.site, &typed) {
        Ok(number) => number,
        Err(fault) => {
            let fault = if typed.is_empty() {
                "compare-number-missing"
            } else {
                fault
            };
            let step = Step::Number {
                scan: pending.seal(desk.site, &desk.at.session),
                typed,
                error: Some(desk.f.t(fault)),
            };
            return Verdict::of(&desk.f, desk.setting(), &pending.waiting()).with_step(step);
        }
    };
    let asked = with_number(desk, pending, &number).await;
    if !matches!(asked, Asked::Verdict { reason: Reason::Ok, .. }) {
        return done(desk, &asked);
    }
    let known = Pending {
        number: Some(number),
        ..pending.clone()
    };
    let scan = known.seal(desk.site, &desk.at.session);
    Verdict::person_to_compare(&desk.f, desk.setting(), &asked, scan)
}

/// The person matches the card, which belongs to the code: the verifier is asked again, because the code may have ended
/// since.
async fn matches(desk: &mut Desk<'_>, pending: &Pending, number: &str) -> Verdict {
    let asked = with_number(desk, pending, number).await;
    done(desk, &asked)
}

/// The person does not match the card.
async fn differs(desk: &mut Desk<'_>, pending: &Pending) -> Verdict {
    let request = VerifyRequest {
        person_differs: true,
        ..pending.request("person")
    };
    let asked = ask(desk.site, &desk.at.caller(desk.site, desk.place), request).await;
    done(desk, &asked)
}

async fn with_number(desk: &Desk<'_>, pending: &Pending, number: &str) -> Asked {
    let request = VerifyRequest {
        id_number: number.to_owned(),
        ..pending.request("card")
    };
    ask(desk.site, &desk.at.caller(desk.site, desk.place), request).await
}

/// The verdict that ends the comparison.
fn done(desk: &mut Desk<'_>, asked: &Asked) -> Verdict {
    desk.recent.add(desk.site.now(), desk.place.registers, asked, "");
    Verdict::of(&desk.f, desk.setting(), asked)
}
