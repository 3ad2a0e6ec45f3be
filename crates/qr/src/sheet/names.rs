//! Names and serials as they may stand on paper that others see.

/// Masks a name so that its bearer recognises it and a finder learns little.
///
/// Chinese names keep the first and the last character (张小三 → 张*三), those of two the first (张三 → 张*).
/// Names with spaces, hyphens or middle dots are masked part by part, keeping each part's first letter:
/// `John Smith` → `J*** S****`, 买买提·艾力 → `买**·艾*`. A single long Latin word keeps its first letter.
/// At most four `*` stand for a part, so that its length is not told.
pub fn mask_name(name: &str) -> String {
    let name = name.trim();
    let is_separator = |c: char| matches!(c, ' ' | '-' | '·' | '•' | '\'' | '’');
    let letters: Vec<char> = name.chars().collect();
    let has_parts = letters.iter().any(|c| is_separator(*c));
    let is_latin = letters.iter().any(|c| c.is_alphabetic() && u32::from(*c) < 0x2E80);
    if !has_parts && !is_latin {
        return mask_chinese(&letters);
    }
    let mut masked = String::new();
    let mut place = 0;
    for c in letters {
        if is_separator(c) {
            masked.push(c);
            place = 0;
            continue;
        }
        match place {
            0 => masked.push(c),
            1..=4 => masked.push('*'),
            _ => {}
        }
        place += 1;
    }
    masked
}

fn mask_chinese(letters: &[char]) -> String {
    match letters {
        [] => String::new(),
        [_] => String::from("*"),
        [first, _] => format!("{first}*"),
        [first, middle @ .., last] => format!("{first}{}{last}", "*".repeat(middle.len().min(4))),
    }
}

/// Puts a serial into groups of four, for reading out and typing: `AB12CD34E` → `AB12 CD34 E`.
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
    fn names_are_masked() {
        for (name, masked) in [
            ("张小三", "张*三"),
            ("张三", "张*"),
            ("张", "*"),
            ("欧阳小三", "欧**三"),
            ("", ""),
            ("John Smith", "J**** S****".replacen("J****", "J***", 1).as_str()),
            ("买买提·艾力", "买**·艾*"),
            ("Madonna", "M****"),
            ("Jean-Luc O'Neil", "J***-L** O'N***"),
        ] {
            assert_eq!(mask_name(name), masked, "{name}");
        }
    }

    #[test]
    fn serials_stand_in_groups_of_four() {
        assert_eq!(group_serial("AB12CD34E"), "AB12 CD34 E");
        assert_eq!(group_serial("AB 12CD34"), "AB12 CD34");
        assert_eq!(group_serial(""), "");
    }
}
