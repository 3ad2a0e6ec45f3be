//! Numbers and names as operators read and type them.

use citycode_domain::id_number::IdNumber;
use citycode_domain::time::Timestamp;
use jiff::civil::DateTime;

use crate::frame::Frame;
use crate::lang::Language;
use crate::site::Site;
use crate::typed::narrow;

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count, or the words for one that is too small to be shown.
pub(super) fn count(f: &Frame<'_>, number: Option<u64>) -> String {
    number.map_or_else(|| f.t("ops-suppressed"), grouped)
}

/// What was typed or pasted, with full-width characters as plain ones and without spaces and hyphens.
pub(super) fn plain(typed: &str) -> String {
    let kept = typed.chars().filter(|c| !is_filler(*c)).map(narrow);
    kept.filter(|c| *c != '-').collect()
}

fn is_filler(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2010}'..='\u{2015}' | '\u{2060}' | '\u{FEFF}')
}

/// A typed ID number in its 18 characters; `None` if it is none.
pub(super) fn id_number(site: &Site, typed: &str) -> Option<String> {
    let today = citycode_policy_file::local_date(&site.policy, Timestamp(site.now()));
    let number = IdNumber::parse(&plain(typed), today).ok()?;
    String::from_utf8(number.as_bytes().to_vec()).ok()
}

/// A typed serial as a code id, 16 hex digits; `None` if it is none.
pub(super) fn code_id(typed: &str) -> Option<String> {
    let plain = plain(typed).to_ascii_lowercase();
    (plain.len() == 16 && plain.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(plain)
}

/// A code id as print sheets show it.
pub(super) fn serial(code_id: &str) -> String {
    let upper = code_id.to_ascii_uppercase();
    let groups: Vec<&str> = upper
        .as_bytes()
        .chunks(4)
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(" ")
}

/// A local time of the policy's zone, such as `2026-11-03 08:14`, in Unix seconds.
pub(super) fn local_time(site: &Site, typed: &str) -> Option<i64> {
    let typed: String = typed.trim().chars().map(narrow).collect();
    let local: DateTime = typed.replace(' ', "T").parse().ok()?;
    Some(site.zone.to_timestamp(local).ok()?.as_second())
}

/// A time in the form that [`local_time`] reads.
pub(super) fn local_input(site: &Site, seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    site.zone.to_datetime(time).strftime("%Y-%m-%d %H:%M").to_string()
}

/// The role or channel of an actor in words.
pub(super) fn actor(f: &Frame<'_>, role: &str) -> String {
    if let Some(channel) = role.strip_prefix("channel:") {
        return f
            .site
            .policy
            .channel(channel)
            .map_or_else(|| channel.to_owned(), |channel| f.label(&channel.label));
    }
    let id = format!("identity-{}", role.replace('_', "-"));
    f.site
        .words
        .find(f.language(), &id, &[])
        .unwrap_or_else(|| role.to_owned())
}

/// The label of a place; its name if the policy has none.
pub(super) fn place(f: &Frame<'_>, name: &str) -> String {
    f.site
        .policy
        .place(name)
        .map_or_else(|| name.to_owned(), |place| f.label(&place.label))
}

/// A kind of code, or the ID card, in words.
pub(super) fn kind(f: &Frame<'_>, name: &str) -> String {
    match name {
        "" => f.t("ops-kind-unread"),
        "id_card" => f.t("ops-kind-id-card"),
        name => f.kind(name),
    }
}

/// Texts joined as a list of the language.
pub(super) fn listed(f: &Frame<'_>, texts: &[String]) -> String {
    match f.language() {
        Language::Chinese => texts.join("、"),
        Language::English => texts.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_serial_is_found_as_printed_pasted_or_full_width() {
        for typed in [
            "A1B2 C3D4 E5F6 0718",
            "a1b2c3d4e5f60718",
            " a1b2-c3d4-e5f6-0718\u{200B}",
            "Ａ１Ｂ２　Ｃ３Ｄ４　Ｅ５Ｆ６　０７１８",
        ] {
            assert_eq!(code_id(typed).as_deref(), Some("a1b2c3d4e5f60718"), "{typed}");
        }
        for typed in [
            "",
            "a1b2c3d4e5f6071",
            "a1b2c3d4e5f607180",
            "g1b2c3d4e5f60718",
            "<script>alert(1)",
        ] {
            assert_eq!(code_id(typed), None, "{typed}");
        }
        assert_eq!(serial("a1b2c3d4e5f60718"), "A1B2 C3D4 E5F6 0718");
    }
}
