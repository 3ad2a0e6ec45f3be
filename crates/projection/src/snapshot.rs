//! Snapshot files: a projection at a point of the log, so that startup need not replay everything before it.
//!
//! ```text
//! file       = header section* "end." checksum
//! header     = magic:8 format:u16 projection:u8 0:u8
//!              log-id:16 partitions:u16 hash-version:u16 buckets-per-partition:u32
//!              point{partitions}
//! magic      = "CCSNAP" CR LF                              a transfer as text corrupts it
//! projection = 1 status / 2 register
//! point      = sequence:u64 reaches:i64                    the last commit folded, by partition
//! section    = tag:4 body                                  bodies are self-delimiting; see each projection's `saved`
//! checksum   = BLAKE3-256 of all bytes before it
//! ```
//! All numbers are little-endian. A format that an older reader would misread gets a new number, and readers
//! refuse higher numbers than their own. A snapshot contains nothing of the policy, so it survives a change of
//! policy.
//!
//! The checksum detects damage, not malice. Loading accepts any bytes without a panic, and allocates at most a
//! small multiple of what it has read. A refused file must be deleted and the log replayed.

mod check;
mod header;
mod stream;

pub use check::{check, points};
pub(crate) use header::{Header, read_header, write_header};
pub use header::{ProjectionKind, format_of, log_of};
pub(crate) use stream::{Input, Output};

use std::io;

/// The highest format that this version reads.
///
/// Format 2: the status contains the facts of version 2 lists, and the register the partition of codes in such
/// lists. Format 3: both contain the foreign messages of the log, and the status the last commit of each
/// bucket. Format 4: the status contains the trees of the log, and is written only with them. Format 1 predates such
/// lists and is read as it was written.
pub const FORMAT_VERSION: u16 = 4;

/// The format of files without the trees of the log: of every register, and of the status where nobody compares the log
/// with witnessed checkpoints.
pub const FORMAT_WITHOUT_TREES: u16 = 3;

/// The identity and layout of the log to which a projection belongs. A snapshot of another log is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    /// The log's random identity.
    pub log_id: [u8; 16],
    /// Partitions of the log.
    pub partitions: u16,
    /// Buckets of each partition.
    pub buckets_per_partition: u32,
    /// The version of the hash from stream to bucket.
    pub hash_version: u16,
}

/// Why a file was not loaded. After any error except [`LoadError::Io`] the file should be deleted and the log
/// replayed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Reading failed.
    #[error("reading the snapshot")]
    Io(#[source] io::Error),
    /// The file does not start with the magic bytes.
    #[error("not a snapshot file")]
    NotASnapshot,
    /// A later version of this program wrote it.
    #[error("the snapshot has format {found}, and this version reads up to {FORMAT_VERSION}")]
    NewerFormat {
        /// The format of the file.
        found: u16,
    },
    /// It contains the other projection, or an unknown one.
    #[error("the snapshot is of another projection")]
    OtherProjection,
    /// It belongs to another log.
    #[error("the snapshot belongs to another log")]
    OtherLog,
    /// It belongs to a log with another layout.
    #[error("the snapshot belongs to a log with another layout")]
    OtherLayout,
    /// It ends too early.
    #[error("the snapshot is truncated")]
    Truncated,
    /// Its checksum does not match.
    #[error("the snapshot's checksum does not match: it was damaged")]
    ChecksumMismatch,
    /// It contains something that no writer produces.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Writing failed; the partial output must be deleted.
    #[error("writing the snapshot")]
    Io(#[source] io::Error),
    /// The given identity has another number of partitions than the projection.
    #[error("the log's identity does not match the projection: {identity} partitions, not {projection}")]
    OtherLayout {
        /// Partitions of the identity.
        identity: u16,
        /// Partitions of the projection.
        projection: usize,
    },
}

#[cfg(test)]
mod tests;
