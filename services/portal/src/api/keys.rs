//! Signing keys: the public keys for everyone; rotating keys and marking them as compromised for admins.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::problem::{Code, JsonBody, Problem};
use citycode_wire::proto::issuer::v1 as proto;
use data_encoding::BASE64URL_NOPAD;
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status_keys::{self, StatusKeyAnswer};
use crate::answer::{Binary, Instant, incomplete, json};
use crate::call::{Call, public};
use crate::portal::SharedState;

/// Media type of a COSE_KeySet (RFC 9052 §11.3.2).
pub(crate) const COSE_KEY_SET: &str = "application/cose-key-set";
/// How long copies of the keys may be cached: a rotation overlaps by a minute.
pub(crate) const KEYS_CACHE: &str = "public, max-age=30";

/// The public keys with their periods of use.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeySet {
    /// The keys that sign codes.
    keys: Vec<KeyAnswer<'static>>,
    /// The keys that sign status lists, never codes; absent while the service that has them does not answer.
    #[schema(required = false)]
    status_list_keys: Vec<StatusKeyAnswer>,
}

/// The issuer's JSON, with the status keys added.
#[derive(Serialize)]
struct PublishedKeys {
    keys: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_list_keys: Option<Vec<StatusKeyAnswer>>,
}

/// The issuer's JSON.
#[derive(Deserialize)]
struct CodeKeys {
    keys: Vec<serde_json::Value>,
}

/// A public signing key, as a JWK with its periods of use.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyAnswer<'a> {
    /// `OKP`.
    #[schema(example = "OKP")]
    kty: &'static str,
    /// `Ed25519`.
    #[schema(example = "Ed25519")]
    crv: &'static str,
    /// The key, Base64url.
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
    /// Key id, 8 hex digits.
    #[schema(example = "0badc0de")]
    kid: &'a str,
    /// `Ed25519` (RFC 9864).
    #[schema(example = "Ed25519")]
    alg: &'static str,
    /// `sig`.
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    usage: &'static str,
    /// Signs from.
    #[schema(value_type = String, format = DateTime)]
    signs_from: Instant,
    /// Signs until; null while it signs.
    #[schema(value_type = Option<String>, format = DateTime)]
    signs_until: Option<Instant>,
    /// Verifies until; null while it signs.
    #[schema(value_type = Option<String>, format = DateTime)]
    verifies_until: Option<Instant>,
    /// Whether it may be compromised.
    compromised: bool,
}

/// Returns the public keys that sign codes, as a JWK set, or as a COSE_KeySet if `Accept` asks for it. The JWK set also
/// contains, in a separate member, the keys that sign status lists; their COSE_KeySet is at `/api/v1/status-keys`.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys",
    responses((status = 200, description = "The public keys", content((KeySet = "application/json"), (Binary = "application/cose-key-set")))))]
pub(crate) async fn list_keys(State(shared): SharedState, headers: HeaderMap) -> Result<Response, Problem> {
    let mut issuer = shared.clients.issuer.clone();
    let message = public(&headers, proto::ListKeysRequest {});
    let answer = issuer.list_keys(message).await?.into_inner();
    if prefers(&headers, COSE_KEY_SET, "application/json") {
        let response = ([(CONTENT_TYPE, COSE_KEY_SET)], Body::from(answer.cose_key_set)).into_response();
        return Ok(([(CACHE_CONTROL, KEYS_CACHE), (VARY, "accept")], response).into_response());
    }
    let CodeKeys { keys } = serde_json::from_str(&answer.jwks).map_err(|_| incomplete("issuer"))?;
    let kids: Vec<&str> = keys.iter().filter_map(|key| key.get("kid")?.as_str()).collect();
    let status_list_keys = status_keys::beside(&shared, &headers, &kids).await;
    // An answer without the status keys must not be cached.
    let lasting = if status_list_keys.is_some() {
        KEYS_CACHE
    } else {
        "no-store"
    };
    let response = json(&PublishedKeys { keys, status_list_keys })?;
    Ok(([(CACHE_CONTROL, lasting), (VARY, "accept")], response).into_response())
}

