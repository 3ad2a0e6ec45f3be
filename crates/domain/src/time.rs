//! Time in the rules: whole seconds since 1970-01-01T00:00:00Z, and age in full years.

use jiff::civil::Date;

/// An instant in whole seconds since the Unix epoch, UTC, leap seconds not counted (POSIX time).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant moved by a number of seconds; saturates at the ends of the range.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to this instant; negative if `earlier` is later.
    #[must_use]
    pub const fn seconds_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Age in full years on `today` (R12). A birthday of 29 February falls on 1 March in common years. `None` if
/// the birth date is later than `today`.
#[must_use]
pub fn full_years(birth: Date, today: Date) -> Option<u8> {
    if birth > today {
        return None;
    }
    // Comparing (month, day) implements the rule for 29 February: 28 February is before it, 1 March after.
    let had_birthday = (today.month(), today.day()) >= (birth.month(), birth.day());
    let years = i32::from(today.year()) - i32::from(birth.year()) - i32::from(!had_birthday);
    u8::try_from(years).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn r12_age_is_in_full_years() {
        assert_eq!(full_years(date(2004, 9, 1), date(2022, 8, 31)), Some(17));
        assert_eq!(full_years(date(2004, 9, 1), date(2022, 9, 1)), Some(18));
        assert_eq!(full_years(date(1962, 8, 31), date(2022, 8, 31)), Some(60));
        assert_eq!(full_years(date(1962, 9, 1), date(2022, 8, 31)), Some(59));
        assert_eq!(full_years(date(2022, 9, 1), date(2022, 8, 31)), None);
    }

    #[test]
    fn r12_a_leap_day_birthday_falls_on_1_march_in_common_years() {
        assert_eq!(full_years(date(2004, 2, 29), date(2022, 2, 28)), Some(17));
        assert_eq!(full_years(date(2004, 2, 29), date(2022, 3, 1)), Some(18));
        assert_eq!(full_years(date(1964, 2, 29), date(2024, 2, 28)), Some(59));
        assert_eq!(full_years(date(1964, 2, 29), date(2024, 2, 29)), Some(60));
    }
}
