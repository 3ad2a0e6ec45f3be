//! The header of every snapshot file; the parent module documents its grammar.

use std::io::{Read, Write};

use citycode_domain::time::Timestamp;

use super::{FORMAT_VERSION, FORMAT_WITHOUT_TREES, Input, LoadError, LogIdentity, Output, SaveError};
use crate::point::PartitionPoint;

const MAGIC: [u8; 8] = *b"CCSNAP\r\n";

/// The projection in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProjectionKind {
    /// The status of every code.
    Status = 1,
    /// The state of every holder.
    Register = 2,
}

impl ProjectionKind {
    /// The highest format that this version reads of this projection.
    const fn highest_format(self) -> u16 {
        match self {
            Self::Status => FORMAT_VERSION,
            Self::Register => FORMAT_WITHOUT_TREES,
        }
    }
}

pub(crate) fn write_header<W: Write>(
    out: &mut Output<W>,
    (kind, format): (ProjectionKind, u16),
    identity: &LogIdentity,
    points: &[PartitionPoint],
) -> Result<(), SaveError> {
    if usize::from(identity.partitions) != points.len() {
        return Err(SaveError::OtherLayout {
            identity: identity.partitions,
            projection: points.len(),
        });
    }
    out.put(&MAGIC)?;
    out.put(&format.to_le_bytes())?;
    out.put(&[kind as u8, 0])?;
    out.put(&identity.log_id)?;
    out.put(&identity.partitions.to_le_bytes())?;
    out.put(&identity.hash_version.to_le_bytes())?;
    out.put(&identity.buckets_per_partition.to_le_bytes())?;
    for point in points {
        out.put(&point.sequence.to_le_bytes())?;
        out.put(&point.reaches.0.to_le_bytes())?;
    }
    Ok(())
}

/// Returns the identity of a snapshot's log from its header, without any check; `None` if the file is shorter
/// than a header.
pub fn log_of(mut file: impl Read) -> Option<[u8; 16]> {
    // The identity follows the magic bytes, the format and the kind.
    let mut head = [0; 12 + 16];
    file.read_exact(&mut head).ok()?;
    head.last_chunk().copied()
}

/// Returns the format of a snapshot; nothing else is checked.
///
/// # Errors
/// [`LoadError`]: it cannot be read, or is not a snapshot.
pub fn format_of(file: impl Read) -> Result<u16, LoadError> {
    let mut input = Input::new(file);
    match input.array() {
        Ok(MAGIC) => Ok(u16::from_le_bytes(input.array()?)),
        Ok(_) | Err(LoadError::Truncated) => Err(LoadError::NotASnapshot),
        Err(error) => Err(error),
    }
}

/// The fields of a header that its reader does not demand.
pub(crate) struct Header {
    /// The format, from 1 to the highest of the projection.
    pub(crate) format: u16,
    /// The point of each partition.
    pub(crate) points: Vec<PartitionPoint>,
}

/// Reads and checks a header.
pub(crate) fn read_header<R: Read>(
    input: &mut Input<R>,
    kind: ProjectionKind,
    identity: &LogIdentity,
) -> Result<Header, LoadError> {
    match input.array() {
        Ok(MAGIC) => {}
        Ok(_) | Err(LoadError::Truncated) => return Err(LoadError::NotASnapshot),
        Err(error) => return Err(error),
    }
    let format = u16::from_le_bytes(input.array()?);
    if format > kind.highest_format() {
        return Err(LoadError::NewerFormat { found: format });
    }
    if format == 0 {
        return Err(LoadError::Damaged("format 0"));
    }
    let [projection, zero] = input.array()?;
    if projection != kind as u8 {
        return Err(LoadError::OtherProjection);
    }
    if zero != 0 {
        return Err(LoadError::Damaged("a byte that is always 0 is not"));
    }
    if input.array()? != identity.log_id {
        return Err(LoadError::OtherLog);
    }
    let partitions = u16::from_le_bytes(input.array()?);
    let hash_version = u16::from_le_bytes(input.array()?);
    let buckets_per_partition = u32::from_le_bytes(input.array()?);
    let found = LogIdentity {
        partitions,
        hash_version,
        buckets_per_partition,
        ..*identity
    };
    if found != *identity {
        return Err(LoadError::OtherLayout);
    }
    let points = (0..partitions).map(|_| {
        Ok(PartitionPoint {
            sequence: u64::from_le_bytes(input.array()?),
            reaches: Timestamp(i64::from_le_bytes(input.array()?)),
        })
    });
    let points = points.collect::<Result<_, LoadError>>()?;
    Ok(Header { format, points })
}
