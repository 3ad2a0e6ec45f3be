//! ID numbers as people type them, and what is wrong with one, in words.

use citycode_domain::id_number::{IdNumber, InvalidIdNumber};
use citycode_domain::time::Timestamp;

use super::reading::half_width;
use crate::frame::Frame;
use crate::site::Site;

/// Longest text that is shown again.
const MAX_SHOWN: usize = 40;

/// What was typed, without what people and input methods add: full-width digits, spaces, hyphens, invisible characters.
pub(super) fn tidy(typed: &str) -> String {
    let plain = typed.chars().map(half_width);
    let kept = plain
        .filter(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, '-' | '\u{200b}'..='\u{200f}' | '\u{feff}'));
    kept.take(MAX_SHOWN).map(|c| c.to_ascii_uppercase()).collect()
}

/// Checks a tidied number.
///
/// # Errors
/// What is wrong, as a sentence. It does not depend on whether the person is known.
pub(super) fn check(site: &Site, f: &Frame<'_>, number: &str) -> Result<(), String> {
    let today = citycode_policy_file::local_date(&site.policy, Timestamp(site.now()));
    let Err(wrong) = IdNumber::parse(number, today) else {
        return Ok(());
    };
    let length = number.chars().count();
    Err(match wrong {
        _ if number.is_empty() => f.t("number-empty"),
        InvalidIdNumber::Length => f.t1("number-length", "length", &length.to_string()),
        InvalidIdNumber::Retired => f.t("number-retired"),
        _ if length != 18 => f.t1("number-length", "length", &length.to_string()),
        InvalidIdNumber::Character | InvalidIdNumber::NotPlain => f.t("number-character"),
        InvalidIdNumber::BirthDate | InvalidIdNumber::BornInFuture => f.t("number-birth-date"),
        InvalidIdNumber::CheckCharacter => f.t("number-check"),
    })
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn full_width_digits_and_spaces_are_understood() {
        for typed in [
            "11010519491231002X",
            "１１０１０５１９４９１２３１００２ｘ",
            " 110105 1949-1231 002x\r\n",
            "\u{feff}11010519491231002X\u{200b}",
        ] {
            assert_eq!(tidy(typed), "11010519491231002X", "{typed:?}");
        }
        assert_eq!(tidy(&"1".repeat(5_000)).len(), 40);
    }
}
