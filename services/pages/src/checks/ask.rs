//! The call of the verifier for one scan.

use std::time::Duration;

use citycode_domain::admission::Reason;
use citycode_service_clients::ServedBy;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::verifier::v1::{Decision, VerifyRequest, VerifyResponse};
use citycode_wire::verdict::{decision, reason};

use crate::caller::PageCaller;
use crate::site::Site;

/// How long a scan may take: the page waits somewhat less than 2 s, and the answer must have arrived by then.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_600);
/// How long a second verifier may take if the state of the first one is too old.
const SECOND_ANSWER_WITHIN: Duration = Duration::from_millis(800);

/// What is known after a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// The verifier's verdict.
    Verdict {
        reason: Reason,
        kind: Option<String>,
        expires_at: Option<i64>,
        age_ms: Option<u64>,
    },
    /// There is none, so nobody may be admitted.
    Failed(Failure),
}

/// Why there is no verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The verifier did not answer, refused the call, or its answer is incomplete.
    NoAnswer,
    /// Too many different ID cards, or too many wrong ones with this code.
    TooMany,
}

/// Asks for a verdict. Every failure is an [`Asked::Failed`].
pub(crate) async fn ask(site: &Site, caller: &PageCaller, mut request: VerifyRequest) -> Asked {
    // The page has its own text for each reason.
    request.omit_explanation = true;
    match tokio::time::timeout(ANSWER_WITHIN, verify(site, caller, request)).await {
        Ok(Ok(answer)) => asked(&answer),
        Ok(Err(problem)) => {
            tracing::warn!(code = problem.code().as_str(), "a scan of a page was not answered");
            Asked::Failed(failure(&problem))
        }
        Err(_) => {
            tracing::warn!("a scan of a page was not answered in time");
            Asked::Failed(Failure::NoAnswer)
        }
    }
}

async fn verify(site: &Site, caller: &PageCaller, request: VerifyRequest) -> Result<VerifyResponse, Problem> {
    let mut verifier = site.clients.verifier.clone();
    let first = verifier.verify(site.request(caller, request.clone())?).await?;
    let Some(served_by) = first.extensions().get::<ServedBy>().cloned() else {
        return Ok(first.into_inner());
    };
    if first.get_ref().decision() != Decision::CannotCheck {
        return Ok(first.into_inner());
    }
    // Another verifier may be fresh. A scan that cannot be checked registers nobody, so it may be repeated.
    let mut again = site.request(caller, request)?;
    again.extensions_mut().insert(served_by);
    match tokio::time::timeout(SECOND_ANSWER_WITHIN, verifier.verify(again)).await {
        Ok(Ok(second)) => Ok(second.into_inner()),
        _ => Ok(first.into_inner()),
    }
}

/// The answer as a verdict; one whose decision does not follow from its reason is none.
fn asked(answer: &VerifyResponse) -> Asked {
    let reason = reason(answer.reason).filter(|reason| decision(answer.decision) == Some(reason.verdict().decision));
    let Some(reason) = reason else {
        tracing::error!("the verifier's answer to a page is incomplete");
        return Asked::Failed(Failure::NoAnswer);
    };
    Asked::Verdict {
        reason,
        kind: answer.kind.clone(),
        expires_at: answer.expires_at,
        age_ms: answer.as_of.as_ref().map(|as_of| as_of.age_ms),
    }
}

fn failure(problem: &Problem) -> Failure {
    if problem.code() == Code::RateLimited {
        Failure::TooMany
    } else {
        Failure::NoAnswer
    }
}

#[cfg(test)]
mod tests {
    use citycode_wire::proto::verifier::v1 as proto;
    use citycode_wire::verdict::{decision_value, reason_value};

    use super::*;

    fn answer(decision: proto::Decision, reason: proto::Reason) -> VerifyResponse {
        VerifyResponse {
            decision: decision.into(),
            reason: reason.into(),
            as_of: Some(proto::AsOf {
                age_ms: 500,
                ..proto::AsOf::default()
            }),
            ..VerifyResponse::default()
        }
    }

    #[test]
    fn every_reason_of_the_verifier_is_a_verdict() {
        for reason in Reason::ALL {
            let sent = answer(decision_value(reason.verdict().decision), reason_value(reason));
            let expected = Asked::Verdict {
                reason,
                kind: None,
                expires_at: None,
                age_ms: Some(500),
            };
            assert_eq!(asked(&sent), expected);
        }
    }

    #[test]
    fn an_incomplete_or_contradictory_answer_is_no_verdict() {
        let failed = Asked::Failed(Failure::NoAnswer);
        assert_eq!(asked(&VerifyResponse::default()), failed);
        assert_eq!(
            asked(&answer(proto::Decision::Admit, proto::Reason::Unspecified)),
            failed
        );
        assert_eq!(asked(&answer(proto::Decision::Unspecified, proto::Reason::Ok)), failed);
        assert_eq!(asked(&answer(proto::Decision::Admit, proto::Reason::Expired)), failed);
        assert_eq!(asked(&answer(proto::Decision::Refuse, proto::Reason::Ok)), failed);
    }

    #[test]
    fn every_problem_is_a_failure() {
        for code in [
            Code::Unavailable,
            Code::NotAllowed,
            Code::UnknownPlace,
            Code::InvalidIdNumber,
            Code::IdempotencyKeyReused,
            Code::Internal,
        ] {
            assert_eq!(failure(&Problem::new(code, "")), Failure::NoAnswer, "{code:?}");
        }
        assert_eq!(failure(&Problem::new(Code::RateLimited, "")), Failure::TooMany);
    }
}
