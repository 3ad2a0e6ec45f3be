//! Checking a snapshot file without loading it.

use std::io::{self, Read, Seek, SeekFrom};

use super::stream::{BUFFER_BYTES, CHECKSUM_BYTES};
use super::{Input, LoadError, LogIdentity, ProjectionKind, read_header};
use crate::point::PartitionPoint;

/// How far each partition is folded in a snapshot of this log; reads only the header.
///
/// # Errors
/// [`LoadError`].
pub fn points(
    kind: ProjectionKind,
    identity: &LogIdentity,
    input: impl Read,
) -> Result<Vec<PartitionPoint>, LoadError> {
    Ok(read_header(&mut Input::new(input), kind, identity)?.points)
}

/// Like [`points`], but also verifies the checksum of the whole file. The content is not parsed.
///
/// # Errors
/// [`LoadError`].
pub fn check(
    kind: ProjectionKind,
    identity: &LogIdentity,
    mut file: impl Read + Seek,
) -> Result<Vec<PartitionPoint>, LoadError> {
    file.rewind().map_err(LoadError::Io)?;
    let points = points(kind, identity, &mut file)?;
    let length = file.seek(SeekFrom::End(0)).map_err(LoadError::Io)?;
    let hashed = length.checked_sub(CHECKSUM_BYTES as u64).ok_or(LoadError::Truncated)?;
    file.rewind().map_err(LoadError::Io)?;
    let mut hasher = blake3::Hasher::new();
    let mut body = (&mut file).take(hashed);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadError::Io(error)),
        }
    }
    let mut found = [0; CHECKSUM_BYTES];
    file.read_exact(&mut found).map_err(LoadError::Io)?;
    if hasher.finalize() == blake3::Hash::from_bytes(found) {
        Ok(points)
    } else {
        Err(LoadError::ChecksumMismatch)
    }
}
