//! RFC 9457 problems: the errors of every API.
//!
//! A [`Problem`] is passed on unchanged: a service converts it to a `tonic::Status` (the whole object as JSON in the
//! metadata `citycode-problem-bin`), the portal converts that back and answers with `application/problem+json`, and the
//! client converts its code to an exit code. Texts contain nothing personal.

mod code;
mod convert;

pub use code::Code;
pub use convert::JsonBody;

use serde::{Deserialize, Serialize};

/// Maximum length of `detail` and `fix` in characters: together, as base64, they stay below the 16 kB of headers that
/// common gRPC clients accept.
pub const MAX_TEXT_CHARS: usize = 1_000;

/// An error with a stable code, a sentence about the cause and one about the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type")]
    type_url: String,
    title: String,
    status: u16,
    code: Code,
    detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// Present only for a call that changes something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

/// The outcome of the change that a call requested, if the call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was changed.
    NotDone,
    /// It may have been made; repeating the call with the same command id decides it.
    Unknown,
}

impl Outcome {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotDone => "not_done",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::NotDone, Self::Unknown]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

impl Problem {
    /// A problem with the code's own title, status and advice. `detail` describes the error of this call.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            type_url: format!("urn:citycode:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.http_status(),
            code,
            detail: cut(detail.into()),
            fix: code.advice().map(str::to_owned),
            retry_after_seconds: None,
            outcome: None,
        }
    }

    /// `not_allowed` because the caller is not authenticated: HTTP 401, gRPC `UNAUTHENTICATED`.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        let mut this = Self::new(Code::NotAllowed, detail);
        this.status = 401;
        this.with_fix("Send a valid access token as \"authorization: Bearer TOKEN\".")
    }

    /// `invalid_request` because of a field that `fault` names. A fault must not repeat what was sent.
    #[must_use]
    pub fn invalid_request(fault: &impl std::error::Error) -> Self {
        Self::new(Code::InvalidRequest, fault.to_string())
    }

    /// `unavailable` for a request that may have been executed nevertheless. It is marked as such, so that a client
    /// that retries at another instance does not take that instance's refusal for the outcome.
    #[must_use]
    pub fn outcome_unknown(detail: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, detail).with_outcome(Outcome::Unknown)
    }

    /// A change that may or may not have been made.
    #[must_use]
    pub fn change_unknown() -> Self {
        Self::outcome_unknown("it is not known whether the change was made")
            .with_fix("repeat the request with the same command id: it will not be done twice")
    }

    /// `internal`: the service could not decide. The cause belongs in the log, not in the answer.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            Code::Internal,
            "an internal error occurred; the service's log has the cause",
        )
    }

    /// Replaces the advice.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(cut(fix.into()));
        self
    }

    /// Sets the outcome of the change.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// The problem of a call that changes something: the outcome is `NotDone` unless it is set.
    #[must_use]
    pub fn of_change(mut self) -> Self {
        self.outcome = self.outcome.or(Some(Outcome::NotDone));
        self
    }

    /// The problem of a call that changes nothing: it has no outcome.
    #[must_use]
    pub fn of_query(mut self) -> Self {
        self.outcome = None;
        self
    }

    /// Replaces the HTTP status if HTTP has a more specific one than the code.
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Sets the time after which to retry (also as HTTP `Retry-After`).
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The error of this call.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The remedy.
    #[must_use]
    pub fn fix(&self) -> Option<&str> {
        self.fix.as_deref()
    }

    /// The kind of problem in a few words.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// HTTP status, 400 to 599.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Seconds to wait before a retry.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_seconds
    }

    /// Whether the requested change may have been made nevertheless.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        self.outcome == Some(Outcome::Unknown)
    }

    /// The outcome of the change; `None` if the call changes nothing, or if it was not set.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// The process's exit code for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.code.exit_code()
    }
}

/// The line for standard error: cause, remedy and code.
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.title, self.detail.trim_end_matches('.'))?;
        if let Some(fix) = &self.fix {
            write!(f, ". {}", fix.trim_end_matches('.'))?;
        }
        write!(f, " [{}]", self.code.as_str())
    }
}

impl std::error::Error for Problem {}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
