//! An explained verdict in words.

use citycode_wire::proto::audit::v1::{ExplainResponse, Verdict};
use citycode_wire::verdict::{decision, reason};

use crate::frame::Frame;
use crate::lang::Language;
use crate::ops::numbers;

/// A decision and its reason in words.
pub(super) struct Decided {
    /// The word of the API, e.g. `refuse`.
    pub(super) decision: &'static str,
    pub(super) reason: &'static str,
    pub(super) text: String,
}

/// A question that led to the verdict.
pub(super) struct Step {
    pub(super) rule: String,
    pub(super) outcome: String,
    pub(super) icon: &'static str,
    pub(super) text: String,
    pub(super) outcome_text: String,
}

/// The explanation.
pub(super) struct Explained {
    pub(super) recorded: Option<Decided>,
    pub(super) at: String,
    pub(super) place: String,
    pub(super) age: String,
    pub(super) recomputed: Option<Decided>,
    /// `agrees`, `differs`, or empty if there are not two verdicts.
    pub(super) agreement: &'static str,
    pub(super) agreement_text: String,
    pub(super) policy: String,
    pub(super) rests_on: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// The verdict in words; `None` for one that is never sent.
pub(super) fn decided(f: &Frame<'_>, verdict: Option<&Verdict>) -> Option<Decided> {
    let verdict = verdict?;
    let (decision, reason) = (decision(verdict.decision)?.name(), reason(verdict.reason)?.name());
    let words = (
        f.t(&format!("ops-decision-{}", decision.replace('_', "-"))),
        f.t(&format!("word-{}", reason.replace('_', "-"))),
    );
    Some(Decided {
        decision,
        reason,
        text: f.t2("ops-decided", ("decision", &words.0), ("reason", &words.1)),
    })
}

impl Explained {
    pub(super) fn of(f: &Frame<'_>, answer: &ExplainResponse) -> Self {
        let recorded = answer.recorded.as_ref();
        let (agreement, agreement_text) = match answer.agrees {
            Some(true) => ("agrees", f.t("ops-agrees")),
            Some(false) => ("differs", f.t("ops-differs")),
            None if answer.not_recomputable.is_empty() => ("", String::new()),
            None => (
                "",
                f.t1(
                    "ops-not-recomputable",
                    "reason",
                    &not_recomputable(f, &answer.not_recomputable),
                ),
            ),
        };
        let rests_on = answer.rests_on.iter().map(|event| {
            let position = event.position.as_ref();
            let position = position
                .map(|at| format!("{}/{}", at.partition, at.sequence))
                .unwrap_or_default();
            format!("{} · {} · {position}", f.minute(&event.decided_at), event.event)
        });
        let steps = answer.steps.iter().map(|step| Step {
            rule: step.rule.clone(),
            icon: match step.outcome.as_str() {
                "passed" => "check",
                "spoke" => "cross",
                _ => "dash",
            },
            outcome_text: f.t(match step.outcome.as_str() {
                "passed" => "ops-step-passed",
                "spoke" => "ops-step-spoke",
                _ => "ops-step-not-asked",
            }),
            outcome: step.outcome.clone(),
            text: match f.language() {
                Language::Chinese => step.zh.clone(),
                Language::English => step.en.clone(),
            },
        });
        Self {
            recorded: decided(f, recorded.and_then(|recorded| recorded.verdict.as_ref())),
            at: recorded.map(|recorded| f.minute(&recorded.at)).unwrap_or_default(),
            place: recorded
                .map(|recorded| numbers::place(f, &recorded.place))
                .unwrap_or_default(),
            age: recorded
                .map(|recorded| numbers::grouped(recorded.age_ms))
                .unwrap_or_default(),
            recomputed: decided(f, answer.recomputed.as_ref()),
            agreement,
            agreement_text,
            policy: answer
                .policy
                .as_ref()
                .map(|policy| policy.name.clone())
                .unwrap_or_default(),
            rests_on: rests_on.collect(),
            steps: steps.collect(),
        }
    }
}

/// Why a verdict cannot be recomputed, in words.
pub(super) fn not_recomputable(f: &Frame<'_>, reason: &str) -> String {
    let id = format!("ops-lost-{}", reason.replace('_', "-"));
    f.site
        .words
        .find(f.language(), &id, &[])
        .unwrap_or_else(|| reason.to_owned())
}
