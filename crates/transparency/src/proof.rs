//! C2SP tlog-proof: a file that proves offline that an entry is in a log, and that witnesses saw the log.
//!
//! ```text
//! proof = "c2sp.org/tlog-proof@v1" %x0A
//!         [ "extra " base64( data ) %x0A ]
//!         "index " index %x0A
//!         *63( base64( hash:32 ) %x0A )
//!         %x0A
//!         checkpoint                                 a signed note, see the modules `checkpoint` and `note`
//! ```
//! The extra data is not authenticated. Here it is the opening of the leaf, from which the leaf hash is computed; see
//! [`Opening`](crate::leaf::Opening).

use crate::base64;
use crate::checkpoint::{CheckpointInvalid, SignedCheckpoint};
use crate::hash::Hash;
use crate::note::MAX_NOTE_BYTES;
use crate::policy::{CheckpointUntrusted, TrustPolicy, TrustedCheckpoint};
use crate::tile::decimal;
use crate::tree::{ProofInvalid, verify_inclusion};

const TITLE: &str = "c2sp.org/tlog-proof@v1";
/// Most hashes of a proof: a tree of at most 2^62 leaves is not higher, and C2SP names this limit.
pub const MAX_PROOF_HASHES: usize = 63;
/// Longest extra data in bytes: more than any opening of a leaf.
pub const MAX_EXTRA_BYTES: usize = 1 << 20;
/// Longest proof in bytes.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + MAX_EXTRA_BYTES / 3 * 4 + MAX_PROOF_HASHES * 45 + 256;

/// A proof that an entry is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    /// Data from which the application computes the leaf; empty if there is none. Not authenticated.
    pub extra: Vec<u8>,
    /// The number of the leaf in the tree, from 0.
    pub index: u64,
    /// The inclusion proof.
    pub hashes: Vec<Hash>,
    /// The checkpoint of the tree, with the signature of the log and the cosignatures of witnesses.
    pub checkpoint: SignedCheckpoint,
}

/// Why bytes are not a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogProofInvalid {
    /// Longer than [`MAX_PROOF_BYTES`].
    #[error("the proof is longer than {MAX_PROOF_BYTES} bytes")]
    TooLong,
    /// The first line is another one.
    #[error("the first line is not {TITLE}")]
    Title,
    /// No empty line before the checkpoint, or bytes that are not UTF-8.
    #[error("the proof has no empty line before its checkpoint, or is not text")]
    Structure,
    /// The extra data is not base64, is empty, or is too long.
    #[error("the extra data is malformed")]
    Extra,
    /// The line of the index is missing or malformed.
    #[error("the index is missing or malformed")]
    Index,
    /// A line is not the base64 of a hash, or there are more than [`MAX_PROOF_HASHES`].
    #[error("a hash of the proof is malformed, or there are more than {MAX_PROOF_HASHES}")]
    Hash,
    /// The checkpoint is malformed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointInvalid),
}

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogProofUntrusted {
    /// The checkpoint is not trusted.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointUntrusted),
    /// The leaf is not at this place of the tree.
    #[error(transparent)]
    Inclusion(#[from] ProofInvalid),
}

impl LogProof {
    /// The text of the proof; files of it end in `.tlog-proof`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{TITLE}\n");
        if !self.extra.is_empty() {
            text.push_str(&format!("extra {}\n", base64::encode(&self.extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        self.hashes.iter().for_each(|hash| text.push_str(&format!("{hash}\n")));
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend(self.checkpoint.to_bytes());
        bytes
    }

    /// Parses a proof. Nothing is verified.
    ///
    /// # Errors
    /// If the bytes are not a proof in its only form.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogProofInvalid> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(LogProofInvalid::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| LogProofInvalid::Structure)?;
        // A checkpoint has no empty line before its signatures, so the first empty line is the separator.
        let (before, checkpoint) = text.split_once("\n\n").ok_or(LogProofInvalid::Structure)?;
        let mut lines = before.split('\n').peekable();
        if lines.next() != Some(TITLE) {
            return Err(LogProofInvalid::Title);
        }
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => parse_extra(&line["extra ".len()..]).ok_or(LogProofInvalid::Extra)?,
            None => Vec::new(),
        };
        let index = lines.next().and_then(|line| decimal(line.strip_prefix("index ")?));
        let index = index.ok_or(LogProofInvalid::Index)?;
        Ok(Self {
            extra,
            index,
            hashes: parse_hashes(lines).ok_or(LogProofInvalid::Hash)?,
            checkpoint: SignedCheckpoint::parse(checkpoint.as_bytes())?,
        })
    }

    /// Verifies that the log contains this leaf, according to the keys of the policy alone.
    ///
    /// # Errors
    /// If the checkpoint is not trusted, or the leaf is not in its tree at this place.
    pub fn verify(&self, leaf: &Hash, policy: &TrustPolicy) -> Result<TrustedCheckpoint, LogProofUntrusted> {
        let trusted = policy.verify(&self.checkpoint)?;
        verify_inclusion(leaf, self.index, &trusted.checkpoint.head(), &self.hashes)?;
        Ok(trusted)
    }
}

/// Data that is not empty and not too long.
fn parse_extra(text: &str) -> Option<Vec<u8>> {
    let data = base64::decode(text)?;
    (1..=MAX_EXTRA_BYTES).contains(&data.len()).then_some(data)
}

/// One hash a line, at most [`MAX_PROOF_HASHES`].
pub(crate) fn parse_hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Hash>> {
    let hashes: Vec<Hash> = lines
        .take(MAX_PROOF_HASHES + 1)
        .map(Hash::from_base64)
        .collect::<Option<_>>()?;
    (hashes.len() <= MAX_PROOF_HASHES).then_some(hashes)
}

#[cfg(test)]
mod tests;
