//! A verdict as the page shows it.

use askama::Template;
use axum::response::Response;
use citycode_domain::admission::{Decision, Reason};
use http::StatusCode;

use super::ask::{Asked, Failure};
use super::wording::Setting;
use crate::frame::{Frame, page};

/// The content of the element with `role="status"`.
pub(crate) struct Verdict {
    pub(crate) decision: &'static str,
    pub(crate) reason: &'static str,
    /// `None` if no verifier answered.
    pub(crate) age_ms: Option<u64>,
    /// 0 for a step that waits for staff.
    pub(crate) clear_after_ms: u32,
    /// The icon.
    pub(crate) sign: &'static str,
    pub(crate) word: String,
    pub(crate) sentence: String,
    /// The kind of the code and its expiry; empty at a gate.
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) step: Step,
}

/// What staff do next.
pub(crate) enum Step {
    /// Nothing.
    Nothing,
    /// Type or read the number on the ID card.
    Number {
        /// The scan, sealed.
        scan: String,
        /// What was typed, if it is to be corrected.
        typed: String,
        /// What is wrong with it.
        error: Option<String>,
    },
    /// Compare the person with the card.
    Person {
        /// The scan and the number, sealed.
        scan: String,
    },
}

impl Step {
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// The verdict alone, as a script asks for it.
#[derive(Template)]
#[template(path = "checks/verdict.html")]
struct VerdictPart<'a> {
    f: &'a Frame<'a>,
    v: &'a Verdict,
}

impl Verdict {
    /// The verdict on a scan.
    pub(crate) fn of(f: &Frame<'_>, setting: Setting, asked: &Asked) -> Self {
        match asked {
            Asked::Failed(failure) => Self::failed(f, setting, *failure),
            Asked::Verdict {
                reason,
                kind,
                expires_at,
                age_ms,
            } => {
                let mut verdict = Self::with_reason(f, setting, *reason);
                verdict.age_ms = *age_ms;
                if !setting.gate {
                    let kind = kind.as_deref().map(|kind| (f.t("fact-kind"), f.kind(kind)));
                    let expiry = expires_at.map(|at| (f.t("fact-expiry"), f.valid_until(&at)));
                    verdict.facts = kind.into_iter().chain(expiry).collect();
                }
                verdict
            }
        }
    }

    /// Without an answer of the verifier.
    pub(crate) fn failed(f: &Frame<'_>, setting: Setting, failure: Failure) -> Self {
        Self {
            sentence: setting.failure(f, failure),
            ..Self::with_reason(f, setting, Reason::TooStale)
        }
    }

    /// With a step that waits for staff, so it stays on the screen.
    pub(crate) fn with_step(mut self, step: Step) -> Self {
        self.clear_after_ms = 0;
        self.step = step;
        self
    }

    /// The code and the card belong together, but the person was not compared yet: nothing looks valid.
    pub(crate) fn person_to_compare(f: &Frame<'_>, setting: Setting, asked: &Asked, scan: String) -> Self {
        let known = Self::of(f, setting, asked);
        Self {
            age_ms: known.age_ms,
            facts: known.facts,
            word: f.t("compare-person"),
            sentence: f.t("compare-person-text"),
            ..Self::with_reason(f, setting, Reason::IdCheckRequired)
        }
        .with_step(Step::Person { scan })
    }

    fn with_reason(f: &Frame<'_>, setting: Setting, reason: Reason) -> Self {
        let decision = reason.verdict().decision;
        Self {
            decision: decision.name(),
            reason: reason.name(),
            age_ms: None,
            clear_after_ms: setting.clear_after_ms(),
            sign: sign(decision),
            word: setting.word(f, reason),
            sentence: setting.sentence(f, reason),
            facts: Vec::new(),
            step: Step::Nothing,
        }
    }

    /// The verdict without the page around it.
    pub(crate) fn part(&self, f: &Frame<'_>) -> Response {
        page(StatusCode::OK, &VerdictPart { f, v: self })
    }
}

/// The icon of a decision. No two decisions share one.
pub(crate) fn sign(decision: Decision) -> &'static str {
    match decision {
        Decision::Admit => "check",
        Decision::AdmitAfterIdCheck => "id-card",
        Decision::Refuse => "cross",
        Decision::CannotCheck => "question",
    }
}
