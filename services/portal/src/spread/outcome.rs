//! What an attempt at one instance tells of a call, and what is answered where none of them tells.

use std::error::Error as _;

use citycode_service_kit::problem::{self, Code, Problem};
use citycode_service_kit::serve::LOOK_UPS;
use http::HeaderMap;
use http::response::Parts;
use tonic::Status;
use tonic::body::Body;

use crate::clients::TransportError;

/// The act that is known by a scan id instead of a command id.
pub(super) const VERIFY: &str = "/citycode.verifier.v1.VerifierService/Verify";

/// Whether a method changes nothing: whatever another instance answers is an answer. Every other is an act.
pub(super) fn is_look_up(method: &str) -> bool {
    LOOK_UPS.contains(&method)
}

/// What an attempt tells of the act that it was to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It is done.
    Done,
    /// It was refused.
    Refused,
    /// This instance could not do it, and did not.
    NotDone,
    /// It may have been done.
    Unknown,
}

impl Outcome {
    /// The status stands among the headers where it came before any message, else behind them.
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

    /// Only where no connection came up it is sure that nothing was sent.
    pub(super) fn of_error(error: &TransportError) -> Self {
        let mut causes = std::iter::successors(error.source(), |error| (*error).source());
        if causes.any(|cause| cause.is::<tonic::ConnectError>()) {
            Self::NotDone
        } else {
            Self::Unknown
        }
    }
}

/// The answer when an instance may have done it and none has said that it did.
pub(super) fn nobody_knows(method: &str) -> http::Response<Body> {
    let problem = if method == VERIFY {
        Problem::outcome_unknown("nobody knows yet whether the scan was registered")
            .with_fix("send the same scan again under the same scan id: it will not be registered twice")
    } else {
        Problem::change_unknown()
    };
    Status::from(problem).into_http()
}

/// The answer when no instance was reached, so that none can have done anything.
pub(super) fn unreached() -> http::Response<Body> {
    let problem = Problem::new(Code::Unavailable, "no instance of the service behind can be reached");
    Status::from(problem.with_outcome(problem::Outcome::NotDone)).into_http()
}
