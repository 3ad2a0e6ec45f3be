//! The state of a tile writer: what it has committed.
//!
//! ```text
//! state    = "citycode-tiles-1" previous:8 range check:32
//! previous   the size before the last commit: of tiles that became full since, partial versions may be left
//! range      the compact range of the whole tree, serialised
//! check      SHA-256 of everything before it
//! ```
//! Numbers are big-endian.

use crate::hash::{HASH_LENGTH, sha256};
use crate::tree::CompactRange;

const TITLE: &[u8; 16] = b"citycode-tiles-1";

/// The stored state is not one that a tile writer wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state of the tiles is damaged or of another format")]
pub struct StateInvalid;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) tree: CompactRange,
    pub(super) previous_size: u64,
}

impl State {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = TITLE.to_vec();
        bytes.extend(self.previous_size.to_be_bytes());
        bytes.extend(self.tree.to_bytes());
        let check = sha256(&[&bytes]);
        bytes.extend(check.0);
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, StateInvalid> {
        let (body, check) = bytes.split_last_chunk::<HASH_LENGTH>().ok_or(StateInvalid)?;
        if sha256(&[body]).0 != *check {
            return Err(StateInvalid);
        }
        let rest = body.strip_prefix(TITLE).ok_or(StateInvalid)?;
        let (previous_size, range) = rest.split_first_chunk().ok_or(StateInvalid)?;
        let previous_size = u64::from_be_bytes(*previous_size);
        let tree = CompactRange::parse(range).map_err(|_| StateInvalid)?;
        // A state is written only for a tree that grew.
        if tree.begin() != 0 || previous_size >= tree.end() {
            return Err(StateInvalid);
        }
        Ok(Self { tree, previous_size })
    }
}
