//! What a card reader types: an attested reading of a resident ID card.
//!
//! ```text
//! reading  = signed ";" mac
//! signed   = "CARD1;" ID number ";" name ";" time        time: Unix seconds, decimal
//! mac      = 64 hex digits: HMAC-SHA-256 of `signed` (UTF-8) under the reader's key
//! ```
//! The name may be empty if the card has none that the reader can type. A reading is valid for 60 s, and is used once.

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

/// What every reading begins with.
pub(super) const MARK: &str = "CARD1;";
/// How old a reading may be, in seconds.
pub(super) const MAX_AGE_SECONDS: i64 = 60;
/// How far a reader's clock may be ahead, in seconds.
const MAX_AHEAD_SECONDS: i64 = 5;
/// Longest text that is looked at: a reading is about 170 bytes, and some readers type it twice.
const MAX_BYTES: usize = 1_024;
const MAC_DIGITS: usize = 64;

/// A genuine, fresh reading.
pub(super) struct Reading {
    /// ID number, unchecked. Personal.
    pub(super) id_number: String,
    /// Name, unchecked; `None` if the reader gave none. Personal.
    pub(super) name: Option<String>,
    /// When the card was read, in Unix seconds.
    pub(super) read_at: i64,
    /// Its HMAC: identifies the reading.
    pub(super) mac: Vec<u8>,
}

/// Why a reading is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotAccepted {
    /// It is not a reading, or characters were lost on the way, or the key is another one.
    Unreadable,
    /// It is older than [`MAX_AGE_SECONDS`], or from the future.
    Old,
}

/// Checks what a reader typed at `now` (Unix seconds).
///
/// # Errors
/// [`NotAccepted`].
pub(super) fn check(typed: &str, key: &[u8], now: i64) -> Result<Reading, NotAccepted> {
    let typed = typed.trim();
    if typed.len() > MAX_BYTES {
        return Err(NotAccepted::Unreadable);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    // An input method may have replaced semicolons and digits by their full-width forms.
    let plain: Zeroizing<String> = Zeroizing::new(typed.chars().map(half_width).collect());
    let reading = parse(typed, &key).or_else(|| parse(&plain, &key));
    let reading = reading.ok_or(NotAccepted::Unreadable)?;
    let age = now.saturating_sub(reading.read_at);
    if (-MAX_AHEAD_SECONDS..=MAX_AGE_SECONDS).contains(&age) {
        Ok(reading)
    } else {
        Err(NotAccepted::Old)
    }
}

fn parse(typed: &str, key: &hmac::Key) -> Option<Reading> {
    let semicolons = typed.match_indices(';').map(|(at, _)| at);
    let signed_end = semicolons.take(4).nth(3)?;
    let signed = typed.get(..signed_end)?;
    let end = signed_end + 1 + MAC_DIGITS;
    let mac = HEXLOWER_PERMISSIVE
        .decode(typed.get(signed_end + 1..end)?.as_bytes())
        .ok()?;
    let first = typed.get(..end)?;
    // Some readers type twice; anything else that follows is not ours.
    let rest = typed.get(end..)?.trim_start();
    if !rest.is_empty() && rest != first {
        return None;
    }
    hmac::verify(key, signed.as_bytes(), &mac).ok()?;
    let mut fields = signed.strip_prefix(MARK)?.split(';');
    let (id_number, name, time) = (fields.next()?, fields.next()?.trim(), fields.next()?);
    Some(Reading {
        id_number: id_number.to_owned(),
        name: Some(name.to_owned()).filter(|name| !name.is_empty()),
        read_at: time.parse().ok()?,
        mac,
    })
}

/// The plain form of a full-width character.
pub(super) fn half_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        c => c,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    pub(in crate::kiosk) const KEY: &[u8] = b"the key of a card reader in tests";
    const NOW: i64 = 1_790_000_000;

    pub(in crate::kiosk) fn reading(id_number: &str, name: &str, read_at: i64, key: &[u8]) -> String {
        let signed = format!("CARD1;{id_number};{name};{read_at}");
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        format!("{signed};{}", HEXLOWER.encode(mac.as_ref()))
    }

    fn genuine() -> String {
        reading("11010519491231002X", "王秀英", NOW - 3, KEY)
    }

    #[test]
    fn a_genuine_reading_gives_number_and_name() {
        let read = check(&genuine(), KEY, NOW).expect("genuine");
        assert_eq!(
            (read.id_number.as_str(), read.name.as_deref()),
            ("11010519491231002X", Some("王秀英"))
        );
        assert_eq!(read.read_at, NOW - 3);
        let nameless = check(&reading("11010519491231002X", "", NOW, KEY), KEY, NOW).expect("genuine");
        assert_eq!(nameless.name, None);
    }

    #[test]
    fn the_documented_format_stays_as_it_is() {
        // Computed with `printf %s 'CARD1;11010519491231002X;王秀英;1790000000' | openssl dgst -sha256 -hmac secret`.
        let fixed = "CARD1;11010519491231002X;王秀英;1790000000;\
            a84ae4e5e2c7468d5a4570fed127737253d2244bdbfdc055e853fee4f3fdbe42";
        check(fixed, b"secret", NOW).expect("the reading of another program");
    }

    #[test]
    fn only_readings_of_the_last_minute_are_accepted() {
        for (read_at, accepted) in [
            (NOW, true),
            (NOW - 60, true),
            (NOW - 61, false),
            (NOW + 5, true),
            (NOW + 6, false),
            (i64::MAX, false),
        ] {
            let read = check(&reading("11010519491231002X", "", read_at, KEY), KEY, NOW).map(drop);
            assert_eq!(read, if accepted { Ok(()) } else { Err(NotAccepted::Old) }, "{read_at}");
        }
    }

    #[test]
    fn a_changed_shortened_or_foreign_reading_is_refused() {
        let genuine = genuine();
        let mut refused = vec![
            genuine.replace("王秀英", "王秀兰"),
            genuine.replace("1949", "1948"),
            genuine.replace("CARD1", "CARD2"),
            format!("{genuine}0"),
            "11010519491231002X".to_owned(),
            String::new(),
            "C".repeat(MAX_BYTES + 1),
        ];
        let ends = genuine.char_indices().map(|(at, _)| at);
        refused.extend(ends.map(|end| genuine[..end].to_owned()));
        for text in &refused {
            let read = check(text, KEY, NOW).map(drop);
            assert_eq!(read, Err(NotAccepted::Unreadable), "{text}");
        }
        let foreign = check(&genuine, b"the key of another city", NOW).map(drop);
        assert_eq!(foreign, Err(NotAccepted::Unreadable));
    }

    #[test]
    fn a_reader_that_types_twice_or_through_an_input_method_is_understood() {
        let genuine = genuine();
        let wide = genuine.replace(';', "；").replace('1', "１");
        for typed in [
            format!("{genuine}{genuine}"),
            format!(" {genuine}\r\n{genuine}\r\n"),
            wide,
        ] {
            let read = check(&typed, KEY, NOW).expect("one reading");
            assert_eq!(read.id_number, "11010519491231002X");
        }
    }
}
