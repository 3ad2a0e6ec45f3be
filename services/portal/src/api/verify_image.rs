//! Verification of a picture of a code, which is decoded here and then verified like any scan.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use citycode_auth::Caller;
use citycode_qr::{ReadImageError, read_image};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::verifier::v1 as proto;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde::Deserialize;
use utoipa::IntoParams;

use super::verify::{VerdictAnswer, ask};
use crate::answer::{Binary, invalid};
use crate::call::Call;
use crate::pictures::{MAX_PICTURE_BYTES, Permit, Received, too_large};
use crate::portal::{Shared, SharedState};

/// The place and device of a picture.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PictureQuery {
    /// Name of the place in the policy.
    #[param(example = "sentinel")]
    place: String,
    /// The scanning device; the caller's own if absent.
    device: Option<String>,
    /// The device's id for this scan; scans with the same id have one record.
    scan_id: Option<String>,
}

/// The header with the ID number of the card that is presented with the code. URLs must not contain ID numbers, and the
/// body is the picture.
const ID_NUMBER: &str = "citycode-id-number";

/// Decodes the only QR code in a PNG or JPEG and verifies it.
#[utoipa::path(post, path = "/api/v1/verify/image", tag = "checking",
    params(PictureQuery, ("citycode-id-number" = Option<String>, Header, description = "Number of the ID card beside the code")),
    request_body(description = "PNG or JPEG, at most 16 MiB and 40 megapixels",
        content((Binary = "image/png"), (Binary = "image/jpeg"))),
    responses((status = 200, description = "The verdict on the code in the picture", body = VerdictAnswer)))]
pub(crate) async fn verify_image(
    State(shared): SharedState,
    call: Call,
    query: Result<Query<PictureQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // The rejection's own text repeats what was sent.
    let Query(query) =
        query.map_err(|_| invalid("the query lacks place, or has a parameter other than place, device and scan_id"))?;
    picture_type(&headers)?;
    let id_number = id_number(&headers)?;
    // The body is not read for a caller that may not verify there, or has sent too many pictures.
    may_verify(&shared, call.caller(), &query)?;
    if said_length(&headers).is_some_and(|length| length > MAX_PICTURE_BYTES) {
        return Err(too_large());
    }
    let turn = shared.pictures.turn(call.caller())?;
    let picture = shared.pictures.receive(body).await?;
    let code = read(&shared, picture, turn).await?;
    let message = proto::VerifyRequest {
        place: query.place,
        scan: Some(proto::verify_request::Scan::Code(code)),
        id_number,
        device: query.device.unwrap_or_default(),
        scan_id: query.scan_id.unwrap_or_default(),
        at: None,
        omit_explanation: false,
        person_differs: false,
    };
    ask(&shared, &call, message).await
}

fn id_number(headers: &HeaderMap) -> Result<String, Problem> {
    match headers.get(ID_NUMBER).map(|value| value.to_str()) {
        None => Ok(String::new()),
        Some(Ok(value)) => Ok(value.to_owned()),
        // The value that was sent is not repeated.
        Some(Err(_)) => Err(invalid("the header citycode-id-number is not an ID number")),
    }
}

fn picture_type(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match kind.as_deref() {
        Some("image/png" | "image/jpeg") => Ok(()),
        _ => Err(invalid("the content type is neither image/png nor image/jpeg")),
    }
}

/// The length of the body according to its header, if any.
fn said_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Checks that the caller may verify at this place as this device. The verifier has the same rule; it is applied before
/// the picture is read, because decoding one costs far more than any other scan.
fn may_verify(shared: &Shared, caller: &Caller, query: &PictureQuery) -> Result<(), Problem> {
    let place = shared.policy.place(&query.place).ok_or_else(|| {
        let known: Vec<_> = shared.policy.places.iter().map(|place| place.name.as_str()).collect();
        let detail = format!("the policy has no such place; it has {}", known.join(", "));
        Problem::new(Code::UnknownPlace, detail)
    })?;
    let named = query.device.as_deref().unwrap_or_default();
    let may = match named {
        "" => caller.is_admin() || caller.device_at(&place.name).is_some(),
        device => caller.may_verify(&place.name, device),
    };
    if may {
        Ok(())
    } else {
        let detail = "the caller may not verify at this place as this device";
        Err(Problem::new(Code::NotAllowed, detail))
    }
}

/// Decodes on a blocking thread, a few pictures at a time. The picture's memory is released when it was decoded, even
/// if the caller no longer waits.
async fn read(shared: &Shared, picture: Received, turn: Permit) -> Result<String, Problem> {
    let permit = shared.pictures.look().await?;
    let read = tokio::task::spawn_blocking(move || {
        let text = read_image(&picture.bytes);
        drop((picture, turn, permit));
        text
    });
    match read.await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error @ ReadImageError::TooLarge)) => Err(Problem::new(Code::TooLarge, error.to_string())),
        Ok(Err(error)) => Err(Problem::new(Code::UnreadableImage, error.to_string())),
        Err(_) => Err(Problem::internal()),
    }
}
