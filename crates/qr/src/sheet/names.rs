//! Serials in their printed form.

/// Groups a serial by four characters, for reading aloud and typing: `AB12CD34E` → `AB12 CD34 E`.
pub fn group_serial(serial: &str) -> String {
    let mut grouped = String::with_capacity(serial.len() * 5 / 4);
    for (place, c) in serial.chars().filter(|c| !c.is_whitespace()).enumerate() {
        if place > 0 && place % 4 == 0 {
            grouped.push(' ');
        }
        grouped.push(c);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_grouped_by_four() {
        assert_eq!(group_serial("AB12CD34E"), "AB12 CD34 E");
        assert_eq!(group_serial("AB 12CD34"), "AB12 CD34");
        assert_eq!(group_serial(""), "");
    }
}
