//! The manifest of the log in the metadata of every stream:
//!
//! ```text
//! citycode.format                 1
//! citycode.minimum_reader         <decimal: the minimum reader version; never lowered>
//! citycode.log_id                 <32 hex digits>
//! citycode.partitions             <decimal>
//! citycode.buckets_per_partition  <decimal>
//! citycode.hash_version           <decimal>
//! citycode.partition              <decimal: the partition of this stream>
//! citycode.replaces               <32 hex digits>, only if the log was created in place of this lost one
//! ```
//! Keys that the server adds (`_nats.…`) are not part of it.
//!
//! The minimum reader version is raised in one stream after the other, in partition 0 last. So when partition 0 has a
//! version, all others have at least that version, and the version of partition 0 is that of the log. A program that is
//! too old refuses the log as soon as one partition has a higher minimum.

use std::collections::BTreeMap;

use citycode_event_store::{Layout, LogId, Partition, ReaderVersion};
use data_encoding::HEXLOWER;

/// The format that this program writes.
const FORMAT: u32 = 1;

/// The identity, layout and version of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) log_id: LogId,
    pub(crate) layout: Layout,
    pub(crate) minimum_reader: ReaderVersion,
    /// The lost log in whose place it was created.
    pub(crate) replaces: Option<LogId>,
}

/// Why this program cannot use the metadata as a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ManifestInvalid {
    /// Missing or malformed.
    Unreadable(String),
    /// The log needs a newer program.
    OtherVersion { format: u32, minimum_reader: ReaderVersion },
}

impl Manifest {
    /// Whether both are manifests of the same log; their minimum reader versions may differ.
    pub(crate) fn is_of_same_log(self, other: Self) -> bool {
        (self.log_id, self.layout) == (other.log_id, other.layout)
    }

    pub(crate) fn to_metadata(self, partition: Partition) -> BTreeMap<String, String> {
        let entries = [
            ("format", FORMAT.to_string()),
            ("minimum_reader", self.minimum_reader.to_string()),
            ("log_id", self.log_id.to_string()),
            ("partitions", self.layout.partitions().to_string()),
            ("buckets_per_partition", self.layout.buckets_per_partition().to_string()),
            ("hash_version", self.layout.hash_version().to_string()),
            ("partition", partition.0.to_string()),
        ];
        let replaces = self.replaces.map(|lost| ("replaces", lost.to_string()));
        entries
            .into_iter()
            .chain(replaces)
            .map(|(name, value)| (format!("citycode.{name}"), value))
            .collect()
    }

    pub(crate) fn from_metadata(
        metadata: &BTreeMap<String, String>,
        partition: Partition,
    ) -> Result<Self, ManifestInvalid> {
        let bad = |reason: &str| ManifestInvalid::Unreadable(reason.to_owned());
        let value = |name: &str| {
            metadata
                .get(&format!("citycode.{name}"))
                .ok_or_else(|| bad(&format!("`citycode.{name}` is missing")))
        };
        let number = |name: &str| {
            value(name)?
                .parse::<u32>()
                .map_err(|_| bad(&format!("`citycode.{name}` is not a number")))
        };
        // The versions are read first, because a later format may have other keys.
        let (format, minimum_reader) = (number("format")?, number("minimum_reader")?);
        let minimum_reader = ReaderVersion(minimum_reader);
        if minimum_reader > ReaderVersion::CURRENT {
            return Err(ManifestInvalid::OtherVersion { format, minimum_reader });
        }
        let id = |text: &String| {
            let bytes = HEXLOWER.decode(text.as_bytes()).ok();
            let bytes: Option<[u8; 16]> = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes.map(LogId).ok_or_else(|| bad("a log id is malformed"))
        };
        let log_id = id(value("log_id")?)?;
        let replaces = metadata.get("citycode.replaces").map(id).transpose()?;
        let small =
            |name: &str| u16::try_from(number(name)?).map_err(|_| bad(&format!("`citycode.{name}` is too large")));
        let layout = Layout::from_parts(
            small("partitions")?,
            number("buckets_per_partition")?,
            small("hash_version")?,
        )
        .map_err(|error| bad(&error.to_string()))?;
        if small("partition")? != partition.0 {
            return Err(bad("the stream's manifest is of another partition"));
        }
        Ok(Self {
            log_id,
            layout,
            minimum_reader,
            replaces,
        })
    }
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

    #[test]
    fn a_manifest_round_trips_and_belongs_to_its_partition_only() {
        let metadata = manifest().to_metadata(Partition(3));
        assert_eq!(Manifest::from_metadata(&metadata, Partition(3)), Ok(manifest()));
        let replaces = Some(LogId([0xb2; 16]));
        let replacing = Manifest { replaces, ..manifest() };
        let metadata_of_it = replacing.to_metadata(Partition(3));
        assert_eq!(Manifest::from_metadata(&metadata_of_it, Partition(3)), Ok(replacing));
        assert!(Manifest::from_metadata(&metadata, Partition(4)).is_err());
    }

    #[test]
    fn every_key_is_required_and_a_later_version_is_distinguished() {
        let metadata = manifest().to_metadata(Partition(0));
        for key in metadata.keys() {
            let mut without = metadata.clone();
            without.remove(key);
            assert!(Manifest::from_metadata(&without, Partition(0)).is_err(), "{key}");
        }
        let mut later = metadata;
        later.insert("citycode.minimum_reader".into(), "9".into());
        assert_eq!(
            Manifest::from_metadata(&later, Partition(0)),
            Err(ManifestInvalid::OtherVersion {
                format: 1,
                minimum_reader: ReaderVersion(9)
            })
        );
    }
}
