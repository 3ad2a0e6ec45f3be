//! A picture of a code, read here and then checked like any scan.

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
use utoipa::IntoParams;

use super::verify::{VerdictAnswer, ask};
use crate::answer::invalid;
use crate::call::Call;
use crate::portal::{Shared, SharedState};

/// Largest picture taken: a phone's photograph has a few MB.
const MAX_PICTURE_BYTES: usize = 16 << 20;

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
    let code = read(&shared, bounded(&headers, body).await?).await?;
    let message = proto::VerifyRequest {
        place: query.place,
        scan: Some(proto::verify_request::Scan::Code(code)),
        id_number,
        device: query.device.unwrap_or_default(),
        scan_id: query.scan_id.unwrap_or_default(),
        at: None,
        omit_explanation: false,
    };
    ask(&shared.clients, &call, message).await
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

/// The whole body, if it is small enough; one that says it is larger is not read at all.
async fn bounded(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::TooLarge, "a picture has at most 16 MiB");
    let said = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|length| length > MAX_PICTURE_BYTES) {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(said.unwrap_or_default());
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| invalid("the body broke off"))?;
        if bytes.len() + chunk.len() > MAX_PICTURE_BYTES {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// Reads on a thread where computing is allowed, a few pictures at a time.
async fn read(shared: &Shared, picture: Bytes) -> Result<String, Problem> {
    let permit = std::sync::Arc::clone(&shared.pictures)
        .acquire_owned()
        .await
        .map_err(|_| Problem::internal())?;
    let read = tokio::task::spawn_blocking(move || {
        let text = read_image(&picture);
        drop(permit);
        text
    });
    match read.await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error @ ReadImageError::TooLarge)) => Err(Problem::new(Code::TooLarge, error.to_string())),
        Ok(Err(error)) => Err(Problem::new(Code::UnreadableImage, error.to_string())),
        Err(_) => Err(Problem::internal()),
    }
}
