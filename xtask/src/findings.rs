//! The findings of a check: errors make it fail, warnings are only shown.

use anyhow::{Result, bail};

/// The findings of one check, in order.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Each makes the check fail.
    pub(crate) errors: Vec<String>,
    /// Each is only shown.
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// Adds an error; `place` is a path, with `:line` if it is known.
    pub(crate) fn error(&mut self, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.errors.push(format!("{place}: {what}"));
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.warnings.push(format!("{place}: {what}"));
    }

    /// Prints all findings, and fails if there is an error.
    pub(crate) fn conclude(self, check: &str) -> Result<()> {
        for warning in &self.warnings {
            println!("warning: {warning}");
        }
        for error in &self.errors {
            println!("error: {error}");
        }
        if !self.errors.is_empty() {
            bail!("{check}: {} errors", self.errors.len());
        }
        println!("{check}: no errors");
        Ok(())
    }
}
