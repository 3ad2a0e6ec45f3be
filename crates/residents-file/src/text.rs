//! Decodes bytes into text: determines the encoding of a file, and the lines that are not valid in it.
//!
//! The encoding is that of the byte order mark, otherwise the one that the caller names, otherwise UTF-8, or GB18030 if
//! no line with non-ASCII characters is valid UTF-8. A line that is not valid in the file's encoding is reported; the
//! other lines are never decoded in another encoding because of it: `刘备` in UTF-8 is also valid GB18030, and wrong.

use std::collections::BTreeSet;

use encoding_rs::{Encoding, GB18030, UTF_8, UTF_16BE, UTF_16LE};

use crate::ResidentsFileError;

/// How the encoding was determined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecidedBy {
    /// By the file's byte order mark.
    Mark,
    /// By the caller.
    Caller,
    /// By the content: the lines are valid in it. They may be valid in other encodings too.
    Content,
}

/// The decoded text of a file, in which every line end is `\n`.
#[derive(Debug)]
pub struct Text {
    /// The text, without its byte order mark. Bytes that are not valid in the encoding became U+FFFD.
    pub text: String,
    /// The encoding.
    pub encoding: &'static Encoding,
    /// How the encoding was determined.
    pub decided_by: DecidedBy,
    /// The lines, counted from 1, that contain bytes which are not valid in the encoding.
    pub bad_lines: BTreeSet<u64>,
}

/// Decodes the bytes of a file. `named` is the encoding that the caller names.
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
    // Files that were concatenated by hand may begin with two marks.
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

/// Decodes as UTF-8 or as GB18030; refuses the file if some of its lines indicate UTF-8 and others GB18030.
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
        // GB18030 text may by chance be valid UTF-8 of two bytes a character, which is below U+0800; valid UTF-8 of
        // three bytes a character hardly occurs by chance.
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

/// Splits the bytes at line ends before it decodes them. This is correct because in every encoding of the WHATWG
/// Encoding Standard except UTF-16 no byte of a multi-byte character is CR or LF.
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
        // A decoder may produce a line end from other bytes; it must not count as a line end of the file.
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
