//! The text of a QR code: a prefix and Base45 (RFC 9285), which fits the symbol's alphanumeric mode.
//!
//! ```text
//! token        = "CC1:"  base45( CWT )
//! presentation = "CC1P:" base45( CWT proof )        a CBOR sequence of two COSE_Sign1
//! ```
//! This module has its own decoder, by table into a buffer on the stack: the crate `base45` allocates, and
//! accepts a last pair that encodes more than one byte. Tests compare the two. No text ends in a space (the
//! last character of a group is at most `W`), so trimming never removes part of a token.

use sha2::{Digest, Sha256};

use crate::sign1::Sign1;
use crate::verify::{CwtDigest, TokenError};
use crate::{MAX_CWT_LEN, MAX_PROOF_LEN, MAX_SCAN_LEN};

/// The prefix of a token's text.
pub const TOKEN_PREFIX: &str = "CC1:";
/// The prefix of a presentation's text: a token and a phone's proof.
pub const PRESENTATION_PREFIX: &str = "CC1P:";

const MAX_BYTES: usize = MAX_CWT_LEN + MAX_PROOF_LEN;
/// Marks characters outside the alphabet.
const NONE: u8 = 0xFF;
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 45u8 {
        values[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    values
}

/// A parsed but unverified scan: the token's bytes and, for a presentation, the proof's. It uses no heap.
#[derive(Clone)]
pub struct Scan {
    bytes: [u8; MAX_BYTES],
    cwt_len: usize,
    len: usize,
}

impl core::fmt::Debug for Scan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Scan({} + {} bytes)", self.cwt_len, self.len - self.cwt_len)
    }
}

impl Scan {
    /// Parses a scanned text. Surrounding white space, a scanner's framing and letter case are ignored.
    ///
    /// # Errors
    /// [`TokenError::Unreadable`] if the text is neither a token nor a presentation.
    pub fn read(text: &str) -> Result<Self, TokenError> {
        let mut buffer = [0; MAX_SCAN_LEN];
        let canonical = canonical_scan(text, &mut buffer).ok_or(TokenError::Unreadable)?;
        Self::read_canonical(canonical)
    }

    /// Parses the result of [`canonical_scan`].
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_canonical(canonical: &[u8]) -> Result<Self, TokenError> {
        Self::parse(canonical).ok_or(TokenError::Unreadable)
    }

    fn parse(canonical: &[u8]) -> Option<Self> {
        let (encoded, with_proof) = match canonical.strip_prefix(TOKEN_PREFIX.as_bytes()) {
            Some(encoded) => (encoded, false),
            None => (canonical.strip_prefix(PRESENTATION_PREFIX.as_bytes())?, true),
        };
        let mut bytes = [0; MAX_BYTES];
        let len = decode(encoded, &mut bytes)?;
        let cwt_len = Sign1::read(&bytes[..len])?.len;
        let proof_len = len - cwt_len;
        let fits = cwt_len <= MAX_CWT_LEN && proof_len <= MAX_PROOF_LEN && (proof_len > 0) == with_proof;
        fits.then_some(Self { bytes, cwt_len, len })
    }

    /// The token.
    #[must_use]
    pub fn cwt(&self) -> &[u8] {
        &self.bytes[..self.cwt_len]
    }

    /// The phone's proof, if one was shown.
    #[must_use]
    pub fn proof(&self) -> Option<&[u8]> {
        Some(&self.bytes[self.cwt_len..self.len]).filter(|proof| !proof.is_empty())
    }

    /// SHA-256 of the token: the key of a cache of verified tokens, which presentations of the same token
    /// share.
    #[must_use]
    pub fn cwt_digest(&self) -> CwtDigest {
        CwtDigest(Sha256::digest(self.cwt()).into())
    }
}

/// Length of an AIM symbology identifier (ISO/IEC 15424): `]`, a letter for the symbology, one modifier.
const SYMBOLOGY_ID_LENGTH: usize = 3;

/// Whether a scanner may add this character around its data: NUL, STX, ETX, EOT and the separators FS, GS, RS,
/// US of ISO/IEC 15434.
#[must_use]
pub fn is_framing(character: char) -> bool {
    matches!(character, '\0' | '\u{2}'..='\u{4}' | '\u{1c}'..='\u{1f}')
}

/// Removes what scanners add around the data: framing characters, white space, and the symbology identifier
/// that many scanners send first, e.g. `]Q1` for a QR code. No token begins with `]`, which is not in the
/// Base45 alphabet.
fn without_framing(text: &str) -> &str {
    let around = |c: char| c.is_whitespace() || c == '\u{feff}' || is_framing(c);
    let text = text.trim_matches(around);
    match text.as_bytes() {
        [b']', symbology, modifier, ..] if symbology.is_ascii_alphabetic() && modifier.is_ascii_alphanumeric() => {
            text[SYMBOLOGY_ID_LENGTH..].trim_start_matches(around)
        }
        _ => text,
    }
}

/// The canonical form of a scan: without surrounding white space and framing, and in upper case. It is the key
/// of a cache of scanned texts. `None` if the text is longer than the buffer (no scan is longer than
/// [`MAX_SCAN_LEN`]) or not ASCII, so that it cannot be a token.
pub fn canonical_scan<'a>(text: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let text = without_framing(text).as_bytes();
    let out = buffer.get_mut(..text.len())?;
    out.copy_from_slice(text);
    out.make_ascii_uppercase();
    out.is_ascii().then_some(&*out)
}

