//! Adds the outcome of a change to answers that no handler made: the request could not be decoded or was too large, the
//! method does not exist, the caller is not authenticated, the server is overloaded, or the caller's timeout expired.
//!
//! Handlers set the outcome themselves (`deadline::change`).

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::problem::{Code, Outcome, Problem};

/// gRPC methods that change nothing. Every other method of our services may.
pub const READ_ONLY_METHODS: [&str; 19] = [
    "/citycode.audit.v1.AuditService/CheckLog",
    "/citycode.audit.v1.AuditService/Codes",
    "/citycode.audit.v1.AuditService/Explain",
    "/citycode.audit.v1.AuditService/Export",
    "/citycode.audit.v1.AuditService/GetLogFile",
    "/citycode.audit.v1.AuditService/History",
    "/citycode.audit.v1.AuditService/ListQueries",
    "/citycode.audit.v1.AuditService/ProveEvent",
    "/citycode.audit.v1.AuditService/Run",
    "/citycode.audit.v1.AuditService/State",
    "/citycode.audit.v1.AuditService/VerifyAt",
    "/citycode.audit.v1.AuditService/WhatIf",
    "/citycode.issuer.v1.IssuerService/ListCodes",
    "/citycode.issuer.v1.IssuerService/ListKeys",
    "/citycode.issuer.v1.IssuerService/ListQueriesAbout",
    "/citycode.revocation.v1.RevocationService/GetStatusList",
    "/citycode.revocation.v1.RevocationService/ListStatusKeys",
    "/citycode.revocation.v1.RevocationService/ListStatusLists",
    "/citycode.verifier.v1.VerifierService/GetKnowledge",
];
/// POST paths of the JSON API that change nothing. Every other one may.
pub const READ_ONLY_POSTS: [&str; 11] = [
    "/api/v1/audit/explain",
    "/api/v1/audit/export",
    "/api/v1/audit/log-check",
    "/api/v1/audit/log-proof",
    "/api/v1/audit/queries",
    "/api/v1/audit/queries/about",
    "/api/v1/audit/run",
    "/api/v1/audit/state",
    "/api/v1/audit/what-if",
    "/api/v1/codes",
    "/api/v1/history",
];

/// Whether a call may change something.
pub(super) fn is_change(head: &Parts, grpc: bool) -> bool {
    let path = head.uri.path();
    if grpc {
        path.starts_with("/citycode.") && !READ_ONLY_METHODS.contains(&path)
    } else {
        head.method == http::Method::POST && path.starts_with("/api/") && !READ_ONLY_POSTS.contains(&path)
    }
}

/// Completes the answer to a call that may change something: a failure without an outcome gets one.
pub(super) fn complete(mut response: Response, grpc: bool) -> Response {
    if !grpc {
        let answered = response.extensions().get::<Problem>();
        return match answered.filter(|problem| problem.outcome().is_none()) {
            Some(problem) => with_outcome(problem.clone()).into_response(),
            None => response,
        };
    }
    let failed = Status::from_header_map(response.headers()).filter(|status| status.code() != tonic::Code::Ok);
    let Some(status) = failed else {
        return response;
    };
    let problem = match Problem::from_metadata_of(&status) {
        Some(problem) if problem.outcome().is_some() => return response,
        Some(problem) => with_outcome(problem),
        // The transport's own status. Its text describes the form of the request and contains nothing of it.
        None => {
            let problem = Problem::new(Problem::from(&status).code(), status.message());
            problem.with_outcome(of_bare(status.code()))
        }
    };
    let mut metadata = MetadataMap::from_headers(std::mem::take(response.headers_mut()));
    problem.put_into(&mut metadata);
    *response.headers_mut() = metadata.into_headers();
    response
}

/// A refusal occurs before a change is begun; an internal error may have occurred after it.
fn with_outcome(problem: Problem) -> Problem {
    match problem.code() {
        Code::Internal => problem.with_outcome(Outcome::Unknown),
        _ => problem.of_change(),
    }
}

