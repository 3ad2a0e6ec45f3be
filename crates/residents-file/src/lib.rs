//! Reads CSV files of residents in the forms in which offices export them.
//!
//! The encoding is UTF-8, UTF-16 with a byte order mark, GB18030 (which includes GBK), or the one that the caller
//! names. Fields are separated by commas, semicolons or tabs and may be quoted; every kind of line end is accepted. The
//! first line names the columns, `id_number,name[,disability,group]`. Other columns are ignored and copied into the
//! file of rejects.
//!
//! [`parse`] turns bytes into rows, and [`rejects_row`] turns a rejected row back into bytes. This crate opens no files
//! (the import command does) and does not check the values of a row (the issuer does). It is a separate crate so that
//! the fuzz target for hostile files need not build the command line.

mod quotes;
mod rejects;
mod rows;
#[cfg(test)]
mod tests;
mod text;

pub use encoding_rs::Encoding;
pub use rejects::{is_rejects, rejects_header, rejects_row, without_formula};
pub use rows::{ResidentsFile, parse};
pub use text::{DecidedBy, Text, read_text};

/// Maximum size of a file in bytes, about two million residents. Larger files are imported in parts.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// One row of the file. Its values are not checked here; the issuer checks them.
#[derive(Clone, PartialEq, Eq)]
pub struct Resident {
    /// The line of the file on which the row begins, counted from 1; the header is line 1. No two rows share a line.
    pub line: u64,
    /// The ID number.
    pub id_number: String,
    /// The name.
    pub name: String,
    /// Whether the column `disability` says that the person has a disability certificate.
    pub disability: bool,
    /// The value of the column `group`, unless it is empty.
    pub group: Option<String>,
    /// All fields of the row, in the order of [`ResidentsFile::columns`].
    pub fields: Vec<String>,
}

/// A row that cannot be read as a resident.
#[derive(Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The line of the file on which the row begins, as in [`Resident::line`].
    pub line: u64,
    /// What is wrong with the row; it contains no value of the row.
    pub reason: String,
    /// Its unchanged fields without surrounding white space, in the order of [`ResidentsFile::columns`].
    pub fields: Vec<String>,
}

/// Why a whole file is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResidentsFileError {
    /// The file has more than [`MAX_FILE_BYTES`]; its size in bytes.
    #[error("it has {0} bytes, more than the {MAX_FILE_BYTES} that one import accepts; split it")]
    TooLarge(u64),
    /// The file is a workbook of a spreadsheet program; its format.
    #[error("it is an {0} workbook, not CSV; save the sheet as “CSV UTF-8” and import that file")]
    Spreadsheet(&'static str),
    /// The bytes are not text in an encoding that is tried.
    #[error("it is neither UTF-8 nor GB18030 text; name its encoding with --encoding, or save it as “CSV UTF-8”")]
    Encoding,
    /// The file contains NUL bytes, and no byte order mark says that it is UTF-16.
    #[error(
        "it contains NUL bytes: if it is UTF-16 without a byte order mark, use --encoding utf-16le; otherwise it is not text"
    )]
    NulBytes,
    /// Some lines are UTF-8 and some are not, and the encoding of the file cannot be determined.
    #[error(
        "line {line} is not UTF-8 though other lines are, so its encoding cannot be determined; name it with --encoding (gb18030, big5, …), or save it as “CSV UTF-8”"
    )]
    MixedEncodings {
        /// The first line, counted from 1, that is not UTF-8.
        line: u64,
    },
    /// The first line lacks a required column; its name.
    #[error(
        "its first line names no column `{0}`; it must be id_number,name[,disability,group], separated by commas, semicolons or tabs"
    )]
    MissingColumn(&'static str),
    /// A quote is opened and never closed, so that the rest of the file would be one field.
    #[error("the quote that opens on line {line} is never closed; close it, or remove it")]
    OpenQuote {
        /// The line, counted from 1, on which the quote is opened.
        line: u64,
    },
    /// The parser of CSV refused the text; its reason.
    #[error("it is not CSV: {0}")]
    Csv(String),
}

/// Checks the size of a file in bytes before it is read.
///
/// # Errors
/// [`ResidentsFileError::TooLarge`].
pub fn check_size(bytes: u64) -> Result<(), ResidentsFileError> {
    if bytes > MAX_FILE_BYTES {
        return Err(ResidentsFileError::TooLarge(bytes));
    }
    Ok(())
}
