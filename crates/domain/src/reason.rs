//! The reason that an officer or the authority gives for an act (R21, R22).

use alloc::string::String;
use core::fmt;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

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
    /// A control or format character: a line break, an invisible one, one that turns the direction of writing.
    ControlCharacter,
}

impl fmt::Display for InvalidReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a reason is needed and was empty"),
            Self::TooLong => write!(f, "a reason has at most {MAX_CHARS} characters"),
            Self::ControlCharacter => f.write_str("a reason holds no line breaks and no invisible characters"),
        }
    }
}

impl ActReason {
    /// Takes a reason; white space at both ends is dropped.
    ///
    /// # Errors
    /// [`InvalidReason`] where the text is empty, too long, or holds what cannot be seen.
    pub fn parse(text: &str) -> Result<Self, InvalidReason> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidReason::Empty);
        }
        if text.chars().count() > MAX_CHARS {
            return Err(InvalidReason::TooLong);
        }
        if text.chars().any(is_unseen) {
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

/// Controls, formats (zero width, direction), private and unassigned ones, and Unicode's own line breaks: an auditor
/// would read something else than what stands there.
fn is_unseen(character: char) -> bool {
    character.general_category_group() == GeneralCategoryGroup::Other || matches!(character, '\u{2028}' | '\u{2029}')
}

impl fmt::Debug for ActReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActReason(…)")
    }
}
