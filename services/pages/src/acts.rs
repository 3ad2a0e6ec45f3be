//! What an act did, in words: which codes stopped working, and which still work.

use citycode_service_kit::problem::{Outcome, Problem};
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState};

use crate::frame::Frame;

/// The result of an act, as a page shows it.
pub(crate) struct ActResult {
    /// `done`, or the problem's code.
    pub(crate) result: String,
    /// `not_done` or `unknown`; empty after success.
    pub(crate) outcome: &'static str,
    /// The first sentence.
    pub(crate) headline: String,
    /// The codes that stopped working.
    pub(crate) died: Vec<Died>,
    /// The kinds whose codes still work.
    pub(crate) alive: Vec<Alive>,
}

/// A code that stopped working.
pub(crate) struct Died {
    pub(crate) code_id: String,
    pub(crate) sentence: String,
}

/// A code that still works.
pub(crate) struct Alive {
    pub(crate) kind: String,
    pub(crate) sentence: String,
}

impl ActResult {
    /// An act that was done. `died` is the code that ended by it; `codes` are the holder's codes afterwards.
    pub(crate) fn done(f: &Frame<'_>, headline: String, kind: &str, died: Option<&str>, codes: &[CodeState]) -> Self {
        let died = died.map(|code_id| Died {
            code_id: code_id.to_owned(),
            sentence: f.t1("act-died", "kind", &f.kind(kind)),
        });
        // The code that the act made is the headline's.
        let alive = codes
            .iter()
            .filter(|code| code.state() == CodeLife::Valid && code.kind != kind);
        let alive = alive.map(|code| Alive {
            kind: code.kind.clone(),
            sentence: f.t2(
                "act-alive",
                ("kind", &f.kind(&code.kind)),
                ("time", &f.minute(&code.expires_at)),
            ),
        });
        Self {
            result: "done".to_owned(),
            outcome: "",
            headline,
            died: died.into_iter().collect(),
            alive: alive.collect(),
        }
    }

    /// An act that was refused, or whose outcome is not known.
    pub(crate) fn failed(f: &Frame<'_>, problem: &Problem) -> Self {
        let unknown = problem.outcome() == Some(Outcome::Unknown);
        Self {
            result: problem.code().as_str().to_owned(),
            outcome: if unknown { "unknown" } else { "not_done" },
            headline: if unknown {
                f.t("act-unknown")
            } else {
                f.problem(problem)
            },
            died: Vec::new(),
            alive: Vec::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.result == "done"
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.outcome == "unknown"
    }
}
