//! Fictitious people.

use jiff::civil::Date;

use crate::id_numbers::birth_date_at_age;
use crate::{Draw, IdNumbers};

const SURNAMES: [&str; 24] = [
    "王", "李", "张", "刘", "陈", "杨", "黄", "赵", "吴", "周", "徐", "孙", "马", "朱", "胡", "林", "郭", "何", "高",
    "罗", "欧阳", "上官", "沈", "陆",
];
const GIVEN: [&str; 24] = [
    "伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "涛", "明", "秀英", "桂兰", "建国",
    "志强", "雪梅", "子涵", "浩然", "梓萱", "一诺",
];
/// Names other than two or three Han characters, with which errors are more likely.
const OTHER_NAMES: [&str; 5] = [
    "古丽·买买提",
    "阿卜杜拉·热合曼",
    "Jean-Luc d’Arc",
    "O'Brien Mary",
    "𠮷田惠",
];

/// A fictitious person with the data of a registration. `Debug` shows everything, because no person is real.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// A valid ID number of 18 characters.
    pub id_number: String,
    /// The name.
    pub name: String,
    /// The birth date in the ID number.
    pub birth_date: Date,
    /// Whether the person has the disability certificate.
    pub disability: bool,
    /// The special group of the person, if any.
    pub group: Option<String>,
}

impl Person {
    /// A builder of a person: 30 years old on `today`, without certificate or group by default.
    #[must_use]
    pub fn build(numbers: &mut IdNumbers, today: Date) -> PersonBuilder<'_> {
        PersonBuilder {
            birth_date: birth_date_at_age(30, today),
            numbers,
            today,
            name: "张三".to_owned(),
            disability: false,
            group: None,
        }
    }

    /// The person as a line of an import file, columns `id_number,name,disability,group`, without line end.
    #[must_use]
    pub fn csv_line(&self) -> String {
        let disability = if self.disability { "yes" } else { "" };
        let group = self.group.as_deref().unwrap_or_default();
        format!("{},{},{disability},{group}", self.id_number, self.name)
    }
}

/// A builder of a person.
#[derive(Debug)]
pub struct PersonBuilder<'a> {
    numbers: &'a mut IdNumbers,
    today: Date,
    birth_date: Date,
    name: String,
    disability: bool,
    group: Option<String>,
}

impl PersonBuilder<'_> {
    /// Sets the birth date.
    #[must_use]
    pub fn born(mut self, birth_date: Date) -> Self {
        self.birth_date = birth_date;
        self
    }

    /// Sets the age, with the birthday today.
    #[must_use]
    pub fn aged(mut self, years: i16) -> Self {
        self.birth_date = birth_date_at_age(years, self.today);
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Adds the disability certificate.
    #[must_use]
    pub fn with_disability(mut self) -> Self {
        self.disability = true;
        self
    }

    /// Sets the special group.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// The person.
    ///
    /// # Panics
    /// If the source has no number left for the birth date.
    #[must_use]
    pub fn done(self) -> Person {
        Person {
            id_number: self.numbers.born(self.birth_date),
            name: self.name,
            birth_date: self.birth_date,
            disability: self.disability,
            group: self.group,
        }
    }
}

/// A random name: usually two or three Han characters; one in fifty is different.
pub(crate) fn draw_name(draw: &mut Draw) -> String {
    if draw.per_mille(20) {
        return (*draw.pick(&OTHER_NAMES)).to_owned();
    }
    format!("{}{}", draw.pick(&SURNAMES), draw.pick(&GIVEN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_person_has_the_given_properties() {
        let today = date(2024, 2, 29);
        let mut numbers = IdNumbers::new(1);
        let person = Person::build(&mut numbers, today)
            .aged(17)
            .named("李四")
            .with_disability()
            .in_group("veteran")
            .done();
        assert_eq!(person.birth_date, date(2007, 3, 1));
        assert_eq!(&person.id_number[6..14], "20070301");
        assert!(person.csv_line().ends_with(",李四,yes,veteran"));
    }
}
