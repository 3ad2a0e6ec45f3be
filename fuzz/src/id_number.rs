//! Resident ID numbers (R27): every accepted number is well formed and has exactly one spelling.

use citycode_domain::id_number::IdNumber;
use jiff::civil::{Date, date};

const TODAY: Date = date(2026, 12, 1);
/// The weights of ISO 7064 MOD 11-2 as GB 11643 lists them; the parser uses the recursive form instead.
const WEIGHTS: [u32; 18] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2, 1];

/// Parses any text as an ID number from a channel.
///
/// # Panics
/// If a number is accepted whose check character is wrong, whose birth date is in the future, which differs from the
/// text, or whose own spelling is refused.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(accepted) = IdNumber::parse(text, TODAY) else {
        return;
    };
    let characters = accepted.as_bytes();
    // White space, and invisible characters that exports leave around a number.
    let around = |c: char| c.is_whitespace() || ['\u{200B}', '\u{2060}', '\u{FEFF}'].contains(&c);
    let value = |character: u8| match character {
        b'X' => 10,
        digit => u32::from(digit - b'0'),
    };
    let sum: u32 = characters
        .iter()
        .zip(WEIGHTS)
        .map(|(character, weight)| value(*character) * weight)
        .sum();
    assert_eq!(sum % 11, 1, "the check character is wrong");
    assert!(accepted.birth_date() <= TODAY, "the birth date is in the future");
    assert!(
        text.trim_matches(around).as_bytes().eq_ignore_ascii_case(characters),
        "the number differs from the text"
    );
    let spelling = std::str::from_utf8(characters).expect("digits and X are ASCII");
    assert_eq!(
        IdNumber::parse(spelling, TODAY).as_ref(),
        Ok(&accepted),
        "the spelling of an accepted number is refused"
    );
}
