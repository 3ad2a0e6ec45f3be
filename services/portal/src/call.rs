//! The parts of an HTTP call that are passed on to the services: the caller's token, the command id and the trace.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use citycode_auth::{Caller, expired, optional_caller};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::deadline;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::telemetry::current_traceparent;
use data_encoding::BASE64URL_NOPAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use tonic::metadata::{Ascii, MetadataValue};
use uuid::Uuid;

/// The header with the command id (draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";
const TRACEPARENT: &str = "traceparent";

/// A call whose caller is authenticated. Handlers of all paths that are not public take one.
pub(crate) struct Call {
    caller: Arc<Caller>,
    authorization: MetadataValue<Ascii>,
    traceparent: Option<MetadataValue<Ascii>>,
    idempotency_key: Option<Uuid>,
    /// Draws ids for commands and scans whose caller sets none.
    drawn: [u8; 16],
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::unauthenticated("there is no access token");
        let caller = optional_caller(parts).ok_or_else(missing)?;
        let entropy = parts
            .extensions
            .get::<Arc<dyn Entropy>>()
            .ok_or_else(Problem::internal)?;
        let header = parts.headers.get(AUTHORIZATION).ok_or_else(missing)?;
        let authorization = MetadataValue::try_from(header.as_bytes()).map_err(|_| missing())?;
        Ok(Self {
            caller,
            authorization,
            traceparent: traceparent(&parts.headers),
            idempotency_key: idempotency_key(&parts.headers)?,
            drawn: entropy.array(),
        })
    }
}

impl Call {
    /// Completes when the caller's token is no longer valid.
    pub(crate) fn expired(&self, clock: &Arc<dyn Clock>) -> impl Future<Output = ()> + Send + use<> {
        expired(Arc::clone(&self.caller), Arc::clone(clock))
    }

    /// The caller.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The message as a gRPC request with the caller's token.
    pub(crate) fn with<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let metadata = request.metadata_mut();
        if let Some(left) = deadline::grpc_timeout().and_then(|left| left.parse().ok()) {
            metadata.insert(deadline::GRPC_TIMEOUT, left);
        }
        // From here on another process may execute it.
        deadline::mark_begun();
        metadata.insert("authorization", self.authorization.clone());
        if let Some(traceparent) = &self.traceparent {
            metadata.insert(TRACEPARENT, traceparent.clone());
        }
        request
    }

    /// The command id from header or body, 16 bytes; drawn if neither has one, so that the call may be retried.
    ///
    /// # Errors
    /// `invalid_request` if it is not a UUID, or if header and body have different ones.
    pub(crate) fn command_id(&self, body: Option<&str>) -> Result<Vec<u8>, Problem> {
        let in_body = body.map(uuid).transpose()?;
        match (self.idempotency_key, in_body) {
            (Some(header), Some(body)) if header != body => Err(Problem::new(
                Code::InvalidRequest,
                "Idempotency-Key and command_id name different commands",
            )),
            (Some(id), _) | (None, Some(id)) => Ok(id.as_bytes().to_vec()),
            (None, None) => Ok(self.drawn.to_vec()),
        }
    }

    /// Draws an id for a scan whose caller sets none, so that the call may be retried.
    pub(crate) fn drawn_scan_id(&self) -> String {
        BASE64URL_NOPAD.encode(&self.drawn)
    }
}

/// A gRPC request for a public route: without a caller, but with the trace.
pub(crate) fn public<T>(headers: &HeaderMap, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(traceparent) = traceparent(headers) {
        request.metadata_mut().insert(TRACEPARENT, traceparent);
    }
    request
}

/// The `traceparent` of the current span with telemetry, else the caller's, so that the trace is not interrupted.
fn traceparent(headers: &HeaderMap) -> Option<MetadataValue<Ascii>> {
    match current_traceparent() {
        Some(own) => MetadataValue::try_from(own).ok(),
        None => MetadataValue::try_from(headers.get(TRACEPARENT)?.as_bytes()).ok(),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::new(
            Code::InvalidRequest,
            "there is more than one Idempotency-Key",
        ));
    }
    // The draft defines it as a structured string in quotes; most callers omit the quotes.
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    uuid(bare).map(Some)
}

fn uuid(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| Problem::new(Code::InvalidRequest, "the command id is not a UUID"))
}
