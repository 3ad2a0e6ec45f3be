//! CSV files of residents, as offices send them: UTF-8, UTF-16 with a mark, GB18030 (GBK), or what the caller names;
//! separated by commas, semicolons or tabs; quoted fields; any line end. The first line names the columns:
//! `id_number,name[,disability,group]`. Other columns are kept for the file of rejects and mean nothing.
//!
//! Bytes in, rows out, and rejected rows back into bytes. Files and their rights are the command's, and what a
//! row says is the server's to judge. A crate of its own, so that hostile files can be tried on it without
//! building the whole program.

mod quotes;
mod rejects;
mod rows;
#[cfg(test)]
mod tests;
mod text;

pub use encoding_rs::Encoding;
pub use rejects::{is_rejects, rejects_header, rejects_row};
pub use rows::{ResidentsFile, parse};
pub use text::{DecidedBy, Text, read_text};

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
    /// All its fields, in the order of [`ResidentsFile::columns`].
    pub fields: Vec<String>,
}

/// A row that cannot be read as one.
#[derive(Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Line of the file on which the row begins, as [`Resident::line`].
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Its fields as they stand, without the white space around them, in the order of [`ResidentsFile::columns`].
    pub fields: Vec<String>,
}

/// Why a file gave no rows at all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResidentsFileError {
    /// More than [`MAX_FILE_BYTES`].
    #[error("it has {0} bytes; at most {MAX_FILE_BYTES} go at once")]
    TooLarge(u64),
    /// A workbook and no text.
    #[error("it is an {0} workbook and no CSV; save the sheet as “CSV UTF-8” and import that")]
    Spreadsheet(&'static str),
    /// The bytes are no text.
    #[error("it is text neither in UTF-8 nor in GB18030; name its encoding with --encoding, or save it as “CSV UTF-8”")]
    Encoding,
    /// NUL bytes, without a mark that would explain them.
    #[error(
        "it holds NUL bytes: UTF-16 without a byte order mark is read with --encoding utf-16le; other files are no text"
    )]
    NulBytes,
    /// Some lines are UTF-8 and some are not, and which are right cannot be told.
    #[error(
        "line {line} is not UTF-8 though other lines are, so its encoding cannot be told; name it with --encoding (gb18030, big5, …), or save it as “CSV UTF-8”"
    )]
    MixedEncodings {
        /// The first line, from 1, that is not UTF-8.
        line: u64,
    },
    /// The first line lacks a column.
    #[error(
        "its first line names no column `{0}`; it must be id_number,name[,disability,group], separated by commas, semicolons or tabs"
    )]
    MissingColumn(&'static str),
    /// A quote that swallows the rest of the file.
    #[error("the quote that opens on line {line} is never closed; close it, or remove it")]
    OpenQuote {
        /// The line, from 1, on which it opens.
        line: u64,
    },
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
