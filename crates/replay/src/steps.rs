//! The questions of R23 in their order, and which of them decided a verdict.

use citycode_domain::admission::{Reason, explain};
use citycode_domain::status::Status;

use crate::recompute::Recomputed;

/// What a question contributed to a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was asked and decided nothing.
    Passed,
    /// It decided the verdict.
    Spoke,
    /// An earlier question decided.
    NotAsked,
}

impl Outcome {
    /// The word for it in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Spoke => "spoke",
            Self::NotAsked => "not_asked",
        }
    }
}

/// One question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The rule that it comes from.
    pub rule: &'static str,
    /// A stable name.
    pub check: &'static str,
    /// What it contributed.
    pub outcome: Outcome,
    /// 中文.
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

/// A question, its rule, and how it reads if it passed.
struct Question {
    rule: &'static str,
    check: &'static str,
    zh: &'static str,
    en: &'static str,
}

macro_rules! questions {
    ($($check:literal, $rule:literal, $zh:literal, $en:literal;)+) => {
        [$(Question { check: $check, rule: $rule, zh: $zh, en: $en }),+]
    };
}

/// The questions about a code, in the order in which `judge` asks them.
const OF_CODES: [Question; 12] = questions! {
    "signature", "R23", "核验时码和手机签名有效。", "The signatures of the code and of the phone were valid, as recorded.";
    "clock", "R24", "设备时间可信。", "The clock of the device was trusted.";
    "not_yet_valid", "R5", "此码已生效。", "The code was valid already.";
    "expired", "R5", "此码在有效期内。", "The code had not expired.";
    "kind", "R18", "此处接受这种码。", "This kind of code is accepted at the place.";
    "ended", "R4", "此码未被取代、挂失或注销。", "The code was not superseded, reported lost or revoked.";
    "knowledge", "R24", "设备数据足够新。", "The verifier's knowledge was recent enough.";
    "issued", "R25", "系统中有此码的签发记录。", "The log had the issue of exactly this code.";
    "suspended", "R22", "此码未被暂停。", "The code was not on hold.";
    "standing", "R21", "健康状态不限制通行。", "The holder's standing did not refuse.";
    "proof", "R16", "无需手机动态证明，或证明有效。", "No proof by a phone was needed, or it was recent.";
    "id_check", "R19", "无需核对身份证，或核对一致。", "No ID card was needed, or it belonged to the holder.";
};

/// The questions about an ID card.
const OF_CARDS: [Question; 3] = questions! {
    "kind", "R18", "此处接受身份证。", "ID cards are accepted at the place.";
    "knowledge", "R24", "设备数据足够新。", "The verifier's knowledge was recent enough.";
    "standing", "R21", "健康状态不限制通行。", "The holder's standing did not refuse.";
};

/// The questions that led to a recomputed verdict, in their order.
#[must_use]
pub fn steps_of(recomputed: &Recomputed) -> Vec<Step> {
    let reason = recomputed.verdict.reason;
    let (questions, decided) = match recomputed.status {
        Some(status) => (&OF_CODES[..], decided_by(reason, status, recomputed.stale_by_age)),
        None => (&OF_CARDS[..], decided_on_card(reason)),
    };
    let decided = decided.and_then(|check| questions.iter().position(|question| question.check == check));
    let words = explain(reason);
    let step = |(number, question): (usize, &Question)| {
        let outcome = match decided {
            Some(decided) if number == decided => Outcome::Spoke,
            Some(decided) if number > decided => Outcome::NotAsked,
            _ => Outcome::Passed,
        };
        let (zh, en) = match outcome {
            Outcome::Passed => (question.zh, question.en),
            Outcome::Spoke => (words.zh, words.en),
            Outcome::NotAsked => ("前面的检查已作出结论。", "An earlier check had decided."),
        };
        Step {
            rule: question.rule,
            check: question.check,
            outcome,
            zh,
            en,
        }
    };
    questions.iter().enumerate().map(step).collect()
}

/// The question that decides with a reason; `None` if none does.
fn decided_by(reason: Reason, status: Status, stale_by_age: bool) -> Option<&'static str> {
    Some(match reason {
        Reason::Ok => return None,
        Reason::Unreadable | Reason::BadSignature => "signature",
        Reason::ClockUntrusted => "clock",
        Reason::NotYetValid => "not_yet_valid",
        Reason::Expired => "expired",
        Reason::KindNotAcceptedHere => "kind",
        Reason::Superseded | Reason::ReportedLost | Reason::Revoked => "ended",
        // A code that may not have arrived is asked about after the age of the knowledge.
        Reason::TooStale if status == Status::NeverIssued && !stale_by_age => "issued",
        Reason::TooStale => "knowledge",
        Reason::UnknownCode => "issued",
        Reason::Suspended => "suspended",
        Reason::StandingYellow | Reason::StandingRed => "standing",
        Reason::StaleProof | Reason::MissingProof | Reason::DoubleUse => "proof",
        Reason::IdCheckRequired | Reason::IdMismatch => "id_check",
    })
}

fn decided_on_card(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Ok => None,
        Reason::KindNotAcceptedHere => Some("kind"),
        Reason::TooStale => Some("knowledge"),
        _ => Some("standing"),
    }
}
