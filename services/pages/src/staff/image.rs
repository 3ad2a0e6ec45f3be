//! A picture of a code, chosen in a browser without scripts. With scripts the browser reads the picture itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::multipart::{Field, Multipart};
use axum::http::request::Parts;
use axum::response::Response;
use citycode_wire::proto::verifier::v1::verify_request::Scan;
use http::StatusCode;

use super::page::{Desk, Errors};
use super::pictures::{MAX_PICTURE_BYTES, Pictures, Unread};
use super::scan::judge;
use crate::checks::checkpoint::AtCheckpoint;
use crate::checks::scanned::scan_id;
use crate::checks::wants_part;
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::site::SharedSite;

/// Largest body: the picture and the other fields.
pub(super) const MAX_BODY_BYTES: usize = MAX_PICTURE_BYTES + (64 << 10);
/// How long a picture may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);

/// The fields of the form.
#[derive(Default)]
struct PictureForm {
    form_token: String,
    place: String,
    scan_id: String,
    picture: Bytes,
}

pub(super) async fn scan(
    State(site): SharedSite,
    Extension(pictures): Extension<Arc<Pictures>>,
    choice: Choice,
    at: AtCheckpoint,
    parts: Parts,
    body: Multipart,
) -> Result<Response, PageError> {
    let received = receive(&pictures, body).await;
    let form = received.as_ref().ok();
    let mut desk = Desk::new(&site, choice, at, form.map(|form| form.place.as_str()), &parts)?;
    let read = match received {
        Ok(form) => {
            desk.check_token(&form.form_token)?;
            let read = pictures.read(form.picture).await;
            read.map(|text| (text, scan_id(&site, &form.scan_id)))
        }
        Err(unread) => Err(unread),
    };
    match read {
        Ok((text, scan_id)) => {
            let verdict = judge(&mut desk, Scan::Code(text), &scan_id).await;
            Ok(desk.answer(&verdict, wants_part(&parts.headers)).await)
        }
        Err(unread) => {
            let errors = Errors {
                image: Some(desk.f.t(unread.sentence())),
                ..Errors::default()
            };
            Ok(desk.page(StatusCode::UNPROCESSABLE_ENTITY, None, errors).await)
        }
    }
}

/// Receives the form. At most a few pictures are in memory at once.
async fn receive(pictures: &Pictures, body: Multipart) -> Result<PictureForm, Unread> {
    let _turn = pictures.turn().await?;
    match tokio::time::timeout(ARRIVES_WITHIN, fields(body)).await {
        Ok(form) => form,
        Err(_) => Err(Unread::Busy),
    }
}

async fn fields(mut body: Multipart) -> Result<PictureForm, Unread> {
    let mut form = PictureForm::default();
    while let Some(field) = body.next_field().await.map_err(|error| unread(error.status()))? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "form_token" => form.form_token = text(field).await?,
            "place" => form.place = text(field).await?,
            "scan_id" => form.scan_id = text(field).await?,
            "image" => form.picture = field.bytes().await.map_err(|error| unread(error.status()))?,
            _ => {}
        }
    }
    Ok(form)
}

async fn text(field: Field<'_>) -> Result<String, Unread> {
    field.text().await.map_err(|error| unread(error.status()))
}

fn unread(status: StatusCode) -> Unread {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        Unread::TooLarge
    } else {
        Unread::NotAnImage
    }
}