fn of_bare(code: tonic::Code) -> Outcome {
    use tonic::Code as Grpc;
    match code {
        Grpc::InvalidArgument
        | Grpc::OutOfRange
        | Grpc::ResourceExhausted
        | Grpc::Unimplemented
        | Grpc::Unauthenticated
        | Grpc::PermissionDenied
        | Grpc::NotFound
        | Grpc::FailedPrecondition => Outcome::NotDone,
        _ => Outcome::Unknown,
    }
}

/// The answer after a gRPC caller's timeout has expired (gRPC over HTTP/2, "Requests"). Handlers answer earlier; one
/// that did not may have begun its change.
pub(super) fn expired() -> Response {
    Status::deadline_exceeded("the timeout that the caller set for this call has expired").into_http::<Body>()
}

/// Whether a handler reports success by this answer.
pub(super) fn is_success(response: &Response, grpc: bool) -> bool {
    let failed = || Status::from_header_map(response.headers()).is_some_and(|status| status.code() != tonic::Code::Ok);
    response.status().is_success() && !(grpc && failed())
}

/// Replaces a successful answer that does not fit into memory: a change was made, or had been made before.
pub(super) fn no_memory_for_answer(change: bool) -> Problem {
    let detail = "there is no memory for the answer: other clients have not read theirs";
    let problem = Problem::new(Code::Unavailable, detail).with_retry_after(1);
    if change {
        problem.with_outcome(Outcome::Unknown)
    } else {
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: http::Method, path: &str) -> Parts {
        let request = http::Request::builder().method(method).uri(path);
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn read_only_calls_are_distinguished_from_those_that_may_change_something() {
        let post = http::Method::POST;
        for (path, grpc, change) in [
            ("/citycode.issuer.v1.IssuerService/Issue", true, true),
            ("/citycode.verifier.v1.VerifierService/Verify", true, true),
            ("/citycode.issuer.v1.IssuerService/ListKeys", true, false),
            ("/grpc.health.v1.Health/Check", true, false),
            ("/api/v1/issue", false, true),
            ("/api/v1/codes", false, false),
            ("/metrics", false, false),
        ] {
            assert_eq!(is_change(&head(post.clone(), path), grpc), change, "{path}");
        }
        assert!(!is_change(&head(http::Method::GET, "/api/v1/keys"), false));
    }

    #[test]
    fn a_status_of_the_transport_gets_an_outcome_and_keeps_its_code_and_text() {
        for (status, outcome) in [
            (Status::invalid_argument("not protobuf"), Outcome::NotDone),
            (Status::out_of_range("too large"), Outcome::NotDone),
            (Status::unimplemented(""), Outcome::NotDone),
            (Status::deadline_exceeded("over"), Outcome::Unknown),
            (Status::unavailable("gone"), Outcome::Unknown),
            (Status::internal("broken"), Outcome::Unknown),
            (Status::from(Problem::unauthenticated("who")), Outcome::NotDone),
            (Status::from(Problem::internal()), Outcome::Unknown),
            (Status::from(Problem::change_unknown()), Outcome::Unknown),
        ] {
            let (code, message) = (status.code(), status.message().to_owned());
            let completed = complete(status.into_http::<Body>(), true);
            assert_eq!(completed.headers()["content-type"], "application/grpc");
            let status = Status::from_header_map(completed.headers()).expect("a status");
            assert_eq!((status.code(), status.message()), (code, message.as_str()));
            assert_eq!(Problem::from(&status).outcome(), Some(outcome), "{code:?}");
        }
        let done = complete(Response::new(Body::empty()), true);
        assert!(done.headers().is_empty());
    }

    #[test]
    fn a_problem_of_the_json_api_without_an_outcome_gets_one() {
        let busy = Problem::new(Code::Unavailable, "starting").with_retry_after(1);
        let completed = complete(busy.into_response(), false);
        let problem = completed.extensions().get::<Problem>().expect("a problem");
        assert_eq!(problem.outcome(), Some(Outcome::NotDone));
        assert_eq!(
            (completed.status().as_u16(), &completed.headers()["retry-after"]),
            (503, &"1".parse().expect("1"))
        );
    }
}
