//! A verdict and what it rests on → the answer to a scan, and its words back.

use citycode_domain::admission::{Decision, Reason, Verdict, explain};
use citycode_domain::ids::{CodeId, CommitPosition};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;

use crate::answer::standing_value;
use crate::proto::model::v1 as model;
use crate::proto::verifier::v1;

/// What could be read of the code that was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadCode<'a> {
    /// Name of its kind in the policy.
    pub kind: &'a str,
    /// The code.
    pub code_id: CodeId,
    /// Dead from.
    pub expires_at: Timestamp,
}

/// Everything that stands in the answer to a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerdictAnswer<'a> {
    /// Decision and reason.
    pub verdict: Verdict,
    /// The code, where it could be read.
    pub code: Option<ReadCode<'a>>,
    /// The place asked for.
    pub place: &'a str,
    /// The holder's standing, only where the place rests on it (R30).
    pub standing: Option<Standing>,
    /// Up to where in the log the verdict knows; none for who must not learn it.
    pub position: Option<CommitPosition>,
    /// How old that knowledge is in milliseconds.
    pub age_ms: u64,
    /// Whether the reason is put into words.
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
            explain: in_words,
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
                partition: position.map(|position| u32::from(position.partition)),
                sequence: position.map(|position| position.sequence),
                age_ms,
            }),
            explanation: in_words.then(|| explanation(reason)),
            problem: None,
        }
    }
}

/// The answer in a stream to a scan that could not be judged at all: a stable code and a sentence.
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

/// A decision as it is sent.
#[must_use]
pub const fn decision_value(decision: Decision) -> v1::Decision {
    match decision {
        Decision::Admit => v1::Decision::Admit,
        Decision::AdmitAfterIdCheck => v1::Decision::AdmitAfterIdCheck,
        Decision::Refuse => v1::Decision::Refuse,
        Decision::CannotCheck => v1::Decision::CannotCheck,
    }
}

/// A decision as it was received; `None` where it says none or one that we do not know.
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
        /// A reason as it is sent.
        #[must_use]
        pub const fn reason_value(reason: Reason) -> v1::Reason {
            match reason {
                $(Reason::$name => v1::Reason::$name,)+
            }
        }

        /// A reason as it was received; `None` where it says none or one that we do not know.
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
