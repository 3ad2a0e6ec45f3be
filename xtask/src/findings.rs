//! What a check found: errors fail it, warnings are only shown.

use anyhow::{Result, bail};

/// The outcome of one check, in the order found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Each fails the check.
    pub(crate) errors: Vec<String>,
    /// Each is shown and fails nothing.
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// Notes something that must be mended; `place` is a path, with `:line` where known.
    pub(crate) fn error(&mut self, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.errors.push(format!("{place}: {what}"));
    }

    /// Notes something worth a look.
    pub(crate) fn warn(&mut self, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.warnings.push(format!("{place}: {what}"));
    }

    /// Prints all, and fails if there is an error.
    pub(crate) fn conclude(self, check: &str) -> Result<()> {
        for warning in &self.warnings {
            println!("warning: {warning}");
        }
        for error in &self.errors {
            println!("error: {error}");
        }
        if !self.errors.is_empty() {
            bail!("{check}: {} to mend", self.errors.len());
        }
        println!("{check}: fine");
        Ok(())
    }
}
