//! Valid resident ID numbers (GB 11643) for wanted birth dates.

use std::collections::HashMap;

use citycode_domain::id_number::check_character;
use jiff::civil::Date;

use crate::Draw;

/// Places of registration (GB/T 2260) that the numbers are drawn from: Shanghai's sixteen districts first,
/// then some from where people move there.
const PLACES: [u32; 32] = [
    310_101, 310_104, 310_105, 310_106, 310_107, 310_109, 310_110, 310_112, 310_113, 310_114, 310_115, 310_116,
    310_117, 310_118, 310_120, 310_151, 110_101, 120_101, 130_102, 210_102, 320_102, 320_505, 330_102, 330_203,
    340_102, 350_102, 360_102, 370_102, 410_102, 420_102, 510_104, 610_102,
];
const SERIALS: u32 = 1_000;
const PER_DAY: u32 = SERIALS * 32;

/// A source of ID numbers, none of them twice.
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

    /// The 18 characters of a number whose holder was born on this date.
    ///
    /// # Panics
    /// After 32,000 numbers for one date, or for a year outside 1..=9999.
    pub fn born(&mut self, birth: Date) -> String {
        assert!(birth.year() >= 1, "nobody was born before the year 1");
        let taken = self.taken.entry(birth).or_insert(0);
        assert!(*taken < PER_DAY, "no numbers are left for this birth date");
        // 17 and 32,000 have no common factor, so that the walk meets every number once, and neighbours differ.
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

    /// A number whose holder is of this age in full years on `today`: the birthday is today.
    ///
    /// # Panics
    /// As [`Self::born`].
    pub fn aged(&mut self, years: i16, today: Date) -> String {
        self.born(birth_date_at_age(years, today))
    }
}

/// The birth date of whoever turns this many years on `today`. 29 February goes to 1 March in common years.
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
    use jiff::civil::date;
    use std::collections::HashSet;

    #[test]
    fn r27_every_number_is_valid_and_none_comes_twice() {
        let today = date(2022, 8, 31);
        let birth = date(1964, 2, 29);
        let mut numbers = IdNumbers::new(7);
        let mut seen = HashSet::new();
        for _ in 0..PER_DAY {
            let number = numbers.born(birth);
            let parsed = IdNumber::parse(&number, today).expect("a valid number");
            assert_eq!(parsed.birth_date(), birth);
            assert!(seen.insert(number), "each number comes once");
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
