//! A picture of a code, read here and then checked like any scan.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use citycode_qr::{ReadImageError, read_image};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::verifier::v1 as proto;
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use super::verify::{VerdictAnswer, ask};
use crate::answer::invalid;
use crate::call::Call;
use crate::portal::{Shared, SharedState};

/// Largest picture taken: a phone's photograph has a few MB.
const MAX_PICTURE_BYTES: usize = 16 << 20;
/// What the room for pictures is counted in.
const MEBIBYTE: usize = 1 << 20;
/// How long a picture waits for room: as long as reading one takes.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(2);

/// Where a picture was taken.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PictureQuery {
    /// Name of the place in the policy.
    #[param(example = "sentinel")]
    place: String,
    /// Which device scans; the caller's own if absent.
    device: Option<String>,
    /// The device's name for this scan: the same twice is one record.
    scan_id: Option<String>,
}

/// The header that carries the ID number of the card beside the code: it may stand in no URL, and the body is the
/// picture.
const ID_NUMBER: &str = "citycode-id-number";

/// Reads the one QR code in a PNG or JPEG and checks it.
#[utoipa::path(post, path = "/api/v1/verify/image", tag = "checking",
    params(PictureQuery, ("citycode-id-number" = Option<String>, Header, description = "Number of the ID card beside the code")),
    request_body(description = "PNG or JPEG, at most 16 MiB and 40 megapixels",
        content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"))),
    responses((status = 200, body = VerdictAnswer)))]
pub(crate) async fn verify_image(
    State(shared): SharedState,
    call: Call,
    query: Result<Query<PictureQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // The rejection's own text repeats what was sent.
    let Query(query) =
        query.map_err(|_| invalid("the query lacks place, or has something beside place, device and scan_id"))?;
    picture_type(&headers)?;
    let id_number = id_number(&headers)?;
    let said = said_length(&headers)?;
    let room = room(&shared, said).await?;
    let code = read(&shared, bounded(said, body).await?, room).await?;
    let message = proto::VerifyRequest {
        place: query.place,
        scan: Some(proto::verify_request::Scan::Code(code)),
        id_number,
        device: query.device.unwrap_or_default(),
        scan_id: query.scan_id.unwrap_or_default(),
        at: None,
        omit_explanation: false,
    };
    ask(&shared, &call, message).await
}

fn id_number(headers: &HeaderMap) -> Result<String, Problem> {
    match headers.get(ID_NUMBER).map(|value| value.to_str()) {
        None => Ok(String::new()),
        Some(Ok(value)) => Ok(value.to_owned()),
        // What was sent is not repeated.
        Some(Err(_)) => Err(invalid("the header citycode-id-number is not an ID number")),
    }
}

fn picture_type(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match kind.map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
        Some("image/png" | "image/jpeg") => Ok(()),
        _ => Err(invalid("the content type is neither image/png nor image/jpeg")),
    }
}

fn too_large() -> Problem {
    Problem::new(Code::TooLarge, "a picture has at most 16 MiB")
}

/// How long the body says it is, if it does; one that says it is too large is not read at all.
fn said_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let said = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|length| length > MAX_PICTURE_BYTES) {
        return Err(too_large());
    }
    Ok(said)
}

/// Room for a picture, taken before any of it is read and kept until it was looked at: so what pictures hold in
/// memory has an end, however many are sent at once. Who sends slowly keeps it until the limit of every call.
async fn room(shared: &Shared, said: Option<usize>) -> Result<OwnedSemaphorePermit, Problem> {
    let mebibytes = said.unwrap_or(MAX_PICTURE_BYTES).div_ceil(MEBIBYTE).max(1);
    let mebibytes = u32::try_from(mebibytes).map_err(|_| too_large())?;
    let asked = Arc::clone(&shared.picture_mebibytes).acquire_many_owned(mebibytes);
    match tokio::time::timeout(WAIT_FOR_ROOM, asked).await {
        Ok(Ok(room)) => Ok(room),
        Ok(Err(_)) => Err(Problem::internal()),
        Err(_) => {
            let busy = Problem::new(
                Code::Unavailable,
                "too many pictures are being read; nothing was checked",
            );
            Err(busy.with_retry_after(WAIT_FOR_ROOM.as_secs()))
        }
    }
}

/// The whole body, if it is small enough.
async fn bounded(said: Option<usize>, body: Body) -> Result<Bytes, Problem> {
    let mut bytes = Vec::with_capacity(said.unwrap_or_default());
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| invalid("the body broke off"))?;
        // One that said less has room for no more.
        if bytes.len() + chunk.len() > said.unwrap_or(MAX_PICTURE_BYTES) {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// Reads on a thread where computing is allowed, a few pictures at a time.
async fn read(shared: &Shared, picture: Bytes, room: OwnedSemaphorePermit) -> Result<String, Problem> {
    let permit = Arc::clone(&shared.pictures)
        .acquire_owned()
        .await
        .map_err(|_| Problem::internal())?;
    let read = tokio::task::spawn_blocking(move || {
        let text = read_image(&picture);
        drop((picture, room, permit));
        text
    });
    match read.await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error @ ReadImageError::TooLarge)) => Err(Problem::new(Code::TooLarge, error.to_string())),
        Ok(Err(error)) => Err(Problem::new(Code::UnreadableImage, error.to_string())),
        Err(_) => Err(Problem::internal()),
    }
}
