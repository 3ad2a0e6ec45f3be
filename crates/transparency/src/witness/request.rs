//! The body of `add-checkpoint`.
//!
//! ```text
//! body = "old " size %x0A *63( base64( hash:32 ) %x0A ) %x0A checkpoint
//! ```

use crate::checkpoint::{CheckpointInvalid, SignedCheckpoint};
use crate::hash::Hash;
use crate::note::MAX_NOTE_BYTES;
use crate::proof::{MAX_PROOF_HASHES, parse_hashes};
use crate::tile::decimal;

/// Longest body in bytes.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + MAX_PROOF_HASHES * 45 + 64;

/// A request to cosign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpointRequest {
    /// The size of the tree that the witness cosigned last, as the client believes.
    pub old_size: u64,
    /// The consistency proof from that tree.
    pub proof: Vec<Hash>,
    /// The checkpoint.
    pub checkpoint: SignedCheckpoint,
}

/// Why a body is not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddCheckpointInvalid {
    /// Longer than [`MAX_REQUEST_BYTES`], not text, or without an empty line before the checkpoint.
    #[error("the request has no empty line before its checkpoint, is too long, or is not text")]
    Structure,
    /// The first line is malformed, or the old size is greater than that of the checkpoint.
    #[error("the old size is malformed, or is greater than that of the checkpoint")]
    OldSize,
    /// A line is not the base64 of a hash, or there are too many.
    #[error("a hash of the proof is malformed, or there are more than {MAX_PROOF_HASHES}")]
    Hash,
    /// The checkpoint is malformed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointInvalid),
}

impl AddCheckpointRequest {
    /// Parses a body. Nothing is verified.
    ///
    /// # Errors
    /// If the bytes are not a request in its only form.
    pub fn parse(body: &[u8]) -> Result<Self, AddCheckpointInvalid> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(AddCheckpointInvalid::Structure);
        }
        let text = std::str::from_utf8(body).map_err(|_| AddCheckpointInvalid::Structure)?;
        let (before, checkpoint) = text.split_once("\n\n").ok_or(AddCheckpointInvalid::Structure)?;
        let mut lines = before.split('\n');
        let old_size = lines.next().and_then(|line| decimal(line.strip_prefix("old ")?));
        Ok(Self {
            old_size: old_size.ok_or(AddCheckpointInvalid::OldSize)?,
            proof: parse_hashes(lines).ok_or(AddCheckpointInvalid::Hash)?,
            checkpoint: SignedCheckpoint::parse(checkpoint.as_bytes())?,
        })
    }

    /// The body to send.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old_size);
        self.proof.iter().for_each(|hash| text.push_str(&format!("{hash}\n")));
        text.push('\n');
        let mut body = text.into_bytes();
        body.extend(self.checkpoint.to_bytes());
        body
    }
}