/// Decodes Base45 strictly (RFC 9285 §4.2): a group over 0xFFFF, a pair over 0xFF and a single trailing
/// character are refused.
fn decode(encoded: &[u8], out: &mut [u8]) -> Option<usize> {
    let (groups, rest) = encoded.as_chunks::<3>();
    let len = groups.len() * 2 + usize::from(rest.len() == 2);
    let out = out.get_mut(..len)?;
    let value = |character: u8| u32::from(VALUES[usize::from(character)]);
    // Errors are accumulated and checked once: a character outside the alphabet sets the high bit.
    let mut bad = 0u32;
    let (pairs, last) = out.as_chunks_mut::<2>();
    for (group, pair) in groups.iter().zip(pairs) {
        let (low, middle, high) = (value(group[0]), value(group[1]), value(group[2]));
        let sum = low + middle * 45 + high * 2025;
        bad |= ((low | middle | high) & 0x80) | (sum >> 16);
        let [_, _, first, second] = sum.to_be_bytes();
        *pair = [first, second];
    }
    match (rest, last) {
        ([], _) => {}
        ([low, high], [byte]) => {
            let (low, high) = (value(*low), value(*high));
            let sum = low + high * 45;
            bad |= ((low | high) & 0x80) | (sum >> 8);
            *byte = sum.to_be_bytes()[3];
        }
        _ => return None,
    }
    (bad == 0).then_some(len)
}

pub(crate) fn write_token(cwt: &[u8]) -> String {
    let mut text = String::from(TOKEN_PREFIX);
    text.push_str(&base45::encode(cwt));
    text
}

pub(crate) fn write_presentation(cwt: &[u8], proof: &[u8]) -> String {
    let mut text = String::from(PRESENTATION_PREFIX);
    text.push_str(&base45::encode([cwt, proof].concat()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = [0; MAX_BYTES];
        decode(text, &mut out).map(|len| out[..len].to_vec())
    }

    #[test]
    fn framing_by_a_scanner_is_removed_and_the_content_is_unchanged() {
        let canonical = |text: &str| {
            let mut buffer = [0; MAX_SCAN_LEN];
            canonical_scan(text, &mut buffer).map(<[u8]>::to_vec)
        };
        for framed in [
            "]Q1CC1:AB",
            "]d2cc1:ab\r\n",
            "\u{2}CC1:AB\u{3}",
            "\u{2}]Q3\u{1d}CC1:AB\u{3}\r",
            "\0CC1:AB\0",
            "\u{1d}CC1:AB\u{1d}",
            "\u{feff}]Q1 CC1:AB\u{1e}\u{4}",
        ] {
            assert_eq!(canonical(framed).as_deref(), Some(&b"CC1:AB"[..]), "{framed:?}");
        }
        for (text, expected) in [
            ("CC1:A\0B", "CC1:A\0B"),
            ("]]Q1CC1:AB", "]]Q1CC1:AB"),
            ("]Q1]Q1CC1:AB", "]Q1CC1:AB"),
            ("]Q", "]Q"),
            ("]Q1", ""),
            ("", ""),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected.as_bytes()), "{text:?}");
        }
        assert_eq!(canonical("]Qé"), None);
    }

    #[test]
    fn the_examples_of_rfc_9285() {
        assert_eq!(decoded(b"BB8").as_deref(), Some(&b"AB"[..]));
        assert_eq!(decoded(b"%69 VD92EX0").as_deref(), Some(&b"Hello!!"[..]));
        assert_eq!(decoded(b"UJCLQE7W581").as_deref(), Some(&b"base-45"[..]));
        assert_eq!(decoded(b"QED8WEX0").as_deref(), Some(&b"ietf!"[..]));
        assert_eq!(decoded(b"FGW").as_deref(), Some(&[0xFF, 0xFF][..]));
        assert_eq!(decoded(b"GGW"), None, "one more than 0xFFFF");
        assert_eq!(decoded(b"U5").as_deref(), Some(&[0xFF][..]));
        assert_eq!(decoded(b"V5"), None, "one more than 0xFF");
        assert_eq!(decoded(b"0"), None);
        // A character outside the alphabet is refused at every place of a group and of a pair.
        for text in ["a00", "0a0", "00a", "aa0", "a0", "0a"] {
            assert_eq!(decoded(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_buffers_hold_exactly_the_longest_presentation() {
        let longest = write_presentation(&[0; MAX_CWT_LEN], &[0; MAX_PROOF_LEN]);
        assert_eq!(longest.len(), MAX_SCAN_LEN);
        let encoded = &longest.as_bytes()[PRESENTATION_PREFIX.len()..];
        assert_eq!(
            decoded(encoded).map(|bytes| bytes.len()),
            Some(MAX_CWT_LEN + MAX_PROOF_LEN)
        );
        assert_eq!(decoded(&[encoded, b"00"].concat()), None, "one byte more");
    }

    proptest! {
        #[test]
        fn texts_of_the_base45_crate_are_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..MAX_BYTES)) {
            let text = base45::encode(&bytes);
            prop_assert!(!text.ends_with(' '), "trimming removes nothing of a token");
            prop_assert_eq!(decoded(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn canonical_texts_are_decoded_as_by_the_base45_crate(text in "[0-9A-Za-c $%*+./:~\u{e9}-]{0,12}") {
            let theirs = base45::decode(&text).ok().filter(|bytes| base45::encode(bytes) == text);
            prop_assert_eq!(decoded(text.as_bytes()), theirs);
        }
    }
}
