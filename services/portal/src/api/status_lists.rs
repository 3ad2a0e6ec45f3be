//! The public status lists (draft-ietf-oauth-status-list): their URIs, and each list as CWT or JWT.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::revocation::v1 as proto;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::keys::prefers;
use super::status_keys::StatusKeyAnswer;
use crate::answer::{Binary, incomplete, invalid, json};
use crate::call::public;
use crate::portal::SharedState;

const STATUS_LIST_CWT: &str = "application/statuslist+cwt";
const STATUS_LIST_JWT: &str = "application/statuslist+jwt";
/// How long the list of URIs may be cached; it grows by a few per month.
const AGGREGATION_CACHE: &str = "public, max-age=60";

/// Status list aggregation (draft-ietf-oauth-status-list §9.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct Aggregation<'a> {
    /// URI of each list that is not retired.
    status_lists: Vec<&'a str>,
    /// The URI of the keys that sign them, which do not sign codes.
    status_list_keys: Vec<StatusKeyAnswer>,
}

/// Returns the URIs of the status lists and of the keys that sign them.
#[utoipa::path(get, path = "/api/v1/status-lists", operation_id = "list_status_lists", tag = "keys",
    responses((status = 200, description = "The lists, and the keys that sign them", body = Aggregation)))]
pub(crate) async fn list(State(shared): SharedState, headers: HeaderMap) -> Result<Response, Problem> {
    let mut revocation = shared.clients.revocation.clone();
    let message = public(&headers, proto::ListStatusListsRequest {});
    let answer = revocation.list_status_lists(message).await?.into_inner();
    let status_lists = answer.lists.iter().map(|list| list.uri.as_str()).collect();
    let status_list_keys = vec![StatusKeyAnswer::new(&answer.key_id, &answer.public_key)];
    let response = json(&Aggregation {
        status_lists,
        status_list_keys,
    })?;
    Ok(([(CACHE_CONTROL, AGGREGATION_CACHE)], response).into_response())
}

/// The instant of a status list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AtTime {
    time: Option<i64>,
}

/// Returns one signed status list: a CWT, or a JWT if `Accept` asks for it; with `time`, as it was then.
#[utoipa::path(get, path = "/api/v1/status-lists/{list}", operation_id = "get_status_list", tag = "keys",
    params(("list" = String, Path, description = "The list, 8 hex digits"),
        ("time" = Option<i64>, Query, description = "An earlier instant in Unix seconds; the list is that of the tick before it"),
        ("If-None-Match" = Option<String>, Header, description = "Entity tag of the client's copy")),
    responses(
        (status = 200, description = "The signed list", content((Binary = "application/statuslist+cwt"), (String = "application/statuslist+jwt")),
            headers(("ETag" = String, description = "Entity tag"))),
        (status = 304, description = "The client's copy is current")))]
pub(crate) async fn get(
    State(shared): SharedState,
    list: Result<Path<String>, PathRejection>,
    at: Result<Query<AtTime>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(Code::NotFound, "there is no such status list");
    let Path(list) = list.map_err(|_| unknown())?;
    if list.len() != 8 || !list.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let Query(at) = at.map_err(|_| invalid("the only parameter is time, in seconds since 1970"))?;
    let wanted = if prefers(&headers, STATUS_LIST_JWT, STATUS_LIST_CWT) {
        STATUS_LIST_JWT
    } else {
        STATUS_LIST_CWT
    };
    let have = headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let message = proto::GetStatusListRequest {
        list,
        if_none_match: have.unwrap_or_default().to_owned(),
        media_type: wanted.to_owned(),
        time: at.time,
    };
    let mut revocation = shared.clients.revocation.clone();
    let answer = revocation.get_status_list(public(&headers, message)).await?;
    render(answer.into_inner())
}

fn render(answer: proto::GetStatusListResponse) -> Result<Response, Problem> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| incomplete("revocation"));
    let lasting = format!("public, max-age={}", answer.ttl_seconds);
    let mut response = if answer.not_modified {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let media_type = value(&answer.media_type)?;
        ([(CONTENT_TYPE, media_type)], Body::from(answer.content)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, value(&answer.etag)?);
    headers.insert(CACHE_CONTROL, value(&lasting)?);
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}
