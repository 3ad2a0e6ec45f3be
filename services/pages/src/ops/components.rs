//! `/ops/components`: every component of the style sheets, in each of its states.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::access::{Operating, TabLink};
use crate::frame::{Frame, page};
use crate::site::SharedSite;

/// The states of a code: the word of the attribute, the icon, the text.
const STATES: [(&str, &str, &str); 7] = [
    ("valid", "check", "state-valid"),
    ("suspended", "pause", "state-suspended"),
    ("expired", "clock", "state-expired"),
    ("superseded", "swap", "state-superseded"),
    ("reported_lost", "lost", "state-reported-lost"),
    ("revoked", "ban", "state-revoked"),
    ("none", "dash", "state-none"),
];
/// Tones of a notice and their icons.
const TONES: [(&str, &str); 4] = [("info", "info"), ("good", "check"), ("warn", "alert"), ("bad", "alert")];
/// Decisions, one of their reasons, and their signs.
const VERDICTS: [(&str, &str, &str); 4] = [
    ("admit", "ok", "check"),
    ("admit_after_id_check", "id_check_required", "id-card"),
    ("refuse", "expired", "cross"),
    ("cannot_check", "too_stale", "question"),
];

#[derive(Template)]
#[template(path = "ops/components.html")]
struct Components<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    states: &'static [(&'static str, &'static str, &'static str)],
    tones: &'static [(&'static str, &'static str)],
    verdicts: &'static [(&'static str, &'static str, &'static str)],
    symbol: String,
}

pub(super) async fn show(State(site): SharedSite, op: Operating) -> Response {
    let f = op.frame(&site, "/ops/components");
    let components = Components {
        tabs: op.tabs(&f),
        states: &STATES,
        tones: &TONES,
        verdicts: &VERDICTS,
        symbol: symbol(),
        f,
    };
    page(StatusCode::OK, &components)
}

/// A symbol that is no code.
fn symbol() -> String {
    let drawn = citycode_qr::draw("DEMO", &citycode_qr::SymbolOptions::SCREEN);
    drawn.map(|symbol| symbol.to_svg(None)).unwrap_or_default()
}
