//! Conversions between problems and gRPC statuses, from problems to HTTP answers, and a JSON body whose rejections are
//! problems.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Json, Request};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::{Code, Outcome, Problem};

/// Metadata key under which a status carries the whole problem as JSON.
const METADATA_KEY: &str = "citycode-problem-bin";
/// Metadata key that marks a problem with an unknown outcome.
const OUTCOME_KEY: &str = "citycode-outcome";
/// The only value of [`OUTCOME_KEY`]. Services of an earlier release send it with a problem without an outcome.
const OUTCOME_UNKNOWN: &str = "unknown";

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let code = if problem.status == 401 {
            tonic::Code::Unauthenticated
        } else {
            problem.code.grpc_code()
        };
        let mut metadata = MetadataMap::new();
        problem.put_into(&mut metadata);
        Status::with_metadata(code, problem.to_string(), metadata)
    }
}

impl Problem {
    /// Puts the whole problem into a status' metadata, where it replaces an existing one.
    pub(crate) fn put_into(&self, metadata: &mut MetadataMap) {
        if let Ok(json) = serde_json::to_vec(self) {
            metadata.insert_bin(METADATA_KEY, MetadataValue::from_bytes(&json));
        }
        if self.is_outcome_unknown() {
            metadata.insert(OUTCOME_KEY, MetadataValue::from_static(OUTCOME_UNKNOWN));
        }
    }

    /// The problem in the metadata of a status; `None` for a status of the transport or of another implementation.
    pub(crate) fn from_metadata_of(status: &Status) -> Option<Self> {
        let problem = status
            .metadata()
            .get_bin(METADATA_KEY)
            .and_then(|value| value.to_bytes().ok())
            .and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok())
            .filter(|problem| (400..600).contains(&problem.status))?;
        Some(if status.metadata().contains_key(OUTCOME_KEY) {
            problem.with_outcome(Outcome::Unknown)
        } else {
            problem
        })
    }
}

impl From<&Status> for Problem {
    fn from(status: &Status) -> Self {
        Self::from_metadata_of(status).unwrap_or_else(|| from_bare_status(status))
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

/// The problem for a status of the transport or of another implementation. Its message may contain addresses or
/// worse, so it is not passed on.
fn from_bare_status(status: &Status) -> Problem {
    use tonic::Code as Grpc;
    match status.code() {
        Grpc::Unavailable | Grpc::DeadlineExceeded | Grpc::Cancelled | Grpc::Aborted => {
            Problem::outcome_unknown("the upstream service did not answer")
        }
        Grpc::Unauthenticated => Problem::unauthenticated("the caller is not authenticated"),
        Grpc::PermissionDenied => Problem::new(Code::NotAllowed, "the upstream service refused"),
        Grpc::ResourceExhausted => Problem::new(
            Code::Unavailable,
            "the upstream service is overloaded, or a message is too large",
        ),
        Grpc::InvalidArgument | Grpc::FailedPrecondition => Problem::new(
            Code::InvalidRequest,
            "the upstream service did not understand the request",
        ),
        Grpc::OutOfRange => Problem::new(Code::TooLarge, "the request is larger than allowed"),
        Grpc::NotFound | Grpc::Unimplemented => Problem::new(Code::NotFound, "the requested item does not exist"),
        _ => Problem::internal(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For layers that add to it, for example the outcome of a change.
        response.extensions_mut().insert(self);
        response
    }
}

/// `axum::Json` for requests, with problems (`invalid_request`, `too_large`) as rejections. The detail never repeats
/// the value that was sent, because it may be personal.
#[derive(Debug)]
pub struct JsonBody<T>(
    /// The decoded body.
    pub T,
);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(rejected(&rejection)),
        }
    }
}

fn rejected(rejection: &JsonRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(Code::TooLarge, "the request body is larger than allowed");
    }
    let detail = match rejection {
        JsonRejection::MissingJsonContentType(_) => "the content type is not application/json",
        JsonRejection::JsonSyntaxError(_) => "the body is not JSON",
        JsonRejection::JsonDataError(_) => "a field of the body is missing, unknown or of a wrong type",
        _ => "the body cannot be read",
    };
    Problem::new(Code::InvalidRequest, detail).with_fix("See /openapi.json for the shape of the request.")
}
