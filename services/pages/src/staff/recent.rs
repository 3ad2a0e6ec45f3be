//! The last scans of this browser, without names: time, kind and verdict. They are kept in a sealed cookie that only this
//! session opens, and nowhere else.

use std::collections::VecDeque;

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use citycode_domain::admission::{Decision, Reason};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::checks::ask::Asked;
use crate::checks::checkpoint::AtCheckpoint;
use crate::checks::wording::Setting;
use crate::frame::{Frame, page};
use crate::lang::{Choice, cookie};
use crate::session::Session;
use crate::site::{SharedSite, Site};

const COOKIE_NAME: &str = "citycode-recent";
/// Most scans: as many as staff are asked about, and they fit into a cookie.
const MOST: usize = 20;
/// The kind of an ID card that was shown instead of a code, as in the places of a policy.
pub(super) const ID_CARD: &str = "id_card";

/// One scan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct RecentScan {
    /// Unix seconds.
    at: i64,
    /// Name of the kind; empty if it was not read.
    kind: String,
    /// Name of the reason.
    reason: String,
    /// Whether the place registers.
    registers: bool,
}

/// The last scans, the newest first.
#[derive(Default)]
pub(super) struct RecentScans(VecDeque<RecentScan>);

/// A scan as the page shows it.
pub(super) struct ShownScan {
    pub(super) time: String,
    /// Empty if nothing was read.
    pub(super) kind: String,
    pub(super) decision: &'static str,
    pub(super) word: String,
}

/// The part of the page that lists them.
#[derive(Template)]
#[template(path = "staff/recent.html")]
struct RecentPart<'a> {
    f: &'a Frame<'a>,
    recent: Vec<ShownScan>,
}

impl RecentScans {
    /// Those of the request.
    pub(super) fn of(site: &Site, parts: &Parts, session: &Session) -> Self {
        let opened = cookie(parts, COOKIE_NAME).and_then(|sealed| site.seal.open(&purpose(session), sealed));
        Self(
            opened
                .and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default(),
        )
    }

    /// Adds a scan. `kind` is that of what was shown, if no code was read.
    pub(super) fn add(&mut self, at: i64, place_registers: bool, asked: &Asked, kind: &str) {
        let (reason, read) = match asked {
            Asked::Verdict { reason, kind, .. } => (*reason, kind.as_deref()),
            Asked::Failed(_) => (Reason::TooStale, None),
        };
        self.0.push_front(RecentScan {
            at,
            kind: read.unwrap_or(kind).to_owned(),
            reason: reason.name().to_owned(),
            registers: place_registers,
        });
        self.0.truncate(MOST);
    }

    /// The `Set-Cookie` header that keeps them until the browser is closed.
    pub(super) fn set_cookie(&self, site: &Site, session: &Session) -> String {
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        let sealed = site.seal.seal(&purpose(session), &text, &*site.entropy);
        format!(
            "{COOKIE_NAME}={sealed}; Path=/staff; SameSite=Strict; HttpOnly{}",
            site.secure_attribute()
        )
    }

    /// As the page shows them.
    pub(super) fn shown(&self, f: &Frame<'_>) -> Vec<ShownScan> {
        let shown = self.0.iter().filter_map(|scan| {
            let reason = Reason::ALL.into_iter().find(|reason| reason.name() == scan.reason)?;
            let setting = Setting {
                gate: false,
                registers: scan.registers,
            };
            Some(ShownScan {
                time: time(f, scan.at),
                kind: match scan.kind.as_str() {
                    "" => String::new(),
                    ID_CARD => f.t("recent-id-card"),
                    kind => f.kind(kind),
                },
                decision: reason.verdict().decision.name(),
                word: setting.word(f, reason),
            })
        });
        shown.collect()
    }
}

impl ShownScan {
    pub(super) fn icon(&self) -> &'static str {
        let decision = Decision::ALL
            .into_iter()
            .find(|decision| decision.name() == self.decision);
        crate::checks::verdict::sign(decision.unwrap_or(Decision::CannotCheck))
    }
}

/// The time of day in the policy's zone.
fn time(f: &Frame<'_>, at: i64) -> String {
    Timestamp::from_second(at).map_or_else(
        |_| String::new(),
        |at| f.site.zone.to_datetime(at).strftime("%H:%M:%S").to_string(),
    )
}

fn purpose(session: &Session) -> String {
    format!("{COOKIE_NAME} {}", session.id)
}

/// The list alone, which the page asks for after scans.
pub(super) async fn show(State(site): SharedSite, choice: Choice, at: AtCheckpoint, parts: Parts) -> Response {
    let f = Frame::of(&site, choice, "/staff", &at.session, String::new());
    let recent = RecentScans::of(&site, &parts, &at.session).shown(&f);
    page(StatusCode::OK, &RecentPart { f: &f, recent })
}
