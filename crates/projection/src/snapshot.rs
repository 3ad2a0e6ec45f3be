//! Snapshot files: a projection at a point of the log, so that starting up need not replay everything before.
//!
//! ```text
//! file       = header section* "end." checksum
//! header     = magic:8 format:u16 projection:u8 0:u8
//!              log-id:16 partitions:u16 hash-version:u16 buckets-per-partition:u32
//!              point{partitions}
//! magic      = "CCSNAP" CR LF                              a transfer as text spoils it
//! projection = 1 status / 2 register
//! point      = sequence:u64 reaches:i64                    the last commit folded, by partition
//! section    = tag:4 body                                  bodies end by themselves; see each projection's `saved`
//! checksum   = BLAKE3-256 of all bytes before it
//! ```
//! All numbers are little-endian. A format that an older reader would misread gets a new number; readers refuse
//! greater numbers than their own. Nothing of the policy stands in a snapshot: it survives a change of policy.
//!
//! The checksum finds damage, not malice. Loading takes any bytes without panic, and allocates no more than a small
//! multiple of what it has really read; a file that is refused is to be thrown away, and the log replayed.

mod check;
mod header;
mod stream;

pub use check::{check, points};
pub(crate) use header::{Header, format_of, read_header, write_header};
pub use header::{ProjectionKind, log_of};
pub(crate) use stream::{Input, Output};

use std::io;

/// The format that this version writes, and the greatest that it reads.
///
/// Format 2: the status has what lists of version 2 hold, and the register names the partition of a code in such a list.
/// Format 3: both have the foreign messages of the log, and the status the last commit of each bucket.
/// Format 1 is read as it was written, before there were such lists.
pub const FORMAT_VERSION: u16 = 3;

/// Which log a projection belongs to, and how that log is cut. A snapshot of another is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    /// The log's random identity.
    pub log_id: [u8; 16],
    /// Partitions of the log.
    pub partitions: u16,
    /// Buckets of each partition.
    pub buckets_per_partition: u32,
    /// The version of the hash that leads from a stream to its bucket.
    pub hash_version: u16,
}

/// Why a file was not loaded. Each but [`LoadError::Io`] means: throw it away and replay.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Reading failed.
    #[error("reading the snapshot")]
    Io(#[source] io::Error),
    /// The file begins as no snapshot does.
    #[error("not a snapshot file")]
    NotASnapshot,
    /// A later version of this program wrote it.
    #[error("the snapshot has format {found}, and this version reads up to {FORMAT_VERSION}")]
    NewerFormat {
        /// As the file has it.
        found: u16,
    },
    /// It is of the other projection, or of one that this version does not know.
    #[error("the snapshot is of another projection")]
    OtherProjection,
    /// It belongs to another log.
    #[error("the snapshot belongs to another log")]
    OtherLog,
    /// It belongs to a log that is cut otherwise.
    #[error("the snapshot belongs to a log of another layout")]
    OtherLayout,
    /// It ends too early.
    #[error("the snapshot is cut short")]
    Truncated,
    /// Its checksum does not fit.
    #[error("the snapshot's checksum does not fit: it was damaged")]
    ChecksumMismatch,
    /// Something in it that no writer writes.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Writing failed; what was written is to be thrown away.
    #[error("writing the snapshot")]
    Io(#[source] io::Error),
    /// The identity handed in has another number of partitions than the projection.
    #[error("the log's identity does not fit the projection: {identity} partitions, not {projection}")]
    OtherLayout {
        /// Partitions of the identity.
        identity: u16,
        /// Partitions of the projection.
        projection: usize,
    },
}

#[cfg(test)]
mod tests;
