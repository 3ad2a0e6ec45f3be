//! Converts a verdict and its basis into the response to a scan, and parses decisions and reasons.

use citycode_domain::admission::{Decision, Reason, Verdict, explain};
use citycode_domain::ids::{CodeId, Position};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;

use crate::answer::standing_value;
use crate::proto::model::v1 as model;
use crate::proto::verifier::v1;

/// The readable parts of the code that was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadCode<'a> {
    /// Name of its kind in the policy.
    pub kind: &'a str,
    /// The code.
    pub code_id: CodeId,
    /// Expiry, exclusive.
    pub expires_at: Timestamp,
}

/// The content of the response to a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerdictAnswer<'a> {
    /// Decision and reason.
    pub verdict: Verdict,
    /// The code, if it was readable.
    pub code: Option<ReadCode<'a>>,
    /// The requested place.
    pub place: &'a str,
    /// The holder's standing, only if the place's verdict depends on it (R30).
    pub standing: Option<Standing>,
    /// The position in the log up to which the verdict's knowledge reaches; `None` for callers that must not
    /// learn it.
    pub position: Option<Position>,
    /// Age of that knowledge in milliseconds.
    pub age_ms: u64,
    /// Whether the response includes an explanation of the reason.
    pub explain: bool,
}

impl From<VerdictAnswer<'_>> for v1::VerifyResponse {
    fn from(answer: VerdictAnswer<'_>) -> Self {
        let VerdictAnswer {
            verdict: Verdict { decision, reason },
            code,
            place,
            standing,
            position,
            age_ms,
            explain: with_explanation,
        } = answer;
        Self {
            decision: decision_value(decision).into(),
            reason: reason_value(reason).into(),
            kind: code.map(|code| code.kind.to_owned()),
            code_id: code.map(|code| code.code_id.to_string()),
            place: place.to_owned(),
            expires_at: code.map(|code| code.expires_at.0),
            standing: standing.map_or(model::Standing::Unspecified, standing_value).into(),
            as_of: Some(v1::AsOf {
                partition: position.map(|position| u32::from(position.partition.0)),
                sequence: position.map(|position| position.sequence.0),
                age_ms,
            }),
            explanation: with_explanation.then(|| explanation(reason)),
            problem: None,
        }
    }
}

/// The response in a stream for a scan that could not be judged: a stable code and a sentence.
#[must_use]
pub fn problem_answer(place: &str, problem: model::Problem) -> v1::VerifyResponse {
    v1::VerifyResponse {
        decision: v1::Decision::Unspecified.into(),
        reason: v1::Reason::Unspecified.into(),
        kind: None,
        code_id: None,
        place: place.to_owned(),
        expires_at: None,
        standing: model::Standing::Unspecified.into(),
        as_of: None,
        explanation: None,
        problem: Some(problem),
    }
}

fn explanation(reason: Reason) -> v1::Explanation {
    let words = explain(reason);
    v1::Explanation {
        zh: words.zh.to_owned(),
        en: words.en.to_owned(),
    }
}

/// A decision in the form that is sent.
#[must_use]
pub const fn decision_value(decision: Decision) -> v1::Decision {
    match decision {
        Decision::Admit => v1::Decision::Admit,
        Decision::AdmitAfterIdCheck => v1::Decision::AdmitAfterIdCheck,
        Decision::Refuse => v1::Decision::Refuse,
        Decision::CannotCheck => v1::Decision::CannotCheck,
    }
}

/// A decision as received; `None` if it is unspecified or unknown.
#[must_use]
pub fn decision(value: i32) -> Option<Decision> {
    match v1::Decision::try_from(value).ok()? {
        v1::Decision::Unspecified => None,
        v1::Decision::Admit => Some(Decision::Admit),
        v1::Decision::AdmitAfterIdCheck => Some(Decision::AdmitAfterIdCheck),
        v1::Decision::Refuse => Some(Decision::Refuse),
        v1::Decision::CannotCheck => Some(Decision::CannotCheck),
    }
}

macro_rules! reasons {
    ($($name:ident),+ $(,)?) => {
        /// A reason in the form that is sent.
        #[must_use]
        pub const fn reason_value(reason: Reason) -> v1::Reason {
            match reason {
                $(Reason::$name => v1::Reason::$name,)+
            }
        }

        /// A reason as received; `None` if it is unspecified or unknown.
        #[must_use]
        pub fn reason(value: i32) -> Option<Reason> {
            match v1::Reason::try_from(value).ok()? {
                v1::Reason::Unspecified => None,
                $(v1::Reason::$name => Some(Reason::$name),)+
            }
        }
    };
}

reasons!(
    Ok,
    Unreadable,
    BadSignature,
    NotYetValid,
    Expired,
    KindNotAcceptedHere,
    UnknownCode,
    Superseded,
    ReportedLost,
    Revoked,
    Suspended,
    StandingYellow,
    StandingRed,
    StaleProof,
    MissingProof,
    IdCheckRequired,
    IdMismatch,
    TooStale,
    ClockUntrusted,
    DoubleUse,
);
