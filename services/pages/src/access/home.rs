//! The page at `/`: what this is, the entry points, and how to sign in.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::site::SharedSite;

#[derive(Template)]
#[template(path = "home.html")]
struct Home<'a> {
    f: Frame<'a>,
    entries: [Entry; 5],
}

struct Entry {
    path: &'static str,
    id: &'static str,
    hint: &'static str,
    icon: &'static str,
}

const ENTRIES: [Entry; 5] = [
    entry("/my", "entry-my", "entry-my-hint", "phone"),
    entry("/kiosk", "entry-kiosk", "entry-kiosk-hint", "kiosk"),
    entry("/staff", "entry-staff", "entry-staff-hint", "staff"),
    entry("/gate", "entry-gate", "entry-gate-hint", "gate"),
    entry("/ops", "entry-ops", "entry-ops-hint", "chart"),
];

const fn entry(path: &'static str, id: &'static str, hint: &'static str, icon: &'static str) -> Entry {
    Entry { path, id, hint, icon }
}

pub(super) async fn show(State(site): SharedSite, choice: Choice) -> Response {
    let f = Frame::public(&site, choice, "/");
    page(StatusCode::OK, &Home { f, entries: ENTRIES })
}
