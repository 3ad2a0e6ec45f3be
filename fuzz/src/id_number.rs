//! Resident ID numbers (R27): whatever is accepted is the one true spelling of a real number.

use citycode_domain::id_number::IdNumber;
use jiff::civil::{Date, date};

const TODAY: Date = date(2026, 12, 1);
/// ISO 7064 MOD 11-2 as GB 11643 tabulates it, to check the recursive form by another way.
const WEIGHTS: [u32; 18] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2, 1];

/// Parses any text as a channel would hand it in.
///
/// # Panics
/// When a number is accepted that has a wrong check sum, is born in the future, is not in its one
/// spelling, or does not parse again.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(accepted) = IdNumber::parse(text, TODAY) else {
        return;
    };
    let characters = accepted.as_bytes();
    // White space, and what exports leave around a number without anybody seeing it.
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
    assert_eq!(sum % 11, 1, "the check sum does not hold");
    assert!(accepted.birth_date() <= TODAY, "born in the future");
    assert!(
        text.trim_matches(around).as_bytes().eq_ignore_ascii_case(characters),
        "another number than was given"
    );
    let spelling = std::str::from_utf8(characters).expect("digits and X are ASCII");
    assert_eq!(
        IdNumber::parse(spelling, TODAY).as_ref(),
        Ok(&accepted),
        "its own spelling is refused"
    );
}
