//! Resident ID numbers, GB 11643: 17 digits and a check character (R27).
//!
//! Digits 1–6 name the place of registration, 7–14 the birth date, 15–17 a serial; the 18th character is the
//! check character of ISO 7064 MOD 11-2 (weights 2^(18-i) mod 11), where 10 is written `X`.

use core::fmt;

use jiff::civil::Date;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::name::is_surrounding;

/// A checked ID number. Personal: no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct IdNumber([u8; 18]);

/// Why a text is not a valid ID number. It never contains the text itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidIdNumber {
    /// Not 18 characters.
    Length,
    /// The 15-digit form, retired on 1 January 2013.
    Retired,
    /// A character that is not allowed at its position.
    Character,
    /// A character outside ASCII: full-width digits, or invisible characters around or between the digits.
    NotPlain,
    /// Digits 7–14 are not a date of the calendar.
    BirthDate,
    /// The birth date is in the future.
    BornInFuture,
    /// The check character does not match the digits.
    CheckCharacter,
}

impl fmt::Display for InvalidIdNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "an ID number has 18 characters",
            Self::Retired => "the 15-digit form of the ID number is retired; use the 18 characters of the card",
            Self::Character => "an ID number has 17 digits and then a digit or X",
            Self::NotPlain => {
                "an ID number is 17 plain digits and then a digit or X; this one contains a character outside ASCII, such as a full-width or invisible one"
            }
            Self::BirthDate => "the birth date in the ID number (characters 7 to 14) is not a date",
            Self::BornInFuture => "the birth date in the ID number is in the future",
            Self::CheckCharacter => "the last character of the ID number does not match the others; there is a typing error",
        })
    }
}

impl IdNumber {
    /// Parses an ID number; `today` is the local date in the policy's time zone. White space at both ends is
    /// dropped (including byte order marks and zero-width spaces, which exports leave there), and a final `x`
    /// is read as `X`.
    ///
    /// # Errors
    /// [`InvalidIdNumber`] for the first error found.
    pub fn parse(text: &str, today: Date) -> Result<Self, InvalidIdNumber> {
        let text = text.trim_matches(is_surrounding);
        // This check comes before the length check, which counts bytes: eighteen full-width digits are eighteen
        // characters.
        if !text.is_ascii() {
            return Err(InvalidIdNumber::NotPlain);
        }
        let text = text.as_bytes();
        if text.len() == 15 && text.iter().all(u8::is_ascii_digit) {
            return Err(InvalidIdNumber::Retired);
        }
        let mut digits: [u8; 18] = text.try_into().map_err(|_| InvalidIdNumber::Length)?;
        digits[17] = digits[17].to_ascii_uppercase();
        let (body, check) = (&digits[..17], digits[17]);
        if !body.iter().all(u8::is_ascii_digit) || !(check.is_ascii_digit() || check == b'X') {
            return Err(InvalidIdNumber::Character);
        }
        let birth = birth_date(&digits).ok_or(InvalidIdNumber::BirthDate)?;
        if birth > today {
            return Err(InvalidIdNumber::BornInFuture);
        }
        if check_character(body) != check {
            return Err(InvalidIdNumber::CheckCharacter);
        }
        Ok(Self(digits))
    }

    /// The 18 characters, to be used only for keyed hashing and sealing.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 18] {
        &self.0
    }

    /// The birth date.
    #[must_use]
    pub fn birth_date(&self) -> Date {
        birth_date(&self.0).expect("parse accepted this birth date")
    }
}

fn number(digits: &[u8]) -> i16 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'))
}

fn birth_date(digits: &[u8; 18]) -> Option<Date> {
    let month = i8::try_from(number(&digits[10..12])).ok()?;
    let day = i8::try_from(number(&digits[12..14])).ok()?;
    // Year 0 exists in the proleptic calendar, but it cannot be a birth year.
    let year = number(&digits[6..10]);
    if year == 0 {
        None
    } else {
        Date::new(year, month, day).ok()
    }
}

/// The check character for the first 17 digits (ISO 7064 MOD 11-2).
#[must_use]
pub fn check_character(body: &[u8]) -> u8 {
    let remainder = body
        .iter()
        .fold(0u32, |p, digit| ((p + u32::from(digit - b'0')) * 2) % 11);
    b"10X98765432"[usize::try_from(remainder).expect("below 11")]
}

impl fmt::Debug for IdNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdNumber(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use std::string::String;

    const TODAY: Date = date(2022, 8, 31);

    #[test]
    fn r27_the_examples_of_the_standard_are_accepted() {
        // The two examples printed in GB 11643-1999, section 4.
        for text in [
            "11010519491231002X",
            "440524188001010014",
            " 11010519491231002x ",
            "\u{FEFF}11010519491231002X\u{A0}",
        ] {
            assert!(IdNumber::parse(text, TODAY).is_ok(), "{text}");
        }
        assert_eq!(
            IdNumber::parse("11010519491231002x", TODAY)
                .expect("valid")
                .birth_date(),
            date(1949, 12, 31)
        );
    }

    #[test]
    fn r27_everything_else_is_refused_with_the_reason() {
        let cases = [
            ("", InvalidIdNumber::Length),
            ("110105491231002", InvalidIdNumber::Retired),
            ("11010519491231002", InvalidIdNumber::Length),
            ("1101051949123100２X", InvalidIdNumber::NotPlain),
            ("11010519491231002Ｘ", InvalidIdNumber::NotPlain),
            ("\u{202A}11010519491231002X\u{202C}", InvalidIdNumber::NotPlain),
            ("11010519491231O02X", InvalidIdNumber::Character),
            ("11010519490229002X", InvalidIdNumber::BirthDate),
            ("11010500001231002X", InvalidIdNumber::BirthDate),
            ("110105194912310021", InvalidIdNumber::CheckCharacter),
            ("11010520991231002X", InvalidIdNumber::BornInFuture),
        ];
        for (text, reason) in cases {
            assert_eq!(IdNumber::parse(text, TODAY), Err(reason), "{text}");
        }
    }

    #[test]
    fn r27_the_birth_date_is_from_year_1_to_today() {
        let born_on = |birth: &str| {
            let body = std::format!("110105{birth}002");
            let check = char::from(check_character(body.as_bytes()));
            IdNumber::parse(&std::format!("{body}{check}"), TODAY).map(|number| number.birth_date())
        };
        assert_eq!(born_on("20220831"), Ok(TODAY), "a child of today");
        assert_eq!(born_on("20220901"), Err(InvalidIdNumber::BornInFuture));
        assert_eq!(born_on("00010101"), Ok(date(1, 1, 1)));
        assert_eq!(born_on("00001231"), Err(InvalidIdNumber::BirthDate));
    }

    #[test]
    fn r27_every_single_digit_error_is_detected() {
        let good = "11010519491231002X";
        for place in (0..17).filter(|place| !(6..14).contains(place)) {
            for digit in '0'..='9' {
                let text: String = good
                    .chars()
                    .enumerate()
                    .map(|(i, c)| if i == place { digit } else { c })
                    .collect();
                assert_eq!(IdNumber::parse(&text, TODAY).is_ok(), text == good, "{text}");
            }
        }
    }
}
