//! Compact ranges: the perfect subtrees that cover a run of leaves, which is all that is needed to append to it.

use super::{MAX_TREE_SIZE, NodeId, TreeHead, cover, fold_perfect, fold_right};
use crate::hash::{HASH_LENGTH, Hash, node_hash};

/// How many leaves [`CompactRange::extend`] folds at once: large enough that the loop over nodes dominates, small enough
/// to stay in the first-level cache (8 KiB).
const CHUNK: usize = 256;
const CHUNK_LEVEL: u8 = CHUNK.ilog2() as u8;

/// The leaves `begin..end` of a tree, reduced to the roots of the largest perfect subtrees that cover them: at most
/// 124 hashes.
///
/// A range that begins at 0 is a whole tree. Ranges that adjoin can be computed in parallel and merged.
///
/// # Serialised form
/// `begin u64 ‖ end u64 ‖ hash…`, big-endian; the number of hashes follows from `begin` and `end`, which are at most
/// [`MAX_TREE_SIZE`]. There is one serialised form for each range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactRange {
    begin: u64,
    end: u64,
    nodes: Vec<Hash>,
}

/// Why bytes or hashes are not a compact range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompactRangeInvalid {
    /// `begin` is greater than `end`, or `end` is greater than [`MAX_TREE_SIZE`].
    #[error("leaves {begin} to {end} are not a range of a tree")]
    Bounds {
        /// The first leaf.
        begin: u64,
        /// The leaf after the last.
        end: u64,
    },
    /// Not the length that the bounds demand.
    #[error("the compact range has another length than its bounds demand")]
    Length,
}

/// The right range does not begin where the left one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range that begins at leaf {begin} does not adjoin one that ends at {end}")]
pub struct NotAdjacent {
    /// Where the left range ends.
    pub end: u64,
    /// Where the right range begins.
    pub begin: u64,
}

/// How many subtrees cover these leaves.
fn node_count(begin: u64, end: u64) -> Result<usize, CompactRangeInvalid> {
    if begin > end || end > MAX_TREE_SIZE {
        return Err(CompactRangeInvalid::Bounds { begin, end });
    }
    Ok(cover(begin, end).count())
}

impl Default for CompactRange {
    fn default() -> Self {
        Self::from_leaf(0)
    }
}

impl CompactRange {
    /// An empty range before leaf number `begin`; with 0, an empty tree. `begin` is at most [`MAX_TREE_SIZE`].
    #[must_use]
    pub const fn from_leaf(begin: u64) -> Self {
        assert!(begin <= MAX_TREE_SIZE, "no tree is that large");
        Self {
            begin,
            end: begin,
            nodes: Vec::new(),
        }
    }

    /// The range with these subtrees, from left to right.
    ///
    /// # Errors
    /// If the bounds are not a range, or demand another number of hashes.
    pub fn from_nodes(begin: u64, end: u64, nodes: Vec<Hash>) -> Result<Self, CompactRangeInvalid> {
        if nodes.len() != node_count(begin, end)? {
            return Err(CompactRangeInvalid::Length);
        }
        Ok(Self { begin, end, nodes })
    }

    /// The number of its first leaf.
    #[must_use]
    pub const fn begin(&self) -> u64 {
        self.begin
    }

    /// The number of the leaf after its last: the size of the tree if it begins at 0.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Its subtrees from left to right.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, Hash)> {
        cover(self.begin, self.end).zip(self.nodes.iter().copied())
    }

    /// Appends a leaf. Amortised one node hash.
    ///
    /// # Panics
    /// If the tree has [`MAX_TREE_SIZE`] leaves, which only a range that was parsed can have.
    pub fn append(&mut self, leaf: Hash) {
        self.push(0, leaf);
    }

    /// Appends leaves in order.
    ///
    /// # Panics
    /// As [`append`](Self::append).
    pub fn extend(&mut self, mut leaves: &[Hash]) {
        let mut chunk = [Hash::EMPTY_TREE; CHUNK];
        while let Some((leaf, rest)) = leaves.split_first() {
            if self.end.is_multiple_of(CHUNK as u64)
                && let Some((run, rest)) = leaves.split_at_checked(CHUNK)
            {
                chunk.copy_from_slice(run);
                self.push(CHUNK_LEVEL, fold_perfect(&mut chunk));
                leaves = rest;
            } else {
                self.push(0, *leaf);
                leaves = rest;
            }
        }
    }

    /// Appends the range that follows this one.
    ///
    /// # Errors
    /// If `right` does not begin where this range ends.
    pub fn merge(&mut self, right: &Self) -> Result<(), NotAdjacent> {
        if right.begin != self.end {
            return Err(NotAdjacent {
                end: self.end,
                begin: right.begin,
            });
        }
        for (node, hash) in right.nodes() {
            self.push(node.level, hash);
        }
        Ok(())
    }

    /// Appends a perfect subtree at `end`, which is a multiple of its size, and joins it with its left siblings.
    fn push(&mut self, level: u8, hash: Hash) {
        let end = self.end + (1 << level);
        assert!(end <= MAX_TREE_SIZE, "no tree is that large");
        let (mut level, mut hash) = (level, hash);
        let mut index = self.end >> level;
        // The left sibling of an odd node is the last subtree of the range, unless it begins before the range.
        while index % 2 == 1 && (index - 1) << level >= self.begin {
            let left = self.nodes.pop().expect("the cover contains the left sibling");
            hash = node_hash(&left, &hash);
            index /= 2;
            level += 1;
        }
        self.nodes.push(hash);
        self.end = end;
    }

    /// The tree of which this range is the whole; `None` if the range does not begin at 0.
    #[must_use]
    pub fn head(&self) -> Option<TreeHead> {
        (self.begin == 0).then(|| TreeHead {
            size: self.end,
            root: fold_right(self.nodes.iter().copied()).unwrap_or(Hash::EMPTY_TREE),
        })
    }

    /// The serialised form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.nodes.len() * HASH_LENGTH);
        bytes.extend(self.begin.to_be_bytes());
        bytes.extend(self.end.to_be_bytes());
        self.nodes.iter().for_each(|hash| bytes.extend(hash.0));
        bytes
    }

    /// Parses the serialised form.
    ///
    /// # Errors
    /// If the bytes are not the serialised form of a range.
    pub fn parse(bytes: &[u8]) -> Result<Self, CompactRangeInvalid> {
        let (begin, rest) = bytes.split_first_chunk().ok_or(CompactRangeInvalid::Length)?;
        let (end, rest) = rest.split_first_chunk().ok_or(CompactRangeInvalid::Length)?;
        let (begin, end) = (u64::from_be_bytes(*begin), u64::from_be_bytes(*end));
        // Checked before anything is allocated.
        if rest.len() != node_count(begin, end)? * HASH_LENGTH {
            return Err(CompactRangeInvalid::Length);
        }
        let (hashes, _) = rest.as_chunks::<HASH_LENGTH>();
        Self::from_nodes(begin, end, hashes.iter().copied().map(Hash).collect())
    }
}
