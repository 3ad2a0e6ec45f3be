//! JSON answers, and the shapes that several endpoints share.

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

/// The body as JSON, written once.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Problem::internal()
    })?;
    Ok(json_bytes(bytes))
}

/// JSON that stands as text already.
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

/// What a service must have answered and did not.
pub(crate) fn incomplete(service: &'static str) -> Problem {
    tracing::error!(service, "an answer lacks a field that it must have");
    Problem::internal()
}

/// Bytes as they are, for the description of the API.
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

/// Nothing to say beyond that it is done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {}

/// An instant in seconds since 1970, written as RFC 3339 in UTC.
#[derive(Clone, Copy)]
pub(crate) struct Instant(pub i64);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => serializer.collect_str(&time),
            Err(_) => Err(serde::ser::Error::custom("the instant is out of range")),
        }
    }
}

/// How a person was authenticated by the channel at which they ask.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authentication {
    /// The channel's word for it, e.g. "face".
    #[schema(example = "id_card_reader")]
    #[serde(default)]
    method: String,
    /// An identity provider's short-lived, single-use assertion, where the policy needs one.
    #[serde(default)]
    assertion: String,
}

impl From<Authentication> for model::Authentication {
    fn from(Authentication { method, assertion }: Authentication) -> Self {
        Self { method, assertion }
    }
}

/// What the channel attests; none where it says nothing.
pub(crate) fn attestation(disability: bool, group: Option<String>) -> Option<Attestation> {
    let group = group.unwrap_or_default();
    (disability || !group.is_empty()).then_some(Attestation { disability, group })
}

/// A code as its holder gets it.
#[derive(Serialize, ToSchema)]
pub(crate) struct CodeAnswer<'a> {
    /// Code id, 16 hex digits.
    #[schema(example = "9f86d081884c7d65")]
    code_id: &'a str,
    /// Name of its kind in the policy.
    #[schema(example = "offline")]
    kind: &'a str,
    /// The text inside the QR.
    token: &'a str,
    /// Valid from.
    #[schema(value_type = String, format = DateTime, example = "2026-11-24T00:00:00Z")]
    issued_at: Instant,
    /// Dead from.
    #[schema(value_type = String, format = DateTime, example = "2027-05-23T00:00:00Z")]
    expires_at: Instant,
    /// The code that died by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    supersedes: Option<&'a str>,
    /// Where its status stands.
    status: StatusPlace<'a>,
    /// Name with its middle hidden, where a print was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "张*三")]
    masked_name: Option<&'a str>,
}

/// A place in a status list.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusPlace<'a> {
    /// The list's URI. It ends with 8 hex digits, by which `/api/v1/status-lists/{list}` serves it.
    #[schema(format = "uri", example = "https://s.example/0000002a")]
    list: &'a str,
    /// Place in it, from 0.
    index: u32,
}

impl<'a> CodeAnswer<'a> {
    /// `None` where the service left its status out.
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
