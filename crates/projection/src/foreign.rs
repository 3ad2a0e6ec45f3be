//! The foreign messages of one partition up to the folded position: their positions, and which of them were
//! declared. A bucket with an undeclared one is confined.
//!
//! Format in a snapshot, little-endian:
//! ```text
//! "frgn" partition{partitions}
//! partition = count:u32 ( sequence:u64 bucket:u16 declared:u8 digest:32 )*      ascending by sequence
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};

use crate::register::HolderRegister;
use crate::snapshot::{Input, LoadError, LogIdentity, Output, SaveError};

pub(crate) const SECTION: [u8; 4] = *b"frgn";

/// Limit of foreign messages per partition. More than that cannot be an accident, so the fold stops.
pub const MAX_FOREIGN_MESSAGES: usize = 65_536;

/// A message in the log that is not a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForeignMessage {
    /// The bucket of its subject.
    pub bucket: u16,
    /// BLAKE3 of its payload.
    pub digest: [u8; 32],
    /// Whether an operator declared it.
    pub declared: bool,
}

/// The foreign messages of one partition.
#[derive(Clone, Default, Debug)]
pub struct ForeignMessages {
    known: BTreeMap<u64, ForeignMessage>,
    confined: BTreeMap<u16, BTreeSet<u64>>,
}

impl ForeignMessages {
    /// The foreign message at a sequence of the partition, if there is one.
    #[must_use]
    pub fn at(&self, sequence: u64) -> Option<ForeignMessage> {
        self.known.get(&sequence).copied()
    }

    /// The sequence of the first message that confines a bucket, if the bucket is confined.
    #[must_use]
    pub fn confining(&self, bucket: u16) -> Option<u64> {
        self.confined.get(&bucket)?.first().copied()
    }

    /// The confined buckets, ascending.
    pub fn confined(&self) -> impl Iterator<Item = u16> + '_ {
        self.confined.keys().copied()
    }

    /// The number of undeclared foreign messages.
    #[must_use]
    pub fn undeclared(&self) -> usize {
        self.confined.values().map(BTreeSet::len).sum()
    }

    /// Whether one more message is within the limit.
    pub(crate) fn has_capacity(&self) -> bool {
        self.known.len() < MAX_FOREIGN_MESSAGES
    }

    pub(crate) fn insert(&mut self, sequence: u64, message: ForeignMessage) {
        if !message.declared {
            self.confined.entry(message.bucket).or_default().insert(sequence);
        }
        self.known.insert(sequence, message);
    }

    /// Applies a declaration in this bucket; returns false if there is no foreign message with this digest at
    /// the sequence.
    pub(crate) fn declare(&mut self, bucket: u16, sequence: u64, digest: &[u8; 32]) -> bool {
        let named = self.known.get_mut(&sequence);
        let Some(message) = named.filter(|message| message.bucket == bucket && message.digest == *digest) else {
            return false;
        };
        message.declared = true;
        if let Some(left) = self.confined.get_mut(&bucket) {
            left.remove(&sequence);
            if left.is_empty() {
                self.confined.remove(&bucket);
            }
        }
        true
    }

    pub(crate) fn save<W: Write>(&self, out: &mut Output<W>) -> Result<(), SaveError> {
        let count = u32::try_from(self.known.len()).expect("at most MAX_FOREIGN_MESSAGES");
        out.put(&count.to_le_bytes())?;
        for (sequence, message) in &self.known {
            out.put(&sequence.to_le_bytes())?;
            out.put(&message.bucket.to_le_bytes())?;
            out.put(&[u8::from(message.declared)])?;
            out.put(&message.digest)?;
        }
        Ok(())
    }

    pub(crate) fn load<R: Read>(input: &mut Input<R>) -> Result<Self, LoadError> {
        let mut messages = Self::default();
        let mut last = None;
        for _ in 0..input.u32()? {
            let sequence = input.u64()?;
            if !messages.has_capacity() || last.replace(sequence).is_some_and(|last| last >= sequence) {
                return Err(LoadError::Damaged("foreign messages are not in ascending order"));
            }
            let bucket = u16::from_le_bytes(input.array()?);
            let [declared] = input.array()?;
            let message = ForeignMessage {
                bucket,
                digest: input.array()?,
                declared: declared != 0,
            };
            messages.insert(sequence, message);
        }
        Ok(messages)
    }
}

/// What a snapshot says about one position of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// The snapshot does not reach the position.
    NotReached,
    /// A foreign message was folded at the position.
    Foreign(ForeignMessage),
    /// A commit was folded at the position.
    Commit,
    /// Something was folded at the position by an older release, or loaded from its snapshot. Those releases
    /// accepted copies of commits as commits.
    Unknown,
}

/// The first snapshot format that records foreign messages.
const FIRST_FORMAT: u16 = 3;

/// Returns what a snapshot of this log, of either projection, says about a position. It reads the whole file.
///
/// # Errors
/// [`LoadError`]: it is not a snapshot of this log, or is damaged.
pub fn witness(
    identity: &LogIdentity,
    mut file: impl Read + Seek,
    partition: u16,
    sequence: u64,
) -> Result<Witness, LoadError> {
    let judges = crate::snapshot::format_of(&mut file)? >= FIRST_FORMAT;
    file.rewind().map_err(LoadError::Io)?;
    let (point, foreign, judges) = match crate::status::load(identity, std::io::BufReader::new(&mut file)) {
        Ok((writer, _)) => {
            let point = writer.point(partition).map_or(0, |point| point.sequence);
            (
                point,
                writer.foreign(partition).and_then(|foreign| foreign.at(sequence)),
                judges && writer.ends_are_known(),
            )
        }
        Err(LoadError::OtherProjection) => {
            file.rewind().map_err(LoadError::Io)?;
            let register = HolderRegister::load(identity, std::io::BufReader::new(&mut file))?;
            let point = register.point(partition).map_or(0, |point| point.sequence);
            (point, register.foreign_at(partition, sequence), judges)
        }
        Err(error) => return Err(error),
    };
    Ok(match foreign {
        None if point < sequence => Witness::NotReached,
        Some(message) => Witness::Foreign(message),
        None if judges => Witness::Commit,
        None => Witness::Unknown,
    })
}

#[cfg(test)]
mod tests;
