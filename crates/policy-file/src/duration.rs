//! Durations in text form: `30d`, `60s`, `500ms`.
//!
//! Grammar: `duration = 1*9DIGIT unit`, `unit = "ms" / "s" / "min" / "h" / "d"`; no space, no sign, no fraction,
//! no leading zero. Only one unit is allowed, so that a duration has few spellings. A day is 86,400 seconds
//! (R7).

/// Limit of digits in a number. Nine digits of days are far beyond every limit and far below overflow.
const MAX_DIGITS: usize = 9;

/// Milliseconds of a duration in text form; `None` if the text is not a duration.
pub(crate) fn parse_ms(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if digits == 0 || digits > MAX_DIGITS || (digits > 1 && number.starts_with('0')) {
        return None;
    }
    let unit_ms: i64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("60s", 60_000),
            ("5min", 300_000),
            ("24h", 86_400_000),
            ("30d", 2_592_000_000),
            ("999999999d", 86_399_999_913_600_000),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_rejected() {
        for text in [
            "",
            "30",
            "d",
            "30 d",
            " 30d",
            "-1s",
            "+1s",
            "1.5h",
            "030d",
            "1m",
            "1D",
            "1d2h",
            "1000000000s",
            "３０d",
            "1e3s",
        ] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }
}
