//! Policy files: TOML text in, a checked [`Policy`] out.
//!
//! Everything that a file can get wrong is refused here, with its line and, where a word is close to a known one,
//! the word that was probably meant; so no other room needs to doubt a policy. The text is read by hand from the
//! parsed table, not through serde: that way every value keeps its line and the errors are ours.
//!
//! [`local_date`] stands here as well, because this is the one room that knows time zones: the domain is handed
//! dates. The zone data are those bundled at build time, never the host's, so that every machine counts alike.

mod calendar;
mod duration;
mod error;
mod sections;
mod table;

use std::io::Read as _;
use std::path::Path;

use citycode_domain::policy::Policy;
use toml::de::DeTable;

pub use calendar::local_date;
pub use error::{PolicyFileError, Problem};

/// The policy of Shanghai, the default of a system that is told nothing else.
pub const SHANGHAI: &str = include_str!("../../../policies/shanghai.toml");

/// A university's policy: other kinds, places, channels and time zone.
pub const CAMPUS: &str = include_str!("../../../policies/campus.toml");

/// Longest policy file in bytes. Fifteen kinds with comments take a tenth of it; it bounds the parser's work.
pub const MAX_FILE_BYTES: usize = 64 * 1024;

/// Reads and checks a policy's text.
///
/// # Errors
/// [`PolicyFileError`] with the first thing that is wrong and its line.
pub fn parse(text: &str) -> Result<Policy, PolicyFileError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(PolicyFileError::TooLarge);
    }
    let table = DeTable::parse(text).map_err(|error| PolicyFileError::syntax(text, &error))?;
    sections::policy(text, table.get_ref())
}

/// Reads and checks a policy file; never takes more than [`MAX_FILE_BYTES`] into memory.
///
/// # Errors
/// [`PolicyFileError::Read`] where the file cannot be read, else as [`parse`].
pub fn read(path: &Path) -> Result<Policy, PolicyFileError> {
    parse(&read_text(path)?)
}

/// The text of a policy file, unchecked; never takes more than [`MAX_FILE_BYTES`] into memory.
///
/// # Errors
/// [`PolicyFileError::Read`] where the file cannot be read; it is too large, or no text.
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
    // Editors on Windows put a byte order mark before the text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
