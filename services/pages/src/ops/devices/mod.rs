//! `/ops/devices`: the paired devices, the pairing of a new one, and the end of one.

mod end;
mod pair;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use citycode_access_records::Table;
use http::StatusCode;

use super::access::{Operating, TabLink};
use super::fields::{Choice, Field, Input};
use super::knowledge::{AtPlace, of_places};
use super::numbers;
use crate::acts::ActResult;
use crate::frame::{Frame, page};
use crate::problem_page::PageError;
use crate::session::Device;
use crate::site::{SharedSite, Site};
pub(super) use end::{ask, end};
pub(super) use pair::{Attempts, pair};

/// A paired device in the table.
struct Row {
    id: String,
    name: String,
    area: &'static str,
    where_to: String,
    until: i64,
    end: String,
}

/// A group of targets for which a device can be paired.
struct Group {
    label: String,
    targets: Vec<Choice>,
}

#[derive(Template)]
#[template(path = "ops/devices.html")]
struct Devices<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    result: Option<ActResult>,
    code: Field,
    name: Field,
    target: Field,
    groups: Vec<Group>,
    rows: Vec<Row>,
    places: Vec<AtPlace>,
}

pub(super) async fn show(State(site): SharedSite, op: Operating) -> Result<Response, PageError> {
    let f = op.frame(&site, "/ops/devices");
    let typed = pair::Typed::default();
    let devices = devices(&site, &op, f, &typed).await?;
    Ok(page(StatusCode::OK, &devices))
}

/// The page with what was typed.
async fn devices<'a>(site: &Site, op: &Operating, f: Frame<'a>, typed: &pair::Typed) -> Result<Devices<'a>, PageError> {
    let records = site.records.list(Table::Device, site.now()).await?;
    let rows = records.iter().filter_map(|(_, record)| {
        let device: Device = serde_json::from_slice(&record.value).ok()?;
        Some(row(&f, device, record.expires_at))
    });
    Ok(Devices {
        tabs: op.tabs(&f),
        result: None,
        code: Field::new(&f, "code", Input::Code, &typed.code),
        name: Field::new(&f, "device_name", Input::Line, &typed.device_name),
        target: Field::new(&f, "target", Input::Select(Vec::new()), ""),
        groups: groups(&f, &typed.target),
        rows: rows.collect(),
        places: of_places(site, &op.caller()?, &f).await,
        f,
    })
}

fn row(f: &Frame<'_>, device: Device, until: i64) -> Row {
    let area = if device.channel.is_empty() { "place" } else { "channel" };
    let where_to = if device.channel.is_empty() {
        let places: Vec<String> = device.places.iter().map(|place| numbers::place(f, place)).collect();
        numbers::listed(f, &places)
    } else {
        let channel = f.site.policy.channel(&device.channel);
        channel.map_or_else(|| device.channel.clone(), |channel| f.label(&channel.label))
    };
    Row {
        end: format!("/ops/devices/end?id={}", device.id),
        id: device.id,
        name: device.name,
        area,
        where_to,
        until,
    }
}

/// The channels for kiosks, and the places for checkpoints and gates.
fn groups(f: &Frame<'_>, chosen: &str) -> Vec<Group> {
    let choice = |value: String, text: String| Choice {
        is_chosen: value == chosen,
        value,
        text,
    };
    let policy = &f.site.policy;
    let channels = policy
        .channels
        .iter()
        .map(|channel| choice(format!("channel:{}", channel.name), f.label(&channel.label)));
    let places = policy
        .places
        .iter()
        .map(|place| choice(format!("place:{}", place.name), f.label(&place.label)));
    let all = choice(pair::ALL_PLACES.to_owned(), f.t("ops-all-places"));
    vec![
        Group {
            label: f.t("ops-places"),
            targets: places.chain([all]).collect(),
        },
        Group {
            label: f.t("ops-channels"),
            targets: channels.collect(),
        },
    ]
}
