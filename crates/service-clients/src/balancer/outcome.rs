//! The outcome of an attempt at one instance, and the answer if no attempt has a definite outcome.

use std::error::Error as _;

use citycode_service_kit::problem::{self, Code, Problem};
use citycode_service_kit::serve::READ_ONLY_METHODS;
use http::HeaderMap;
use http::response::Parts;
use tonic::Status;
use tonic::body::Body;

use crate::transport::TransportError;

/// The method whose calls are identified by a scan id instead of a command id.
pub(super) const VERIFY: &str = "/citycode.verifier.v1.VerifierService/Verify";

/// Whether a method changes nothing, so that the answer of any instance is valid. All other methods change something.
pub(super) fn is_read_only(method: &str) -> bool {
    READ_ONLY_METHODS.contains(&method)
}

/// The outcome of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The change was made.
    Done,
    /// The change was refused.
    Refused,
    /// This instance could not make the change, and did not.
    NotDone,
    /// The change may have been made.
    Unknown,
}

impl Outcome {
    /// The status is in the headers if it was sent before any message, else in the trailers.
    pub(super) fn of_answer(answer: &Parts, trailers: Option<&HeaderMap>) -> Self {
        let said = [Some(&answer.headers), trailers];
        match said.into_iter().flatten().find_map(Status::from_header_map) {
            Some(status) if status.code() == tonic::Code::Ok => Self::Done,
            Some(status) if status.code() == tonic::Code::Unavailable => {
                if Problem::from(&status).is_outcome_unknown() {
                    Self::Unknown
                } else {
                    Self::NotDone
                }
            }
            None if answer.status.is_success() => Self::Done,
            _ => Self::Refused,
        }
    }

    /// It is certain that nothing was sent only if the connection could not be established.
    pub(super) fn of_error(error: &TransportError) -> Self {
        let mut causes = std::iter::successors(error.source(), |error| (*error).source());
        if causes.any(|cause| cause.is::<tonic::ConnectError>()) {
            Self::NotDone
        } else {
            Self::Unknown
        }
    }
}

/// The answer if an instance may have made the change and none has confirmed it.
pub(super) fn unknown_outcome(method: &str) -> http::Response<Body> {
    let problem = if method == VERIFY {
        Problem::outcome_unknown("it is not known whether the scan was registered")
            .with_fix("send the same scan again with the same scan id: it will not be registered twice")
    } else {
        Problem::change_unknown()
    };
    Status::from(problem).into_http()
}

/// The answer if no instance was reached, so that nothing can have been done.
pub(super) fn no_instance_reached() -> http::Response<Body> {
    let problem = Problem::new(Code::Unavailable, "no instance of the service can be reached");
    Status::from(problem.with_outcome(problem::Outcome::NotDone)).into_http()
}
