//! The reason that an officer or the authority gives for an act (R21, R22).

use alloc::string::String;
use core::fmt;

/// Longest reason in characters.
pub const MAX_CHARS: usize = 200;

/// A reason in words. It may name a person, so it stands in the log sealed and never in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ActReason(String);

/// Why a text is no reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidReason {
    /// Nothing but white space.
    Empty,
    /// Over [`MAX_CHARS`].
    TooLong,
    /// Control characters other than a line break's absence.
    ControlCharacter,
}

impl fmt::Display for InvalidReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a reason is needed and was empty"),
            Self::TooLong => write!(f, "a reason has at most {MAX_CHARS} characters"),
            Self::ControlCharacter => f.write_str("a reason holds no control characters"),
        }
    }
}

impl ActReason {
    /// Takes a reason; white space at both ends is dropped.
    ///
    /// # Errors
    /// [`InvalidReason`] where the text is empty, too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidReason> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidReason::Empty);
        }
        if text.chars().count() > MAX_CHARS {
            return Err(InvalidReason::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidReason::ControlCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ActReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActReason(…)")
    }
}
