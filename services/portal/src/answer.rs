//! JSON answers, and types that several endpoints share.

use axum::response::{IntoResponse as _, Response};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{Attestation, IssuedCode};
use citycode_wire::proto::model::v1 as model;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Serialises the body as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be serialised as JSON");
        Problem::internal()
    })?;
    Ok(json_bytes(bytes))
}

/// An answer with text that is already JSON.
pub(crate) fn json_bytes(bytes: impl Into<axum::body::Body>) -> Response {
    let mut response = bytes.into().into_response();
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// `invalid_request` with this detail, which must not repeat what was sent.
pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

/// The problem if a service's answer lacks a required field.
pub(crate) fn incomplete(service: &'static str) -> Problem {
    tracing::error!(service, "an answer lacks a required field");
    Problem::internal()
}

/// Raw bytes, for the description of the API.
pub(crate) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .into()
    }
}

impl ToSchema for Binary {}

/// An empty answer: the change was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {}

/// A time in seconds since 1970, serialised as RFC 3339 in UTC.
#[derive(Clone, Copy)]
pub(crate) struct Instant(pub i64);

/// Seconds since 1970 of a field with an RFC 3339 time; fractions of a second are dropped.
///
/// # Errors
/// `invalid_request`.
pub(crate) fn instant(field: &str, text: &str) -> Result<i64, Problem> {
    text.parse::<jiff::Timestamp>()
        .map(|time| time.as_millisecond().div_euclid(1000))
        .map_err(|_| {
            invalid(format!(
                "{field} is not a time as in RFC 3339, e.g. 2026-11-24T08:00:00Z"
            ))
        })
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => serializer.collect_str(&time),
            Err(_) => Err(serde::ser::Error::custom("the time is out of range")),
        }
    }
}

/// How the channel authenticated the person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authentication {
    /// The channel's name of the method, e.g. "face".
    #[schema(example = "id_card_reader")]
    #[serde(default)]
    method: String,
    /// An identity provider's short-lived, single-use assertion; needed if the policy requires one.
    #[serde(default)]
    assertion: String,
}

impl From<Authentication> for model::Authentication {
    fn from(Authentication { method, assertion }: Authentication) -> Self {
        Self { method, assertion }
    }
}

/// The channel's attestation; `None` if it attests nothing.
pub(crate) fn attestation(disability: bool, group: Option<String>) -> Option<Attestation> {
    let group = group.unwrap_or_default();
    (disability || !group.is_empty()).then_some(Attestation { disability, group })
}

/// An issued code.
#[derive(Serialize, ToSchema)]
pub(crate) struct CodeAnswer<'a> {
    /// Code id, 16 hex digits.
    #[schema(example = "9f86d081884c7d65")]
    code_id: &'a str,
    /// Name of its kind in the policy.
    #[schema(example = "offline")]
    kind: &'a str,
    /// The text of the QR code.
    token: &'a str,
    /// Valid from.
    #[schema(value_type = String, format = DateTime, example = "2026-11-24T00:00:00Z")]
    issued_at: Instant,
    /// Expires at.
    #[schema(value_type = String, format = DateTime, example = "2027-05-23T00:00:00Z")]
    expires_at: Instant,
    /// The earlier code that it superseded.
    #[serde(skip_serializing_if = "Option::is_none")]
    supersedes: Option<&'a str>,
    /// Its entry in a status list.
    status: StatusPlace<'a>,
    /// Name with its middle hidden, if a print was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "张*三")]
    masked_name: Option<&'a str>,
}

/// An entry of a status list.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusPlace<'a> {
    /// The list's URI. It ends with the 8 hex digits under which `/api/v1/status-lists/{list}` serves it.
    #[schema(format = "uri", example = "https://s.example/0000002a")]
    list: &'a str,
    /// Index in the list, from 0.
    index: u32,
}

impl<'a> CodeAnswer<'a> {
    /// `None` if the service's answer lacks the status.
    pub(crate) fn of(code: &'a IssuedCode) -> Option<Self> {
        let status = code.status.as_ref()?;
        Some(Self {
            code_id: &code.code_id,
            kind: &code.kind,
            token: &code.token,
            issued_at: Instant(code.issued_at),
            expires_at: Instant(code.expires_at),
            supersedes: code.supersedes.as_deref(),
            status: StatusPlace {
                list: &status.list,
                index: status.index,
            },
            masked_name: code.masked_name.as_deref(),
        })
    }
}
