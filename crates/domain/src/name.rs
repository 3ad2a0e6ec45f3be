//! A person's name: letters, marks, spaces, hyphens, apostrophes and middle dots, at most 64 characters.

use alloc::string::String;
use core::fmt;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Longest name in characters (Unicode scalar values).
pub const MAX_CHARS: usize = 64;

/// A checked name. Personal: no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PersonName(String);

/// Why a text is no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidName {
    /// Nothing but white space.
    Empty,
    /// Over [`MAX_CHARS`] characters.
    TooLong,
    /// A character that no name has, at this place (counted from 1).
    Character {
        /// Place of the first such character, counted in characters from 1.
        at: usize,
    },
    /// No letter in it.
    NoLetter,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong => write!(f, "a name has at most {MAX_CHARS} characters"),
            Self::Character { at } => write!(
                f,
                "character {at} of the name is none of: letter, mark, space, hyphen, apostrophe, middle dot"
            ),
            Self::NoLetter => f.write_str("the name has no letter"),
        }
    }
}

impl PersonName {
    /// Takes a name; spaces at both ends are dropped.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong and where, never the text itself.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim_matches([' ', '\u{3000}']);
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        // The bytes bound the work before anything is counted: a character has at most 4.
        if text.len() > MAX_CHARS * 4 || text.chars().count() > MAX_CHARS {
            return Err(InvalidName::TooLong);
        }
        if let Some(at) = text.chars().position(|c| !may_stand_in_a_name(c)) {
            return Err(InvalidName::Character { at: at + 1 });
        }
        if !text
            .chars()
            .any(|c| c.general_category_group() == GeneralCategoryGroup::Letter)
        {
            return Err(InvalidName::NoLetter);
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Masks a name so that its bearer recognises it and a finder learns little.
///
/// Chinese names keep the first and the last character (张小三 → 张*三), those of two the first (张三 → 张*).
/// Names with spaces, hyphens or middle dots are masked part by part, keeping each part's first letter:
/// `John Smith` → `J*** S****`, 买买提·艾力 → `买**·艾*`. A single long Latin word keeps its first letter.
/// At most four `*` stand for a part, so that its length is not told.
#[must_use]
pub fn mask(name: &str) -> String {
    let name = name.trim();
    let is_separator = |c: char| matches!(c, ' ' | '-' | '·' | '•' | '\'' | '’');
    let letters: alloc::vec::Vec<char> = name.chars().collect();
    let has_parts = letters.iter().any(|c| is_separator(*c));
    let is_latin = letters.iter().any(|c| c.is_alphabetic() && u32::from(*c) < 0x2E80);
    if !has_parts && !is_latin {
        return mask_chinese(&letters);
    }
    let mut masked = String::new();
    let mut place = 0;
    for c in letters {
        if is_separator(c) {
            masked.push(c);
            place = 0;
            continue;
        }
        match place {
            0 => masked.push(c),
            1..=4 => masked.push('*'),
            _ => {}
        }
        place += 1;
    }
    masked
}

fn mask_chinese(letters: &[char]) -> String {
    match letters {
        [] => String::new(),
        [_] => String::from("*"),
        [first, _] => alloc::format!("{first}*"),
        [first, middle @ .., last] => {
            alloc::format!("{first}{}{last}", "*".repeat(middle.len().min(4)))
        }
    }
}

/// Letters and marks of any script, the ideographic and the plain space, hyphens, apostrophes, and the
/// middle dots of transcribed and minority names (U+00B7 and its look-alikes).
fn may_stand_in_a_name(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{3000}' | '-' | '\u{2010}' | '\u{2011}' | '\'' | '\u{2019}' | '·' | '•' | '‧' | '・'
    ) || matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark
    )
}

impl fmt::Debug for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonName(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn names_of_many_peoples_are_names() {
        for name in [
            "张三",
            "欧阳娜娜",
            "古丽·买买提",
            "O'Brien",
            "Jean-Luc d’Arc",
            "Ñandú",
            "নাম",
            "𠮷野家",
            "  李四 ",
        ] {
            assert!(PersonName::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_rest_is_refused_with_its_place() {
        assert_eq!(PersonName::parse("  "), Err(InvalidName::Empty));
        assert_eq!(PersonName::parse("张3"), Err(InvalidName::Character { at: 2 }));
        assert_eq!(PersonName::parse("a\u{202e}b"), Err(InvalidName::Character { at: 2 }));
        assert_eq!(PersonName::parse("=cmd()"), Err(InvalidName::Character { at: 1 }));
        assert_eq!(PersonName::parse("---"), Err(InvalidName::NoLetter));
        assert_eq!(PersonName::parse(&"张".repeat(65)), Err(InvalidName::TooLong));
        assert!(PersonName::parse(&"张".repeat(64)).is_ok());
        assert_eq!(
            format!("{:?}", PersonName::parse("张三").expect("a name")),
            "PersonName(…)"
        );
    }

    #[test]
    fn names_are_masked() {
        for (name, masked) in [
            ("张小三", "张*三"),
            ("张三", "张*"),
            ("张", "*"),
            ("欧阳小三", "欧**三"),
            ("", ""),
            ("John Smith", "J**** S****".replacen("J****", "J***", 1).as_str()),
            ("买买提·艾力", "买**·艾*"),
            ("Madonna", "M****"),
            ("Jean-Luc O'Neil", "J***-L** O'N***"),
        ] {
            assert_eq!(mask(name), masked, "{name}");
        }
    }
}
