//! The text in a QR: a prefix and Base45 (RFC 9285), which fits the symbol's alphanumeric mode.
//!
//! ```text
//! token        = "CC1:"  base45( CWT )
//! presentation = "CC1P:" base45( CWT proof )        a CBOR sequence of two COSE_Sign1
//! ```
//! Decoding is our own, by table into a buffer on the stack: the crate `base45` allocates, and takes a last pair
//! that stands for more than one byte. Tests hold the two against each other. No text ends in a space (the last
//! character of a group is at most `W`), so trimming never takes part of a token.

use sha2::{Digest, Sha256};

use crate::sign1::Sign1;
use crate::verify::{CwtDigest, TokenError};
use crate::{MAX_CWT_LEN, MAX_PROOF_LEN, MAX_SCAN_LEN};

/// What a token's text begins with.
pub const TOKEN_PREFIX: &str = "CC1:";
/// What a presentation's text begins with: a token and a phone's proof.
pub const PRESENTATION_PREFIX: &str = "CC1P:";

const MAX_BYTES: usize = MAX_CWT_LEN + MAX_PROOF_LEN;
/// Marks what is not of the alphabet.
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

/// A scan, read but not checked: the token's bytes and, in a presentation, the proof's. Without heap.
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
    /// Reads a scan's text; white space and a scanner's framing around it and its letters' case do not matter.
    ///
    /// # Errors
    /// [`TokenError::Unreadable`] for anything that is no token and no presentation.
    pub fn read(text: &str) -> Result<Self, TokenError> {
        let mut buffer = [0; MAX_SCAN_LEN];
        let canonical = canonical_scan(text, &mut buffer).ok_or(TokenError::Unreadable)?;
        Self::read_canonical(canonical)
    }

    /// Reads what [`canonical_scan`] gave.
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

    /// The phone's proof, where one was shown.
    #[must_use]
    pub fn proof(&self) -> Option<&[u8]> {
        Some(&self.bytes[self.cwt_len..self.len]).filter(|proof| !proof.is_empty())
    }

    /// SHA-256 of the token: the key of a memory of tokens seen that presentations share.
    #[must_use]
    pub fn cwt_digest(&self) -> CwtDigest {
        CwtDigest(Sha256::digest(self.cwt()).into())
    }
}

/// Length of an AIM symbology identifier (ISO/IEC 15424): `]`, a letter for the symbology, one modifier.
const SYMBOLOGY_ID_LENGTH: usize = 3;

/// Whether a scanner may put this character around what it read: NUL, STX, ETX, EOT and the separators FS, GS, RS, US
/// of ISO/IEC 15434.
#[must_use]
pub fn is_framing(character: char) -> bool {
    matches!(character, '\0' | '\u{2}'..='\u{4}' | '\u{1c}'..='\u{1f}')
}

/// A scan without what scanners put around it: framing characters, white space, and the symbology identifier that many
/// are set to send first, e.g. `]Q1` for a QR code. No token begins with `]`, which Base45 does not have.
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

/// The one spelling of a scan: without a scanner's framing and white space around it, and in capitals; the key of a
/// memory of texts seen.
/// `None` for what is longer than the buffer (no scan is longer than [`MAX_SCAN_LEN`]) or not ASCII, which is no token.
pub fn canonical_scan<'a>(text: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let text = without_framing(text).as_bytes();
    let out = buffer.get_mut(..text.len())?;
    out.copy_from_slice(text);
    out.make_ascii_uppercase();
    out.is_ascii().then_some(&*out)
}

/// Decodes Base45 strictly (RFC 9285 §4.2): a group over 0xFFFF, a pair over 0xFF or a single character is refused.
fn decode(encoded: &[u8], out: &mut [u8]) -> Option<usize> {
    let (groups, rest) = encoded.as_chunks::<3>();
    let len = groups.len() * 2 + usize::from(rest.len() == 2);
    let out = out.get_mut(..len)?;
    let value = |character: u8| u32::from(VALUES[usize::from(character)]);
    // Errors are gathered and looked at once: a character outside the alphabet sets the high bit.
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

    fn ours(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = [0; MAX_BYTES];
        decode(text, &mut out).map(|len| out[..len].to_vec())
    }

    #[test]
    fn a_scanners_framing_does_not_matter_and_nothing_inside_is_touched() {
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
        assert_eq!(ours(b"BB8").as_deref(), Some(&b"AB"[..]));
        assert_eq!(ours(b"%69 VD92EX0").as_deref(), Some(&b"Hello!!"[..]));
        assert_eq!(ours(b"UJCLQE7W581").as_deref(), Some(&b"base-45"[..]));
        assert_eq!(ours(b"QED8WEX0").as_deref(), Some(&b"ietf!"[..]));
        assert_eq!(ours(b"FGW").as_deref(), Some(&[0xFF, 0xFF][..]));
        assert_eq!(ours(b"GGW"), None, "one more than 0xFFFF");
        assert_eq!(ours(b"U5").as_deref(), Some(&[0xFF][..]));
        assert_eq!(ours(b"V5"), None, "one more than 0xFF");
        assert_eq!(ours(b"0"), None);
        assert_eq!(ours(b"a00"), None);
    }

    proptest! {
        #[test]
        fn what_the_crate_writes_we_read(bytes in proptest::collection::vec(any::<u8>(), 0..MAX_BYTES)) {
            let text = base45::encode(&bytes);
            prop_assert!(!text.ends_with(' '), "trimming takes nothing of a token");
            prop_assert_eq!(ours(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn we_read_what_the_crate_reads_if_it_would_write_it_so(text in "[0-9A-Za-c $%*+./:~\u{e9}-]{0,12}") {
            let theirs = base45::decode(&text).ok().filter(|bytes| base45::encode(bytes) == text);
            prop_assert_eq!(ours(text.as_bytes()), theirs);
        }
    }
}
