//! Splits the output of scanners and pipes into scans, one per line.
//!
//! ```text
//! LINE END   = LF / CR / CR LF
//! UTF-16     = byte order mark FF FE or FE FF at the very start, else the bytes are UTF-8
//! ```
//! No input is an error. A line that is not UTF-8 is still a scan and contains U+FFFD, which no code contains, so that
//! it is answered as unreadable; the same holds for a line longer than [`MAX_LINE_BYTES`]. A line that consists only of
//! a scanner's framing (STX, ETX, NUL and the like) is not a scan. The server strips the framing around a scan.

use citycode_token::is_framing;

/// Longest complete line in bytes. The largest QR symbol contains 7,089 digits (ISO/IEC 18004).
pub const MAX_LINE_BYTES: usize = 8_192;

/// Splits bytes into scans. The caller passes the input in pieces to [`Self::push`], then calls [`Self::finish`].
#[derive(Debug, Default)]
pub struct ScanLines {
    encoding: Encoding,
    line: Vec<u8>,
    too_long: bool,
    after_cr: bool,
    zeros_inside: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum Encoding {
    /// Nothing was read.
    #[default]
    Unknown,
    /// The first byte of a possible byte order mark.
    PartialMark(u8),
    /// Unconverted bytes.
    Utf8,
    /// Units of two bytes; `half` is the first byte of an incomplete unit.
    Utf16 { little_endian: bool, half: Option<u8> },
}

impl ScanLines {
    /// Takes a piece of the input and passes each scan that ends in it to `take`.
    pub fn push(&mut self, bytes: &[u8], mut take: impl FnMut(String)) {
        for byte in bytes {
            self.byte(*byte, &mut take);
        }
    }

    /// Ends the input. Passes the last line to `take` if no line end follows it.
    pub fn finish(&mut self, mut take: impl FnMut(String)) {
        match self.encoding {
            Encoding::PartialMark(first) => self.text_byte(first, &mut take),
            Encoding::Utf16 { half: Some(_), .. } => self.line.push(0xFF),
            _ => {}
        }
        if !self.line.is_empty() {
            self.end_line(&mut take);
        }
    }

    /// Whether lines contained zero bytes, like text in UTF-16 without a byte order mark.
    #[must_use]
    pub fn looks_like_utf16(&self) -> bool {
        self.zeros_inside
    }

    fn byte(&mut self, byte: u8, take: &mut impl FnMut(String)) {
        match self.encoding {
            Encoding::Unknown if byte == 0xFF || byte == 0xFE => self.encoding = Encoding::PartialMark(byte),
            Encoding::Unknown => {
                self.encoding = Encoding::Utf8;
                self.text_byte(byte, take);
            }
            Encoding::PartialMark(first) if first ^ byte == 1 => {
                self.encoding = Encoding::Utf16 {
                    little_endian: first == 0xFF,
                    half: None,
                }
            }
            Encoding::PartialMark(first) => {
                self.encoding = Encoding::Utf8;
                self.text_byte(first, take);
                self.text_byte(byte, take);
            }
            Encoding::Utf8 => self.text_byte(byte, take),
            Encoding::Utf16 {
                little_endian,
                half: Some(first),
            } => {
                self.encoding = Encoding::Utf16 {
                    little_endian,
                    half: None,
                };
                let unit = if little_endian {
                    u16::from_le_bytes([first, byte])
                } else {
                    u16::from_be_bytes([first, byte])
                };
                // No code contains a surrogate pair, so one becomes two replacement characters.
                let character = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
                let mut encoded = [0; 4];
                for byte in character.encode_utf8(&mut encoded).bytes() {
                    self.text_byte(byte, take);
                }
            }
            Encoding::Utf16 {
                little_endian,
                half: None,
            } => {
                self.encoding = Encoding::Utf16 {
                    little_endian,
                    half: Some(byte),
                }
            }
        }
    }

    fn text_byte(&mut self, byte: u8, take: &mut impl FnMut(String)) {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            b'\n' if after_cr => {}
            // CR ends a line at once, so that a scanner that sends only CR is answered without waiting for LF.
            b'\n' | b'\r' => self.end_line(take),
            _ if self.line.len() < MAX_LINE_BYTES => self.line.push(byte),
            _ => self.too_long = true,
        }
    }

    fn end_line(&mut self, take: &mut impl FnMut(String)) {
        let mut text = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if std::mem::take(&mut self.too_long) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        let scan = text.trim_matches(is_framing);
        self.zeros_inside |= scan.contains('\0');
        if text.is_empty() || !scan.is_empty() {
            take(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scans in these bytes, passed in pieces of this size.
    fn scans(bytes: &[u8], piece: usize) -> Vec<String> {
        let (mut lines, mut found) = (ScanLines::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            lines.push(piece, |scan| found.push(scan));
        }
        lines.finish(|scan| found.push(scan));
        found
    }

    fn assert_scans(bytes: &[u8], expected: &[&str]) {
        for piece in [1, 2, 3, 1_000] {
            assert_eq!(scans(bytes, piece), expected, "{bytes:?} in pieces of {piece}");
        }
    }

    #[test]
    fn every_line_end_ends_one_line() {
        assert_scans(b"A\nB\r\nC\rD", &["A", "B", "C", "D"]);
        assert_scans(b"A\n\nB\r\n\r\nC\r\r", &["A", "", "B", "", "C", ""]);
        assert_scans(b"", &[]);
    }

    #[test]
    fn a_carriage_return_ends_the_line_at_once() {
        let (mut lines, mut found) = (ScanLines::default(), Vec::new());
        lines.push(b"A\r", |scan| found.push(scan));
        assert_eq!(found, ["A"]);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_a_scan_and_does_not_end_the_input() {
        assert_scans(b"A\nGR\xF6sse\nB\n", &["A", "GR\u{FFFD}sse", "B"]);
        assert_scans(b"\xFF\nA\n", &["\u{FFFD}", "A"]);
        assert_scans(b"\xFF", &["\u{FFFD}"]);
    }

    #[test]
    fn utf16_is_decoded_with_a_mark_and_detected_without() {
        for (mark, bytes) in [
            ([0xFF, 0xFE], u16::to_le_bytes as fn(u16) -> [u8; 2]),
            ([0xFE, 0xFF], u16::to_be_bytes),
        ] {
            let units = "CC1:A\r\nB\u{1F600}\n".encode_utf16().flat_map(bytes);
            let text: Vec<u8> = mark.into_iter().chain(units).collect();
            assert_scans(&text, &["CC1:A", "B\u{FFFD}\u{FFFD}"]);
        }
        let mut lines = ScanLines::default();
        lines.push(b"C\0C\x001\0\n\0", |_| {});
        assert!(lines.looks_like_utf16());
        let mut lines = ScanLines::default();
        lines.push(b"\0CC1\0\n", |_| {});
        assert!(!lines.looks_like_utf16(), "NUL as framing is not UTF-16");
    }

    #[test]
    fn a_line_of_framing_only_is_not_a_scan() {
        assert_scans(b"\x02A\n\x03\x02B\n\x03", &["\x02A", "\x03\x02B"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_truncated_and_marked() {
        let long = [vec![b'A'; MAX_LINE_BYTES + 1], b"\nB".to_vec()].concat();
        let found = scans(&long, 1_000);
        assert_eq!(found.len(), 2);
        assert!(found[0].ends_with("A\u{FFFD}") && found[0].len() == MAX_LINE_BYTES + 3);
        assert_eq!(found[1], "B");
    }
}
