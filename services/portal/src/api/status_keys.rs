//! The public keys that sign status lists, separate from those that sign codes.
//!
//! They are in separate members and sets and have a separate `use`, so that neither kind is mistaken for the other. A
//! key that is found in both sets is not published as a status key.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::revocation::v1 as proto;
use data_encoding::BASE64URL_NOPAD;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use serde::Serialize;
use utoipa::ToSchema;

use super::keys::{COSE_KEY_SET, KEYS_CACHE, prefers};
use crate::answer::{Binary, incomplete, json};
use crate::call::public;
use crate::portal::{Shared, SharedState};

/// How long the answer with code-signing keys waits for the status keys, which are not needed to check codes.
const WAIT_FOR_STATUS_KEYS: Duration = Duration::from_secs(2);

/// A key that signs only status lists, as a JWK.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusKeyAnswer {
    /// `OKP`.
    #[schema(example = "OKP")]
    kty: &'static str,
    /// `Ed25519`.
    #[schema(example = "Ed25519")]
    crv: &'static str,
    /// The key, Base64url.
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
    /// Key id, 8 hex digits: the `kid` in the lists' headers.
    #[schema(example = "0badc0de")]
    kid: String,
    /// `Ed25519` (RFC 9864).
    #[schema(example = "Ed25519")]
    alg: &'static str,
    /// `status-list`: not for codes.
    #[serde(rename = "use")]
    #[schema(example = "status-list")]
    usage: &'static str,
}

/// The keys that sign status lists, as a JWK set.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusKeySet {
    /// The keys.
    keys: Vec<StatusKeyAnswer>,
}

impl StatusKeyAnswer {
    pub(crate) fn new(key_id: &str, public_key: &[u8]) -> Self {
        Self {
            kty: "OKP",
            crv: "Ed25519",
            x: BASE64URL_NOPAD.encode(public_key),
            kid: key_id.to_owned(),
            alg: "Ed25519",
            usage: "status-list",
        }
    }
}

/// Returns the public keys that sign status lists, as a JWK set, or as a COSE_KeySet if `Accept` asks for it. Their
/// `use` is `status-list` (in COSE with the label -65538): they do not sign codes.
#[utoipa::path(get, path = "/api/v1/status-keys", tag = "keys",
    responses((status = 200, description = "The keys that sign status lists", content((StatusKeySet = "application/json"), (Binary = "application/cose-key-set")))))]
pub(crate) async fn status_keys(State(shared): SharedState, headers: HeaderMap) -> Result<Response, Problem> {
    let answer = ask(&shared, &headers).await?;
    let response = if prefers(&headers, COSE_KEY_SET, "application/json") {
        ([(CONTENT_TYPE, COSE_KEY_SET)], Body::from(answer.cose_key_set)).into_response()
    } else {
        json(&StatusKeySet {
            keys: rendered(&answer),
        })?
    };
    Ok(([(CACHE_CONTROL, KEYS_CACHE), (VARY, "accept")], response).into_response())
}

/// The status keys for the answer with code-signing keys; `None` if revocation does not answer soon, or if one of
/// them is a code-signing key.
pub(crate) async fn beside(shared: &Shared, headers: &HeaderMap, code_kids: &[&str]) -> Option<Vec<StatusKeyAnswer>> {
    let keys = match tokio::time::timeout(WAIT_FOR_STATUS_KEYS, ask(shared, headers)).await {
        Ok(Ok(answer)) => rendered(&answer),
        Ok(Err(problem)) => {
            tracing::warn!(detail = problem.detail(), "the keys of status lists could not be read");
            return None;
        }
        Err(_) => {
            tracing::warn!("the keys of status lists could not be read in time");
            return None;
        }
    };
    if keys.iter().any(|key| code_kids.contains(&key.kid.as_str())) {
        tracing::error!("status lists are signed by a code-signing key: give revocation a key of its own");
        return None;
    }
    Some(keys)
}

async fn ask(shared: &Shared, headers: &HeaderMap) -> Result<proto::ListStatusKeysResponse, Problem> {
    let mut revocation = shared.clients.revocation.clone();
    let message = public(headers, proto::ListStatusKeysRequest {});
    let answer = revocation.list_status_keys(message).await?.into_inner();
    if answer.keys.is_empty() {
        return Err(incomplete("revocation"));
    }
    Ok(answer)
}

fn rendered(answer: &proto::ListStatusKeysResponse) -> Vec<StatusKeyAnswer> {
    let rendered = |key: &proto::StatusKey| StatusKeyAnswer::new(&key.key_id, &key.public_key);
    answer.keys.iter().map(rendered).collect()
}
