//! The manifest: the identity, layout and version of a log in a readable text file, which is only ever replaced as a
//! whole.
//!
//! ```text
//! citycode event log
//! format 1
//! minimum_reader <decimal: the minimum reader version; never lowered>
//! log_id <32 hex digits>
//! partitions <decimal>
//! buckets_per_partition <decimal>
//! hash_version <decimal>
//! replaces <32 hex digits>          only if the log was created in place of this lost one
//! checksum <64 hex digits: BLAKE3 of all lines before this one>
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use citycode_event_store::{Layout, LogId, ReaderVersion};

use crate::OpenError;

/// The format that this program writes.
const FORMAT: u32 = 1;
const TITLE: &str = "citycode event log";
const NAME: &str = "manifest";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) log_id: LogId,
    pub(crate) layout: Layout,
    pub(crate) minimum_reader: ReaderVersion,
    /// The lost log in whose place it was created.
    pub(crate) replaces: Option<LogId>,
}

impl Manifest {
    fn to_text(self) -> String {
        let Self {
            log_id,
            layout,
            minimum_reader,
            replaces,
        } = self;
        let replaces = replaces.map_or_else(String::new, |lost| format!("replaces {lost}\n"));
        let (partitions, buckets) = (layout.partitions(), layout.buckets_per_partition());
        let hash_version = layout.hash_version();
        let body = format!(
            "{TITLE}\nformat {FORMAT}\nminimum_reader {minimum_reader}\nlog_id {log_id}\npartitions {partitions}\n\
             buckets_per_partition {buckets}\nhash_version {hash_version}\n{replaces}"
        );
        let checksum = blake3::hash(body.as_bytes()).to_hex();
        format!("{body}checksum {checksum}\n")
    }

    fn from_text(text: &str) -> Result<Self, OpenError> {
        let bad = |reason: &str| OpenError::ManifestUnreadable(reason.to_owned());
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(bad("it is not the manifest of an event log"));
        }
        let mut value = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(str::to_owned)
                .ok_or_else(|| bad(&format!("`{name}` is missing")))
        };
        let number = |text: String| text.parse::<u32>().map_err(|_| bad("a number is malformed"));
        // The versions are read first, because a later format may have other lines after them.
        let (format, minimum_reader) = (number(value("format")?)?, number(value("minimum_reader")?)?);
        let minimum_reader = ReaderVersion(minimum_reader);
        if minimum_reader > ReaderVersion::CURRENT {
            return Err(OpenError::OtherVersion { format, minimum_reader });
        }
        let log_id = value("log_id")?;
        let (partitions, buckets) = (number(value("partitions")?)?, number(value("buckets_per_partition")?)?);
        let hash_version = number(value("hash_version")?)?;
        // Only a log that was created in place of a lost one has this line.
        let has_replaces = text.lines().any(|line| line.starts_with("replaces "));
        let replaces = has_replaces.then(|| value("replaces")).transpose()?;
        let checksum = value("checksum")?;
        let body = text.rfind("checksum ").map_or(text, |start| &text[..start]);
        if blake3::hash(body.as_bytes()).to_hex().as_str() != checksum {
            return Err(bad("its checksum does not match"));
        }
        let small = |number: u32| u16::try_from(number).map_err(|_| bad("a number is too large"));
        let layout = Layout::from_parts(small(partitions)?, buckets, small(hash_version)?)
            .map_err(|error| bad(&error.to_string()))?;
        let id = |hex: &str| log_id_from_hex(hex).ok_or_else(|| bad("a log id is malformed"));
        Ok(Self {
            log_id: id(&log_id)?,
            layout,
            minimum_reader,
            replaces: replaces.as_deref().map(id).transpose()?,
        })
    }

    /// The manifest of a folder, or `None` if it has no manifest.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, OpenError> {
        match fs::read_to_string(folder.join(NAME)) {
            Ok(text) => Self::from_text(&text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::Io(error)),
        }
    }

    /// Writes the manifest, or replaces an existing one, atomically. A crash before the rename leaves the previous
    /// manifest or none; opening then creates it if the log is empty.
    pub(crate) fn write(self, folder: &Path) -> Result<(), OpenError> {
        let draft = folder.join("manifest.draft");
        let mut file = File::create(&draft)?;
        file.write_all(self.to_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, folder.join(NAME))?;
        File::open(folder)?.sync_all()?;
        Ok(())
    }
}

fn log_id_from_hex(hex: &str) -> Option<LogId> {
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(hex, 16)
        .ok()
        .map(|number| LogId(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            log_id: LogId([0xa1; 16]),
            layout: Layout::default(),
            minimum_reader: ReaderVersion::CURRENT,
            replaces: None,
        }
    }

    /// A manifest that the first release wrote.
    const OF_VERSION_1: &str = "citycode event log\nformat 1\nminimum_reader 1\n\
        log_id a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1\npartitions 16\nbuckets_per_partition 65536\nhash_version 1\n\
        checksum ee3e25469e7d9e3b323596a5dd81161fb6c5495baefecfac6ade63e893912736\n";

    #[test]
    fn a_manifest_of_the_first_release_is_read() {
        let expected = Manifest {
            minimum_reader: ReaderVersion::FIRST,
            ..manifest()
        };
        assert_eq!(Manifest::from_text(OF_VERSION_1).unwrap(), expected);
        assert_eq!(expected.to_text(), OF_VERSION_1);
    }

    #[test]
    fn a_manifest_round_trips() {
        for replaces in [None, Some(LogId([0xb2; 16]))] {
            let manifest = Manifest { replaces, ..manifest() };
            assert_eq!(Manifest::from_text(&manifest.to_text()).unwrap(), manifest);
        }
    }

    #[test]
    fn every_flipped_byte_of_a_manifest_is_detected() {
        let text = manifest().to_text();
        for offset in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[offset] ^= 1;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(Manifest::from_text(&flipped).is_err(), "byte {offset}");
        }
    }

    #[test]
    fn a_log_of_a_later_version_is_distinguished_from_a_damaged_one() {
        let later = "citycode event log\nformat 9\nminimum_reader 9\nwhatever comes then\n";
        assert!(matches!(
            Manifest::from_text(later),
            Err(OpenError::OtherVersion {
                format: 9,
                minimum_reader: ReaderVersion(9),
            })
        ));
    }
}
