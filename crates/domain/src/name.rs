//! A person's name: letters, marks, spaces, hyphens, apostrophes and middle dots, at most 64 characters.
//!
//! Keyboards and exports produce several characters for the same sign. [`PersonName::parse`] stores one
//! spelling of each, so that a name typed at a counter equals the same name in a file.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Longest name in characters (Unicode scalar values).
pub const MAX_CHARS: usize = 64;

/// A checked name. Personal: no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PersonName(String);

/// Why a text is not a valid name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidName {
    /// Nothing but white space.
    Empty,
    /// Over [`MAX_CHARS`] characters.
    TooLong,
    /// A character that is not allowed in a name.
    Character {
        /// Position of the first such character, counted in characters from 1, without surrounding white space.
        at: usize,
        /// The character. It is not a letter, so it reveals nothing about the person.
        found: char,
    },
    /// It contains no letter.
    NoLetter,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong => write!(f, "a name has at most {MAX_CHARS} characters"),
            Self::Character { at, found } => {
                write!(f, "character {at} of the name, ")?;
                // Invisible and direction-changing characters would garble the message.
                if is_visible(found) {
                    write!(f, "{found} (U+{:04X}), ", u32::from(found))?;
                } else {
                    write!(f, "the invisible U+{:04X}, ", u32::from(found))?;
                }
                f.write_str("is none of: letter, mark, space, hyphen, apostrophe, middle dot")?;
                if is_dot(found) || found == '。' {
                    f.write_str("; the dot between the parts of a name is · (U+00B7)")?;
                }
                Ok(())
            }
            Self::NoLetter => f.write_str("the name has no letter"),
        }
    }
}

impl PersonName {
    /// Parses a name. White space of any kind at both ends is dropped, and look-alikes of the middle dot, the
    /// apostrophe, the hyphen and the space are replaced by the plain sign.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong and where, but never contains the text itself.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim_matches(is_surrounding);
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        // This looks at no more than MAX_CHARS + 1 characters, however long the text is.
        if text.chars().nth(MAX_CHARS).is_some() {
            return Err(InvalidName::TooLong);
        }
        let text = plain(text);
        if let Some((at, found)) = text.chars().enumerate().find(|(_, c)| !is_allowed_in_name(*c)) {
            return Err(InvalidName::Character { at: at + 1, found });
        }
        if !text
            .chars()
            .any(|c| c.general_category_group() == GeneralCategoryGroup::Letter)
        {
            return Err(InvalidName::NoLetter);
        }
        Ok(Self(text))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// White space at the ends of a field, and the zero-width characters that spreadsheets leave there.
pub(crate) fn is_surrounding(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200B}' | '\u{2060}' | '\u{FEFF}')
}

/// Replaces each sign by one spelling: `·` (U+00B7), `'`, `-` and the plain space.
///
/// A look-alike of the dot is replaced only between two letters, and a full stop only between two letters
/// outside ASCII (`古丽.买买提`): elsewhere it may be an abbreviation (`John Q. Public`), which a person must
/// correct.
fn plain(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let letter = |at: Option<usize>| {
        at.and_then(|at| characters.get(at).copied())
            .filter(|c| is_letter_or_mark(*c))
    };
    let plain_one = |(at, c): (usize, &char)| match *c {
        '\u{2018}' | '\u{2019}' | '\u{FF07}' | '\u{2032}' | '`' | '\u{B4}' => '\'',
        '\u{2010}' | '\u{2011}' | '\u{2013}' | '\u{2212}' | '\u{FE63}' | '\u{FF0D}' => '-',
        '\u{A0}' | '\u{2009}' | '\u{202F}' => ' ',
        c if is_dot(c) => match (letter(at.checked_sub(1)), letter(at.checked_add(1))) {
            (Some(before), Some(after)) if c != '.' || !(before.is_ascii() || after.is_ascii()) => '·',
            _ => c,
        },
        c => c,
    };
    characters.iter().enumerate().map(plain_one).collect()
}

/// The middle dot of transcribed names, as keyboards and exports write it.
fn is_dot(c: char) -> bool {
    matches!(
        c,
        '.' | '\u{387}'
            | '\u{16EB}'
            | '\u{2022}'
            | '\u{2024}'
            | '\u{2027}'
            | '\u{2219}'
            | '\u{22C5}'
            | '\u{25CF}'
            | '\u{2E31}'
            | '\u{2E33}'
            | '\u{30FB}'
            | '\u{318D}'
            | '\u{FE52}'
            | '\u{FF0E}'
            | '\u{FF65}'
    )
}

fn is_letter_or_mark(c: char) -> bool {
    // U+3007 is used as a letter in Chinese names, but Unicode classifies it as a number.
    c == '〇'
        || matches!(
            c.general_category_group(),
            GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark
        )
}

