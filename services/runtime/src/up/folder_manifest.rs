//! The data folder's manifest: the log to which the folder belongs, and the parts that it must contain.
//!
//! ```text
//! # comment lines
//! format = 1
//! log_id = "32 hex digits"
//! parts = ["log", "vault", "scans", "keys", "queries"]    empty until the first start has created all of them
//! beginning = ["vault"]                        parts that are being recreated after a loss; empty otherwise
//! [key_marks]                                  8 hex digits of a hash of each key that must stay the same
//! "id-check.key" = "0a1b2c3d"
//! ```
//! It is replaced atomically (temporary file, sync, rename, sync of the folder), so a crash leaves the old or the new
//! one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use citycode_event_store::LogId;
use citycode_service_kit::files::{self, FileError};
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};

const NAME: &str = "manifest.toml";
/// The format that this program writes, and the newest that it reads.
const FORMAT: u32 = 1;
const COMMENT: &str = "# The log to which this data folder belongs, and the parts that it must contain. citycode writes this file.\n\
                       # Back it up and restore it together with the parts.\n";

/// A part of the data folder that cannot be derived from others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The event log.
    Log,
    /// The sealed personal data.
    Vault,
    /// Scan and sampling records.
    Scans,
    /// Secrets and signing keys.
    Keys,
    /// The stream of queries. Folders of earlier releases do not have it.
    Queries,
}

impl Part {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Log, Self::Vault, Self::Scans, Self::Keys, Self::Queries];

    /// Its name on the command line and the name of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Vault => "vault",
            Self::Scans => "scans",
            Self::Keys => "keys",
            Self::Queries => "queries",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not one, or of a later release.
    #[error("{} cannot be used ({why}): restore it from the same backup as the parts", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
}

/// The fields of the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: u32,
    log_id: String,
    parts: Vec<Part>,
    beginning: Vec<Part>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    key_marks: BTreeMap<String, String>,
}

/// The manifest of a data folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FolderManifest {
    pub(super) log_id: LogId,
    /// Empty until the first start has created all of them.
    pub(super) parts: Vec<Part>,
    /// Parts that are being recreated after a loss.
    pub(super) beginning: Vec<Part>,
    /// A hash prefix of each key that must stay the same, by file name; empty in older folders.
    pub(super) key_marks: BTreeMap<String, String>,
}

impl FolderManifest {
    /// The manifest of a folder whose parts are being created for the first time.
    pub(super) fn first(log_id: LogId) -> Self {
        Self {
            log_id,
            parts: Vec::new(),
            beginning: Vec::new(),
            key_marks: BTreeMap::new(),
        }
    }

    /// Whether the first start created every part.
    pub(super) fn is_complete(&self) -> bool {
        !self.parts.is_empty()
    }

    pub(super) fn is_beginning(&self, part: Part) -> bool {
        self.beginning.contains(&part)
    }

    /// The manifest of a folder, if it has one.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, ManifestError> {
        let path = folder.join(NAME);
        let unreadable = |why: String| ManifestError::Unreadable {
            path: path.clone(),
            why,
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let text: Text = toml::from_str(&text).map_err(|error| unreadable(error.message().to_owned()))?;
        if text.format > FORMAT {
            return Err(unreadable(format!(
                "format {} is newer than this program reads",
                text.format
            )));
        }
        let log_id = parse_log_id(&text.log_id).ok_or_else(|| unreadable("the log id is malformed".into()))?;
        Ok(Some(Self {
            log_id,
            parts: text.parts,
            beginning: text.beginning,
            key_marks: text.key_marks,
        }))
    }

    /// Replaces the file durably.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ManifestError> {
        let text = Text {
            format: FORMAT,
            log_id: self.log_id.to_string(),
            parts: self.parts.clone(),
            beginning: self.beginning.clone(),
            key_marks: self.key_marks.clone(),
        };
        let text = toml::to_string(&text).expect("numbers, words, lists and tables of words are TOML");
        let text = format!("{COMMENT}{text}");
        files::write_atomic(&folder.join(NAME), text.as_bytes(), files::PRIVATE_FILE_MODE)?;
        Ok(())
    }
}

/// Parses the 32 hex digits of a log's identity.
#[must_use]
pub(crate) fn parse_log_id(text: &str) -> Option<LogId> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(LogId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_written_and_a_later_format_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(FolderManifest::read(folder.path()).expect("none yet"), None);
        let manifest = FolderManifest {
            log_id: LogId([0xa1; 16]),
            parts: Part::ALL.to_vec(),
            beginning: vec![Part::Vault],
            key_marks: [("id-check.key".to_owned(), "0a1b2c3d".to_owned())].into(),
        };
        manifest.write(folder.path()).expect("written");
        assert_eq!(FolderManifest::read(folder.path()).expect("read"), Some(manifest));
        let path = folder.path().join(NAME);
        let text = std::fs::read_to_string(&path).expect("a text");
        let damaged = [
            text.replace("format = 1", "format = 2"),
            text.replace("a1a1", "a1"),
            text.replace("vault", "cellar"),
            text[..text.len() / 2].to_owned(),
            String::new(),
        ];
        for text in damaged {
            std::fs::write(&path, &text).expect("written");
            let read = FolderManifest::read(folder.path());
            assert!(matches!(read, Err(ManifestError::Unreadable { .. })), "{text}");
        }
    }
}
