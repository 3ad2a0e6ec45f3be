//! Policy files: TOML text in, a checked [`Policy`] out.
//!
//! Everything that can be wrong in a file is refused here, with its line and, if a word resembles a known one,
//! a suggestion; so other crates can rely on a policy. The values are read by hand from the parsed table, not
//! through serde, so that every value keeps its line and the crate controls its error texts.
//!
//! [`local_date`] is here too, because this is the only crate that uses time zones: the domain receives dates.
//! The zone data are bundled at build time, never the host's, so that every machine computes the same date.

mod calendar;
mod changes;
mod duration;
mod error;
mod file;
mod sections;
mod table;

use std::io::Read as _;
use std::path::Path;

use citycode_domain::policy::Policy;
use toml::de::DeTable;

pub use calendar::{local_date, time_zone};
pub use changes::{PolicyChange, changes};
pub use error::{PolicyFileError, Problem};
pub use file::PolicyFile;

/// The policy of Shanghai, which is the default.
pub const SHANGHAI: &str = include_str!("../../../policies/shanghai.toml");

/// A university's policy: other kinds, places, channels and time zone.
pub const CAMPUS: &str = include_str!("../../../policies/campus.toml");

/// Maximum size of a policy file in bytes. Fifteen kinds with comments need a tenth of it; it bounds the
/// parser's work.
pub const MAX_FILE_BYTES: usize = 64 * 1024;

/// Parses and checks the text of a policy.
///
/// # Errors
/// [`PolicyFileError`] for the first error and its line.
pub fn parse(text: &str) -> Result<Policy, PolicyFileError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(PolicyFileError::TooLarge);
    }
    let table = DeTable::parse(text).map_err(|error| PolicyFileError::syntax(text, &error))?;
    sections::policy(text, table.get_ref())
}

/// Reads and checks a policy file; never loads more than [`MAX_FILE_BYTES`] into memory.
///
/// # Errors
/// [`PolicyFileError::Read`] if the file cannot be read, otherwise as [`parse`].
pub fn read(path: &Path) -> Result<Policy, PolicyFileError> {
    parse(&read_text(path)?)
}

/// The unchecked text of a policy file; never loads more than [`MAX_FILE_BYTES`] into memory.
///
/// # Errors
/// [`PolicyFileError::Read`] if the file cannot be read; it is too large, or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, PolicyFileError> {
    let failed = |source| PolicyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).expect("a small constant fits") + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(PolicyFileError::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| PolicyFileError::NotUtf8)?;
    // Editors on Windows write a byte order mark at the start.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
