//! `/ops/counts`: what is wrong, the codes of the city now, and the scans of the last days.

mod city;
mod scans;
mod trouble;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use http::StatusCode;
use serde::Deserialize;

use super::SharedMemory;
use super::access::{Operating, TabLink};
use super::asking::purpose;
use super::fields::{Faults, Field, Input, choices};
use super::streamed::{self, Streamed};
use crate::frame::{Frame, page};
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};
pub(super) use city::Counts;
use city::{City, Row};
use trouble::Trouble;

/// The periods of scans that can be asked for, in days.
const PERIODS: [u16; 3] = [1, 7, 30];

/// The query `?exact=yes`: small counts are shown too.
#[derive(Deserialize, Default)]
pub(super) struct Shown {
    #[serde(default)]
    exact: String,
}

impl Shown {
    fn is_exact(&self) -> bool {
        self.exact == "yes"
    }
}

#[derive(Template)]
#[template(path = "ops/counts.html")]
struct CountsPage<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    live: String,
    table: String,
    is_exact: bool,
    fields: Vec<Field>,
}

/// What is wrong and the most important numbers; the page asks for it again and again.
#[derive(Template)]
#[template(path = "ops/counts_live.html")]
struct Live<'a> {
    f: &'a Frame<'a>,
    troubles: Vec<Trouble>,
    city: City,
}

/// The table by kind and state.
#[derive(Template)]
#[template(path = "ops/counts_table.html")]
struct Table<'a> {
    f: &'a Frame<'a>,
    rows: Vec<Row>,
    is_known: bool,
}

pub(super) async fn show(
    State(site): SharedSite,
    Extension(memory): SharedMemory,
    op: Operating,
    Query(shown): Query<Shown>,
) -> Result<Response, PageError> {
    let f = frame(&site, &op, &shown);
    let fields = fields(&f, "", PERIODS[1]);
    let shown = counts_page(&site, &memory.counts, &op, f, (shown.is_exact(), fields)).await?;
    Ok(page(StatusCode::OK, &shown))
}

async fn counts_page<'a>(
    site: &std::sync::Arc<Site>,
    counts: &Counts,
    op: &Operating,
    f: Frame<'a>,
    (is_exact, fields): (bool, Vec<Field>),
) -> Result<CountsPage<'a>, PageError> {
    let city = counts.of(site, op.caller()?, is_exact).await;
    let troubles = trouble::find(site, &op.caller()?, &f, &city).await;
    let city = City::of(&f, &city);
    let table = Table {
        f: &f,
        rows: city.rows(),
        is_known: city.is_known,
    };
    let table = rendered(&table)?;
    let live = rendered(&Live { f: &f, troubles, city })?;
    Ok(CountsPage {
        tabs: op.tabs(&f),
        live,
        table,
        is_exact,
        fields,
        f,
    })
}

fn rendered(template: &impl Template) -> Result<String, PageError> {
    template.render().map_err(|error| {
        tracing::error!(%error, "a part of a page could not be rendered");
        PageError::Problem(citycode_service_kit::problem::Problem::internal())
    })
}

/// The changing part above the table. A reader whose session ended gets 401, and the page is loaded again.
pub(super) async fn live(
    State(site): SharedSite,
    Extension(memory): SharedMemory,
    op: Result<Operating, PageError>,
    Query(shown): Query<Shown>,
) -> Result<Response, PageError> {
    let Ok(op) = op else {
        return Ok(StatusCode::UNAUTHORIZED.into_response());
    };
    let f = frame(&site, &op, &shown);
    let city = memory.counts.of(&site, op.caller()?, shown.is_exact()).await;
    let troubles = trouble::find(&site, &op.caller()?, &f, &city).await;
    let city = City::of(&f, &city);
    Ok(page(StatusCode::OK, &Live { f: &f, troubles, city }))
}

/// The table alone.
pub(super) async fn table(
    State(site): SharedSite,
    Extension(memory): SharedMemory,
    op: Result<Operating, PageError>,
    Query(shown): Query<Shown>,
) -> Result<Response, PageError> {
    let Ok(op) = op else {
        return Ok(StatusCode::UNAUTHORIZED.into_response());
    };
    let f = frame(&site, &op, &shown);
    let city = memory.counts.of(&site, op.caller()?, shown.is_exact()).await;
    let city = City::of(&f, &city);
    let table = Table {
        f: &f,
        rows: city.rows(),
        is_known: city.is_known,
    };
    Ok(page(StatusCode::OK, &table))
}

fn frame<'a>(site: &'a Site, op: &Operating, shown: &Shown) -> Frame<'a> {
    let mut f = op.frame(site, "/ops/counts");
    if shown.is_exact() {
        f.query = "exact=yes".to_owned();
    }
    f
}

fn fields(f: &Frame<'_>, purpose: &str, days: u16) -> Vec<Field> {
    let periods = PERIODS.iter().map(|days| {
        let text = f.t1("ops-last-days", "days", &days.to_string());
        (days.to_string(), text)
    });
    vec![
        Field::new(f, "days", choices(periods, &days.to_string()), ""),
        Field::new(f, "purpose", Input::Line, purpose),
    ]
}

/// The form that asks for scans.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    form_token: String,
    days: String,
    purpose: String,
}

/// A reload of the answer leads to the form.
pub(super) async fn to_counts(_: Operating) -> Redirect {
    Redirect::to("/ops/counts")
}

/// The scans of the last days by place and reason.
pub(super) async fn scans(
    State(site): SharedSite,
    Extension(memory): SharedMemory,
    op: Operating,
    Form(asked): Form<Asked>,
) -> Result<Response, PageError> {
    op.check(&site, &asked.form_token)?;
    let f = op.frame(&site, "/ops/counts");
    let days = asked
        .days
        .parse()
        .ok()
        .filter(|days| PERIODS.contains(days))
        .unwrap_or(PERIODS[1]);
    let mut faults = Faults::default();
    let why = purpose(&f, &asked.purpose, &mut faults);
    if !faults.is_empty() {
        let mut fields = fields(&f, &asked.purpose, days);
        faults.show_in(&mut fields);
        let shown = counts_page(&site, &memory.counts, &op, f, (false, fields)).await?;
        return Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &shown));
    }
    let shown = Streamed {
        tabs: op.tabs(&f),
        title: f.t1("ops-scans-title", "days", &days.to_string()),
        script: "charts.js",
        back: "/ops/counts",
        f,
    };
    let (caller, choice, now) = (op.caller()?, op.choice, site.now());
    let asked = scans::Scans {
        purpose: why,
        from: now - i64::from(days) * 86_400,
        to: now,
    };
    let own = std::sync::Arc::clone(&site);
    Ok(streamed::answer(&shown, move |parts| async move {
        scans::tell(&own, choice, &caller, asked, &parts).await;
    }))
}
