//! The fictitious residents of a city, derived from a seed.
//!
//! Ages follow Shanghai's census of 2020 (seventh national census, bulletin of the city): 9.8 % are up to 14 years old,
//! 66.8 % from 15 to 59, 23.4 % 60 and over. About 24 of a thousand have the disability certificate.

use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::person::draw_name;
use crate::{Draw, IdNumbers, Person};

/// An infinite iterator of residents.
#[derive(Clone, Debug)]
pub struct City {
    draw: Draw,
    numbers: IdNumbers,
    today: Date,
    groups: Vec<String>,
}

impl City {
    /// The city of this seed on the date `today`; `groups` are those of the policy and may be empty.
    #[must_use]
    pub fn new(seed: u64, today: Date, groups: &[String]) -> Self {
        Self {
            draw: Draw::new(seed),
            numbers: IdNumbers::new(seed),
            today,
            groups: groups.to_vec(),
        }
    }

    /// Age in full years.
    fn age(&mut self) -> u64 {
        match self.draw.below(1_000) {
            0..98 => self.draw.below(15),
            98..766 => 15 + self.draw.below(45),
            // The smaller of two draws, because few people are very old.
            _ => 60 + self.draw.below(45).min(self.draw.below(45)),
        }
    }
}

impl Iterator for City {
    type Item = Person;

    fn next(&mut self) -> Option<Person> {
        let years = i64::try_from(self.age()).expect("an age is small");
        let days = i64::try_from(self.draw.below(365)).expect("below 365");
        let birth_date = self
            .today
            .checked_sub(years.years().days(days))
            .expect("a lifetime before today is in the calendar");
        let name = draw_name(&mut self.draw);
        let disability = self.draw.per_mille(24);
        let in_group = !self.groups.is_empty() && self.draw.per_mille(10);
        let group = in_group.then(|| self.draw.pick(&self.groups).clone());
        Some(Person {
            id_number: self.numbers.born(birth_date),
            name,
            birth_date,
            disability,
            group,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use citycode_domain::id_number::IdNumber;
    use citycode_domain::name::PersonName;
    use citycode_domain::time::full_years;
    use jiff::civil::date;
    use std::collections::HashSet;

    #[test]
    fn a_city_has_valid_and_different_people_of_realistic_ages() {
        let today = date(2022, 8, 31);
        let residents: Vec<Person> = City::new(42, today, &["veteran".to_owned()]).take(20_000).collect();
        let numbers: HashSet<&str> = residents.iter().map(|p| p.id_number.as_str()).collect();
        assert_eq!(numbers.len(), residents.len());
        let mut ages = [0_u32; 3];
        for person in &residents {
            let number = IdNumber::parse(&person.id_number, today).expect("a valid number");
            assert_eq!(number.birth_date(), person.birth_date);
            assert!(PersonName::parse(&person.name).is_ok(), "{}", person.name);
            let age = full_years(person.birth_date, today).expect("born before today");
            ages[usize::from(age >= 15) + usize::from(age >= 60)] += 1;
        }
        assert!((1_700..2_300).contains(&ages[0]), "{ages:?}");
        assert!((4_200..5_200).contains(&ages[2]), "{ages:?}");
        let with_certificate = residents.iter().filter(|p| p.disability).count();
        assert!((350..650).contains(&with_certificate), "{with_certificate}");
        let again: Vec<Person> = City::new(42, today, &["veteran".to_owned()]).take(20_000).collect();
        assert!(again == residents, "the same seed yields the same city");
    }
}
