//! CSV files of residents, as offices send them: UTF-8 with or without a mark, or GB18030 (GBK); quoted fields; any
//! line end. The first line names the columns: `id_number,name[,disability,group]`.
//!
//! Bytes in, rows out, and rejected rows back into bytes. Files and their rights are the command's, and what a
//! row says is the server's to judge. A room of its own, so that hostile files can be tried on it without
//! building the whole program.

mod rejects;

use encoding_rs::GB18030;

pub use rejects::{rejects_header, rejects_row};

/// Largest file in bytes: some two million residents. Bigger ones are imported in parts.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// One row as it stands in the file; what it says is the server's to judge.
#[derive(Clone, PartialEq, Eq)]
pub struct Resident {
    /// Line of the file on which the row begins, from 1; the header is line 1. No two rows share one.
    pub line: u64,
    /// The ID number.
    pub id_number: String,
    /// The name.
    pub name: String,
    /// The certificate column says so.
    pub disability: bool,
    /// The group column.
    pub group: Option<String>,
}

/// A row that cannot be read as one.
#[derive(Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Line of the file on which the row begins, as [`Resident::line`].
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Its fields as they stand, without the white space around them.
    pub fields: Vec<String>,
}

/// Why a file gave no rows at all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResidentsFileError {
    /// More than [`MAX_FILE_BYTES`].
    #[error("it has {0} bytes; at most {MAX_FILE_BYTES} go at once")]
    TooLarge(u64),
    /// The bytes are no text.
    #[error("it is neither UTF-8 nor GB18030 text")]
    Encoding,
    /// The first line lacks a column.
    #[error("its first line names no column `{0}`; it must be id_number,name[,disability,group]")]
    MissingColumn(&'static str),
    /// Not CSV.
    #[error("it is not CSV: {0}")]
    Csv(String),
}

/// Refuses a size before anything is read.
///
/// # Errors
/// [`ResidentsFileError::TooLarge`].
pub fn check_size(bytes: u64) -> Result<(), ResidentsFileError> {
    if bytes > MAX_FILE_BYTES {
        return Err(ResidentsFileError::TooLarge(bytes));
    }
    Ok(())
}

/// Reads a whole file's bytes: every row of it, in order, as a resident or a bad row. Empty lines are no rows.
///
/// # Errors
/// [`ResidentsFileError`].
pub fn parse(bytes: &[u8]) -> Result<Vec<Result<Resident, BadRow>>, ResidentsFileError> {
    check_size(bytes.len() as u64)?;
    parse_text(&decode(bytes).ok_or(ResidentsFileError::Encoding)?)
}

/// The text of bytes in UTF-8 or GB18030; none for anything else. The mark at the start is dropped, and there is one
/// kind of line end, so that lines are counted as people count them: a row that ends in a lone CR (old
/// Macintosh, some exports) would otherwise stand on the same line as the next, and be taken for it.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<String> {
    let mut bytes = bytes;
    // Files joined by hand begin with two marks; the CSV reader would drop a second one behind our back.
    while let Some(rest) = bytes.strip_prefix(b"\xEF\xBB\xBF") {
        bytes = rest;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => GB18030.decode_without_bom_handling_and_without_replacement(bytes)?,
    };
    Some(if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n")
    } else {
        text.into_owned()
    })
}

fn parse_text(text: &str) -> Result<Vec<Result<Resident, BadRow>>, ResidentsFileError> {
    let not_csv = |error: csv::Error| ResidentsFileError::Csv(error.to_string());
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(not_csv)?.clone();
    let column = |name: &str| header.iter().position(|field| field.eq_ignore_ascii_case(name));
    let id_number = column("id_number").ok_or(ResidentsFileError::MissingColumn("id_number"))?;
    let name = column("name").ok_or(ResidentsFileError::MissingColumn("name"))?;
    let (disability, group) = (column("disability"), column("group"));
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(not_csv)?;
        let line = record.position().map_or(0, |position| line_of(text, position));
        let field = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
        let bad = |reason: &str| BadRow {
            line,
            reason: reason.to_owned(),
            fields: record.iter().map(str::to_owned).collect(),
        };
        rows.push(match (record.len() == header.len(), flag(field(disability))) {
            (false, _) => Err(bad("the row has another number of fields than the first line")),
            (_, None) => Err(bad("disability is 1, yes, true, 是, or 0, no, false, 否, or empty")),
            (true, Some(disability)) => Ok(Resident {
                line,
                id_number: field(Some(id_number)).to_owned(),
                name: field(Some(name)).to_owned(),
                disability,
                group: Some(field(group)).filter(|group| !group.is_empty()).map(str::to_owned),
            }),
        });
    }
    Ok(rows)
}

/// The line of a record's first character. What the reader gives stands before the empty lines it skipped.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let from = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| **byte == b'\n').count();
    position.line() + skipped as u64
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "y" | "是" => Some(true),
        "" | "0" | "no" | "false" | "n" | "否" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Vec<String> {
        parse(bytes)
            .unwrap()
            .into_iter()
            .map(|row| row.map_or_else(|bad| bad.reason, |row| row.name))
            .collect()
    }

    fn lines(text: &str) -> Vec<u64> {
        parse(text.as_bytes())
            .unwrap()
            .into_iter()
            .map(|row| row.map_or_else(|bad| bad.line, |row| row.line))
            .collect()
    }

    #[test]
    fn utf_8_with_a_mark_gbk_quotes_and_windows_line_ends_are_read() {
        let text = "id_number,name,disability,group\r\n1,\"张,三\",是,\r\n2,李四,0,veteran\r\n";
        for bytes in [
            [b"\xEF\xBB\xBF".as_slice(), text.as_bytes()].concat(),
            GB18030.encode(text).0.into_owned(),
        ] {
            assert_eq!(names(&bytes), ["张,三", "李四"]);
        }
        let rows = parse(text.as_bytes()).unwrap();
        let first = rows[0].as_ref().ok().unwrap();
        assert!(first.disability && first.group.is_none() && first.line == 2);
    }

    #[test]
    fn a_row_of_another_shape_is_rejected_alone() {
        let rows = parse(b"id_number,name\n1,a\n2\n3,c,d\n4,d\n").unwrap();
        assert_eq!(rows.iter().filter(|row| row.is_err()).count(), 2);
        assert!(parse(b"number,name\n").is_err());
    }

    #[test]
    fn a_row_has_the_line_on_which_it_begins_whatever_ends_the_lines() {
        for end in ["\n", "\r\n", "\r"] {
            let text = "id_number,name\n1,a\n\n\n2,\"b\nb\"\n3,c\n".replace('\n', end);
            assert_eq!(lines(&text), [2, 5, 7], "{end:?}");
        }
    }
}
