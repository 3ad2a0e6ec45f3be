//! What was scanned or typed: a code, or the number of an ID card.

use citycode_wire::proto::verifier::v1::verify_request::Scan;

use uuid::Uuid;

use crate::my::family::id_number;
use crate::site::Site;
use crate::typed::narrow;

/// The text as a scanner sends it: without white space at both ends, and without the full-width forms of a Chinese
/// input method.
pub(crate) fn plain(text: &str) -> String {
    text.trim().chars().map(narrow).collect()
}

/// A scanned or typed text as the verifier takes it: an ID number is that of a card that is shown instead of a code.
pub(crate) fn scan_of(site: &Site, text: &str) -> Scan {
    match id_number(site, text) {
        Ok(number) => Scan::IdCard(number),
        Err(_) => Scan::Code(plain(text)),
    }
}

/// Longest id of a scan that a page sends: a UUID.
const MAX_SCAN_ID_BYTES: usize = 36;

/// A text at an unattended gate. Nobody sees there whether a number was read from a card or typed, and anybody could show
/// another person's number as a QR code, so only a demo takes it for an ID card.
pub(crate) fn unattended_scan_of(site: &Site, text: &str) -> Scan {
    if site.is_demo() {
        scan_of(site, text)
    } else {
        Scan::Code(plain(text))
    }
}

/// The id of a scan as the page sent it; a new one if it sent none that can be used.
pub(crate) fn scan_id(site: &Site, sent: &str) -> String {
    let usable =
        !sent.is_empty() && sent.len() <= MAX_SCAN_ID_BYTES && sent.bytes().all(|byte| byte.is_ascii_graphic());
    if usable {
        sent.to_owned()
    } else {
        Uuid::from_bytes(site.draw()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_width_forms_and_white_space_around_a_text_do_not_matter() {
        assert_eq!(plain(" １２Ａ：　Ｂ\n"), "12A: B");
        assert_eq!(plain("\u{3000}ABC\t"), "ABC");
    }
}