/// Whether the caller prefers `media_type` to `default` (RFC 9110 §12.5.1): with a greater weight, or with the same
/// weight and named first. A caller that names neither gets the default.
pub(crate) fn prefers(headers: &HeaderMap, media_type: &str, default: &str) -> bool {
    let accept = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let weight_and_place = |wanted: &str| {
        let mut ranges = accept
            .split(',')
            .map(|range| range.split(';').map(str::trim))
            .enumerate();
        ranges.find_map(|(place, mut range)| {
            range.next()?.eq_ignore_ascii_case(wanted).then_some(())?;
            let weight = range.find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
            let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
            (weight > 0.0).then_some((weight, place))
        })
    };
    match (weight_and_place(media_type), weight_and_place(default)) {
        (Some((wanted, first)), Some((other, second))) => wanted > other || (wanted >= other && first < second),
        (wanted, _) => wanted.is_some(),
    }
}

/// An optional command id.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(crate) struct KeyActBody {
    /// Instead of the header Idempotency-Key.
    #[schema(format = "uuid")]
    command_id: Option<String>,
}

/// Adds a new signing key; the previous one is retired and still verifies.
#[utoipa::path(post, path = "/api/v1/keys/rotate", tag = "keys", request_body = KeyActBody,
    params(("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The key that signs from now on", body = KeyAnswer)))]
pub(crate) async fn rotate(
    State(shared): SharedState,
    call: Call,
    JsonBody(body): JsonBody<KeyActBody>,
) -> Result<Response, Problem> {
    let message = proto::RotateKeysRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
    };
    let mut issuer = shared.clients.issuer.clone();
    let answer = issuer.rotate_keys(call.with(message)).await?.into_inner();
    key_answer(answer.key.as_ref())
}

/// Marks a key as compromised: it no longer signs, and codes of it that are not in the log are refused.
#[utoipa::path(post, path = "/api/v1/keys/{kid}/compromise", tag = "keys", request_body = KeyActBody,
    params(("kid" = String, Path, description = "Key id, 8 hex digits"),
        ("Idempotency-Key" = Option<String>, Header, format = "uuid", description = "The command's id")),
    responses((status = 200, description = "The key, marked", body = KeyAnswer)))]
pub(crate) async fn compromise(
    State(shared): SharedState,
    call: Call,
    kid: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody<KeyActBody>,
) -> Result<Response, Problem> {
    let Path(key_id) = kid.map_err(|_| Problem::new(Code::NotFound, "there is no such key"))?;
    let message = proto::CompromiseKeyRequest {
        command_id: call.command_id(body.command_id.as_deref())?,
        key_id,
    };
    let mut issuer = shared.clients.issuer.clone();
    let answer = issuer.compromise_key(call.with(message)).await?.into_inner();
    key_answer(answer.key.as_ref())
}

fn key_answer(key: Option<&proto::SigningKey>) -> Result<Response, Problem> {
    let key = key.ok_or_else(|| incomplete("issuer"))?;
    json(&KeyAnswer {
        kty: "OKP",
        crv: "Ed25519",
        x: BASE64URL_NOPAD.encode(&key.public_key),
        kid: &key.key_id,
        alg: "Ed25519",
        usage: "sig",
        signs_from: Instant(key.signs_from),
        signs_until: key.signs_until.map(Instant),
        verifies_until: key.verifies_until.map(Instant),
        compromised: key.compromised,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heavier_media_type_is_preferred_and_of_equals_the_first() {
        let (jwt, cwt) = ("application/statuslist+jwt", "application/statuslist+cwt");
        for (accept, wants_jwt) in [
            ("", false),
            ("*/*", false),
            ("text/html, application/statuslist+jwt", true),
            ("application/statuslist+jwt;q=0.5, application/statuslist+cwt", false),
            (
                "application/statuslist+cwt; q=0.1, APPLICATION/statuslist+jwt ; q=0.2",
                true,
            ),
            ("application/statuslist+jwt, application/statuslist+cwt", true),
            ("application/statuslist+cwt, application/statuslist+jwt", false),
            ("application/statuslist+jwt;q=0", false),
            ("application/statuslist+jwt;q=x", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a header"));
            assert_eq!(prefers(&headers, jwt, cwt), wants_jwt, "{accept}");
        }
    }
}