fn is_visible(c: char) -> bool {
    !matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other
    )
}

/// Masks a name so that the person recognises it while a finder learns little.
///
/// Chinese names keep the first and the last character (张小三 → 张*三), those of two characters the first (张三 →
/// 张*). Names with spaces, hyphens or middle dots are masked part by part, keeping each part's first letter:
/// `John Smith` → `J*** S****`, 买买提·艾力 → `买**·艾*`. A single long Latin word keeps its first letter. A part gets
/// at most four `*`, so that its length is not revealed.
#[must_use]
pub fn mask(name: &str) -> String {
    let name = name.trim();
    // Names that were registered before look-alikes were replaced may still contain them.
    let is_separator = |c: char| {
        matches!(
            c,
            ' ' | '\u{3000}' | '-' | '\u{2010}' | '\u{2011}' | '·' | '•' | '‧' | '・' | '\'' | '’'
        )
    };
    let letters: alloc::vec::Vec<char> = name.chars().collect();
    let has_parts = letters.iter().any(|c| is_separator(*c));
    // The letters of Chinese names are in the CJK blocks, which start at U+2E80.
    let is_latin = letters
        .iter()
        .any(|c| c.is_alphabetic() && ('\0'..'\u{2E80}').contains(c));
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

/// Letters and marks of any script, the ideographic and the plain space, and the plain signs that [`plain`]
/// produces.
fn is_allowed_in_name(c: char) -> bool {
    matches!(c, ' ' | '\u{3000}' | '-' | '\'' | '·') || is_letter_or_mark(c)
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
    fn names_in_many_scripts_are_accepted() {
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
    fn invalid_names_are_rejected_with_the_position() {
        assert_eq!(PersonName::parse("  "), Err(InvalidName::Empty));
        assert_eq!(
            PersonName::parse("张3"),
            Err(InvalidName::Character { at: 2, found: '3' })
        );
        assert_eq!(
            PersonName::parse("a\u{202e}b"),
            Err(InvalidName::Character {
                at: 2,
                found: '\u{202e}'
            })
        );
        assert_eq!(
            PersonName::parse("=cmd()"),
            Err(InvalidName::Character { at: 1, found: '=' })
        );
        assert_eq!(PersonName::parse("---"), Err(InvalidName::NoLetter));
        for letter in ["a", "张", "𠮷"] {
            assert!(PersonName::parse(&letter.repeat(64)).is_ok(), "{letter}");
            assert_eq!(
                PersonName::parse(&letter.repeat(65)),
                Err(InvalidName::TooLong),
                "{letter}"
            );
        }
        assert_eq!(
            format!("{:?}", PersonName::parse("张三").expect("a name")),
            "PersonName(…)"
        );
    }

    #[test]
    fn look_alikes_become_the_plain_sign() {
        for dot in "··•‧・･．∙⋅⸱⸳●ㆍ᛫﹒․.".chars() {
            let name = PersonName::parse(&format!("古丽{dot}买买提")).expect("a name");
            assert_eq!(name.as_str(), "古丽·买买提", "U+{:04X}", u32::from(dot));
        }
        for (typed, stored) in [
            ("O\u{2018}Brien", "O'Brien"),
            ("O\u{2019}Brien", "O'Brien"),
            ("O\u{FF07}Brien", "O'Brien"),
            ("Anna\u{2013}Maria", "Anna-Maria"),
            ("Anna\u{FF0D}Maria", "Anna-Maria"),
            ("John\u{A0}Smith", "John Smith"),
            ("Anna•Maria", "Anna·Maria"),
            ("张三\u{A0}", "张三"),
            ("\t张三\t", "张三"),
            ("\u{FEFF}张三\u{200B}", "张三"),
            ("李〇", "李〇"),
        ] {
            let name = PersonName::parse(typed).expect("a name");
            assert_eq!(name.as_str(), stored, "{typed:?}");
        }
    }

    #[test]
    fn an_error_names_the_character_and_a_full_stop_is_not_replaced() {
        for (name, said) in [
            ("Martin King Jr.", "character 15 of the name, . (U+002E), is none of"),
            ("John Q. Public", "character 7 of the name, . (U+002E), is none of"),
            ("J.R. Smith", "character 2 of the name, . (U+002E), is none of"),
            ("李.John", "character 2 of the name, . (U+002E), is none of"),
            ("John.李", "character 5 of the name, . (U+002E), is none of"),
            ("古丽。买买提", "the dot between the parts of a name is · (U+00B7)"),
            (
                "张\u{202e}三",
                "character 2 of the name, the invisible U+202E, is none of",
            ),
        ] {
            let text = format!("{}", PersonName::parse(name).expect_err("no name"));
            assert!(text.contains(said), "{text}");
        }
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
