//! From bytes to text: which encoding a file is in, and which of its lines are not in it.
//!
//! An encoding is decided by the byte order mark, else by the caller, else strictly: UTF-8, or GB18030 where no line
//! beyond ASCII is UTF-8. A line that is not in the file's encoding is named; good lines are never read as another
//! encoding for its sake, since `刘备` in UTF-8 is also readable, and wrong, as GB18030.

use std::collections::BTreeSet;

use encoding_rs::{Encoding, GB18030, UTF_8, UTF_16BE, UTF_16LE};

use crate::ResidentsFileError;

/// How an encoding was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecidedBy {
    /// The file's byte order mark.
    Mark,
    /// The caller.
    Caller,
    /// Every line of the file is in it, and it is not the only encoding for which that may hold.
    Content,
}

/// A file's text with one kind of line end, `\n`.
#[derive(Debug)]
pub struct Text {
    /// The text, without its byte order mark. Bytes that are not in the encoding stand as U+FFFD.
    pub text: String,
    /// The encoding.
    pub encoding: &'static Encoding,
    /// How it was found.
    pub decided_by: DecidedBy,
    /// The lines, counted from 1, that hold bytes which are not in the encoding.
    pub bad_lines: BTreeSet<u64>,
}

/// Reads bytes as text.
///
/// # Errors
/// [`ResidentsFileError::Spreadsheet`], [`ResidentsFileError::Encoding`], [`ResidentsFileError::MixedEncodings`],
/// [`ResidentsFileError::NulBytes`].
pub fn read_text(bytes: &[u8], named: Option<&'static Encoding>) -> Result<Text, ResidentsFileError> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(ResidentsFileError::Spreadsheet("xlsx"));
    }
    if bytes.starts_with(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") {
        return Err(ResidentsFileError::Spreadsheet("xls"));
    }
    let mut unmarked = bytes;
    // Files joined by hand begin with two marks.
    while let Some(rest) = unmarked.strip_prefix(b"\xEF\xBB\xBF") {
        unmarked = rest;
    }
    if unmarked.len() < bytes.len() {
        return Ok(by_lines(unmarked, UTF_8, DecidedBy::Mark));
    }
    for (mark, encoding) in [(b"\xFF\xFE", UTF_16LE), (b"\xFE\xFF", UTF_16BE)] {
        if let Some(rest) = bytes.strip_prefix(mark) {
            return utf_16(rest, encoding, DecidedBy::Mark);
        }
    }
    match named {
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => utf_16(bytes, encoding, DecidedBy::Caller),
        Some(encoding) => Ok(by_lines(bytes, encoding, DecidedBy::Caller)),
        None if bytes.contains(&0) => Err(ResidentsFileError::NulBytes),
        None => by_content(bytes),
    }
}

/// UTF-8 or GB18030, and neither where lines speak for both.
fn by_content(bytes: &[u8]) -> Result<Text, ResidentsFileError> {
    let text = by_lines(bytes, UTF_8, DecidedBy::Content);
    let Some(first_bad) = text.bad_lines.first().copied() else {
        return Ok(text);
    };
    let is_bad = |(at, _): &(usize, &str)| text.bad_lines.contains(&(*at as u64 + 1));
    let beyond_ascii = text.text.split('\n').enumerate().filter(|line| !is_bad(line));
    let (mut good, mut convincing) = (0_usize, 0_usize);
    for (_, line) in beyond_ascii.filter(|(_, line)| !line.is_ascii()) {
        good += 1;
        // Two characters of GB18030 may happen to be one of two bytes in UTF-8, below U+0800; three bytes hardly.
        convincing += usize::from(line.chars().any(|c| u32::from(c) >= 0x800));
    }
    if convincing >= text.bad_lines.len() {
        return Ok(text);
    }
    if good > 0 {
        return Err(ResidentsFileError::MixedEncodings { line: first_bad });
    }
    let text = by_lines(bytes, GB18030, DecidedBy::Content);
    if text.bad_lines.is_empty() {
        Ok(text)
    } else {
        Err(ResidentsFileError::Encoding)
    }
}

/// Line ends are found before anything is decoded: in every encoding of the standard but UTF-16, no character's
/// later byte is a CR or an LF.
fn by_lines(bytes: &[u8], encoding: &'static Encoding, decided_by: DecidedBy) -> Text {
    let (mut text, mut bad_lines) = (String::with_capacity(bytes.len()), BTreeSet::new());
    let (mut rest, mut number) = (bytes, 1);
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let line = &rest[..end.unwrap_or(rest.len())];
        let (decoded, had_errors) = encoding.decode_without_bom_handling(line);
        if had_errors {
            bad_lines.insert(number);
        }
        // A decoder may yield a line end of its own accord; it must not become one of the file's.
        text.extend(
            decoded
                .chars()
                .map(|c| if matches!(c, '\n' | '\r') { '\u{FFFD}' } else { c }),
        );
        let Some(end) = end else { break };
        text.push('\n');
        let skip = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + skip..];
        number += 1;
    }
    Text {
        text,
        encoding,
        decided_by,
        bad_lines,
    }
}

fn utf_16(bytes: &[u8], encoding: &'static Encoding, decided_by: DecidedBy) -> Result<Text, ResidentsFileError> {
    let text = encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .ok_or(ResidentsFileError::Encoding)?;
    Ok(Text {
        text: text.replace("\r\n", "\n").replace('\r', "\n"),
        encoding,
        decided_by,
        bad_lines: BTreeSet::new(),
    })
}
