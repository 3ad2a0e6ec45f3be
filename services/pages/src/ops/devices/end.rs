//! The end of a device: its sessions end within two seconds, at every portal.

use axum::Form;
use axum::extract::{Query, State};
use axum::response::Response;
use citycode_access_records::{Entry, Record, Table};
use http::StatusCode;
use serde::Deserialize;

use super::super::access::Operating;
use super::super::confirm::{Confirm, Fact};
use super::super::result;
use super::{devices, pair, row};
use crate::frame::page;
use crate::problem_page::PageError;
use crate::session::Device;
use crate::site::{SharedSite, Site};

/// Which device.
#[derive(Deserialize)]
pub(in crate::ops) struct Which {
    id: String,
}

/// Asks for confirmation.
pub(in crate::ops) async fn ask(
    State(site): SharedSite,
    op: Operating,
    Query(which): Query<Which>,
) -> Result<Response, PageError> {
    let record = find(&site, &which.id).await?.ok_or(PageError::NotFound)?;
    let device: Device = serde_json::from_slice(&record.value).map_err(|_| PageError::NotFound)?;
    let mut f = op.frame(&site, "/ops/devices/end");
    f.query = format!("id={}", device.id);
    let name = device.name.clone();
    let device = row(&f, device, record.expires_at);
    let confirm = Confirm {
        tabs: op.tabs(&f),
        title: f.t1("ops-end-title", "name", &name),
        will: vec![f.t("ops-end-will"), f.t("ops-end-again")],
        facts: vec![
            Fact {
                name: f.t("ops-field-device-name"),
                value: name,
            },
            Fact {
                name: f.t("ops-field-target"),
                value: device.where_to,
            },
        ],
        effects: None,
        action: "/ops/devices/end".to_owned(),
        hidden: vec![("id", device.id)],
        act: "end-device",
        button: f.t("ops-end-confirm"),
        back: "/ops/devices".to_owned(),
        f,
    };
    Ok(page(StatusCode::OK, &confirm))
}

/// The form.
#[derive(Deserialize)]
pub(in crate::ops) struct Ending {
    #[serde(default)]
    form_token: String,
    id: String,
}

/// Ends the device. A device that has ended already stays ended.
pub(in crate::ops) async fn end(
    State(site): SharedSite,
    op: Operating,
    Form(ending): Form<Ending>,
) -> Result<Response, PageError> {
    op.check(&site, &ending.form_token)?;
    let f = op.frame(&site, "/ops/devices");
    expire(&site, &ending.id).await?;
    let headline = f.t("ops-ended");
    let mut shown = devices(&site, &op, f, &pair::Typed::default()).await?;
    shown.result = Some(result::done(headline));
    Ok(page(StatusCode::OK, &shown))
}

async fn find(site: &Site, id: &str) -> Result<Option<Record>, PageError> {
    Ok(site.records.get(Table::Device, id.as_bytes(), site.now()).await?)
}

/// Replaces the record by one that has expired. If another replaced it meanwhile, that one is replaced.
pub(super) async fn expire(site: &Site, id: &str) -> Result<(), PageError> {
    while let Some(record) = find(site, id).await? {
        let entry = Entry {
            value: &record.value,
            expires_at: 0,
        };
        if site
            .records
            .replace(Table::Device, id.as_bytes(), record.revision, entry)
            .await?
        {
            break;
        }
    }
    Ok(())
}
