//! Valid resident ID numbers (GB 11643) for given birth dates.

use std::collections::HashMap;

use citycode_domain::id_number::{IdNumber, check_character};
use jiff::civil::{Date, date};

use crate::Draw;

/// The places of registration (GB/T 2260) of the numbers: Shanghai's sixteen districts, then others.
const PLACES: [u32; 32] = [
    310_101, 310_104, 310_105, 310_106, 310_107, 310_109, 310_110, 310_112, 310_113, 310_114, 310_115, 310_116,
    310_117, 310_118, 310_120, 310_151, 110_101, 120_101, 130_102, 210_102, 320_102, 320_505, 330_102, 330_203,
    340_102, 350_102, 360_102, 370_102, 410_102, 420_102, 510_104, 610_102,
];
const SERIALS: u32 = 1_000;
const PER_DAY: u32 = SERIALS * 32;

/// A source of unique ID numbers.
#[derive(Clone, Debug)]
pub struct IdNumbers {
    start: u32,
    taken: HashMap<Date, u32>,
}

impl IdNumbers {
    /// The source of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let start = Draw::new(seed).below(u64::from(PER_DAY));
        Self {
            start: u32::try_from(start).expect("below a 32-bit limit"),
            taken: HashMap::new(),
        }
    }

    /// The 18 characters of a number with this birth date.
    ///
    /// # Panics
    /// After 32,000 numbers for one date, or for a year outside 1..=9999.
    pub fn born(&mut self, birth: Date) -> String {
        assert!(birth.year() >= 1, "birth dates before the year 1 are not supported");
        let taken = self.taken.entry(birth).or_insert(0);
        assert!(*taken < PER_DAY, "no numbers are left for this birth date");
        // 17 and 32,000 are coprime, so that every number occurs once, and consecutive numbers differ.
        let place_and_serial = (self.start + *taken * 17) % PER_DAY;
        *taken += 1;
        let place = PLACES[usize::try_from(place_and_serial / SERIALS).expect("below 32")];
        let serial = place_and_serial % SERIALS;
        let mut number = format!(
            "{place:06}{:04}{:02}{:02}{serial:03}",
            birth.year(),
            birth.month(),
            birth.day()
        );
        number.push(char::from(check_character(number.as_bytes())));
        number
    }

    /// A number whose holder reaches this age in full years on `today`.
    ///
    /// # Panics
    /// As [`Self::born`].
    pub fn aged(&mut self, years: i16, today: Date) -> String {
        self.born(birth_date_at_age(years, today))
    }
}

/// The ID number of a fictitious person of Shanghai who was born in January 1990; the same in every call.
///
/// # Panics
/// If `serial` is 31,000 or more.
#[must_use]
pub fn id_number(serial: u16) -> IdNumber {
    let body = format!("310101199001{:02}{:03}", 1 + serial / 1_000, serial % 1_000);
    let check = char::from(check_character(body.as_bytes()));
    IdNumber::parse(&format!("{body}{check}"), date(2026, 1, 1)).expect("a day of January")
}

/// The birth date of a person who reaches this age on `today`. 29 February becomes 1 March in common years.
pub(crate) fn birth_date_at_age(years: i16, today: Date) -> Date {
    let year = today.year() - years;
    Date::new(year, today.month(), today.day())
        .or_else(|_| Date::new(year, 3, 1))
        .expect("only 29 February can be missing from a year")
}

#[cfg(test)]
mod tests {
    use super::*;
    use citycode_domain::id_number::IdNumber;
    use std::collections::HashSet;

    #[test]
    fn r27_every_number_is_valid_and_unique() {
        let today = date(2022, 8, 31);
        let birth = date(1964, 2, 29);
        let mut numbers = IdNumbers::new(7);
        let mut seen = HashSet::new();
        for _ in 0..PER_DAY {
            let number = numbers.born(birth);
            let parsed = IdNumber::parse(&number, today).expect("a valid number");
            assert_eq!(parsed.birth_date(), birth);
            assert!(seen.insert(number), "each number occurs once");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let today = date(2022, 8, 31);
        let draw = |seed| IdNumbers::new(seed).aged(60, today);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1)[6..14].eq("19620831"));
    }
}
