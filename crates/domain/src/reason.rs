//! The reason that an officer or the health authority states for an action (R21, R22).

use alloc::string::String;
use core::fmt;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Longest reason in characters.
pub const MAX_CHARS: usize = 200;

/// A reason in words. It may name a person, so the log contains it only sealed, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ActReason(String);

/// Why a text is not a valid reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidReason {
    /// Nothing but white space.
    Empty,
    /// Over [`MAX_CHARS`].
    TooLong,
    /// A control or format character, such as a line break, an invisible or a direction-changing character.
    ControlCharacter,
}

impl fmt::Display for InvalidReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a reason is required and was empty"),
            Self::TooLong => write!(f, "a reason has at most {MAX_CHARS} characters"),
            Self::ControlCharacter => f.write_str("a reason must not contain line breaks or invisible characters"),
        }
    }
}

impl ActReason {
    /// Parses a reason; white space at both ends is dropped.
    ///
    /// # Errors
    /// [`InvalidReason`] if the text is empty, too long, or contains invisible characters.
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

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control, format (zero width, direction), private and unassigned characters, and Unicode's line breaks: with
/// them an auditor could be shown something other than the stored text.
fn is_unseen(character: char) -> bool {
    character.general_category_group() == GeneralCategoryGroup::Other || matches!(character, '\u{2028}' | '\u{2029}')
}

impl fmt::Debug for ActReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActReason(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r22_a_reason_has_1_to_200_characters() {
        for letter in ["a", "张", "𠮷"] {
            let longest = letter.repeat(MAX_CHARS);
            assert_eq!(ActReason::parse(&longest).expect("200 characters").as_str(), longest);
            let longer = letter.repeat(MAX_CHARS + 1);
            assert_eq!(ActReason::parse(&longer), Err(InvalidReason::TooLong));
        }
        assert_eq!(ActReason::parse("x").expect("one character").as_str(), "x");
        for empty in ["", " \t\n "] {
            assert_eq!(ActReason::parse(empty), Err(InvalidReason::Empty), "{empty:?}");
        }
    }

    #[test]
    fn r22_white_space_at_the_ends_of_a_reason_is_dropped() {
        let reason = ActReason::parse("  密接者 (close contact), 24 h\n").expect("a reason");
        assert_eq!(reason.as_str(), "密接者 (close contact), 24 h");
    }

    #[test]
    fn r22_a_reason_contains_no_character_that_could_hide_or_reorder_text() {
        for unseen in [
            '\n', '\u{0}', '\u{85}', '\u{200B}', '\u{202E}', '\u{2028}', '\u{2029}', '\u{E000}',
        ] {
            let text = alloc::format!("close{unseen}contact");
            let found = u32::from(unseen);
            assert_eq!(
                ActReason::parse(&text),
                Err(InvalidReason::ControlCharacter),
                "U+{found:04X}"
            );
        }
    }
}
