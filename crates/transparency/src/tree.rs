//! RFC 6962 Merkle trees: compact ranges, inclusion and consistency proofs.

mod plan;
mod range;
mod verify;

pub use plan::{ConsistencyPlanInvalid, LeafOutOfTree, ProofPlan};
pub use range::{CompactRange, CompactRangeInvalid, NotAdjacent};
pub use verify::{ProofInvalid, verify_consistency, verify_inclusion};

use crate::hash::{Hash, node_hash};

/// Most leaves of a tree. Formats refuse larger numbers, so that sizes can be added and shifted without overflow; a
/// million leaves a second reach it after 146,000 years.
pub const MAX_TREE_SIZE: u64 = 1 << 62;

/// A tree: how many leaves it has, and its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHead {
    /// Number of leaves.
    pub size: u64,
    /// The root hash (RFC 6962 section 2.1).
    pub root: Hash,
}

impl TreeHead {
    /// The tree without leaves.
    pub const EMPTY: Self = Self {
        size: 0,
        root: Hash::EMPTY_TREE,
    };
}

/// A node that is the root of a perfect subtree: it covers the 2^level leaves from `index · 2^level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// 0 for a leaf; below 64.
    pub level: u8,
    /// Its number among the nodes of its level, from 0.
    pub index: u64,
}

/// The largest perfect subtrees that cover the leaves `begin..end`, from left to right.
pub(crate) fn cover(mut begin: u64, end: u64) -> impl Iterator<Item = NodeId> {
    std::iter::from_fn(move || {
        let length = end.checked_sub(begin).filter(|length| *length > 0)?;
        let level = begin.trailing_zeros().min(length.ilog2());
        let node = NodeId {
            level: u8::try_from(level).expect("a level is below 64"),
            index: begin >> level,
        };
        begin += 1 << level;
        Some(node)
    })
}

/// The root over 2^n hashes of one level. The buffer is overwritten.
fn fold_perfect(hashes: &mut [Hash]) -> Hash {
    debug_assert!(hashes.len().is_power_of_two());
    let mut width = hashes.len();
    while width > 1 {
        width /= 2;
        for index in 0..width {
            hashes[index] = node_hash(&hashes[2 * index], &hashes[2 * index + 1]);
        }
    }
    hashes[0]
}

/// The root over 2^n hashes of one level.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Hash {
    fold_perfect(&mut hashes.to_vec())
}

/// The root over perfect subtrees of falling size, such as those of a whole tree; `None` if there are none.
pub(crate) fn fold_right(nodes: impl DoubleEndedIterator<Item = Hash>) -> Option<Hash> {
    nodes.rev().reduce(|right, left| node_hash(&left, &right))
}

#[cfg(test)]
pub(crate) mod naive {
    //! RFC 6962 section 2.1 as it is written, recursively over all leaves: the reference of the property tests.

    use super::{Hash, node_hash};

    /// The largest power of two below `length`, which is at least 2.
    fn split(length: usize) -> usize {
        1 << (length - 1).ilog2()
    }

    pub(crate) fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::EMPTY_TREE,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(&root(left), &root(right))
            }
        }
    }

    pub(crate) fn inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = split(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut path, sibling) = if index < k {
            (inclusion(index, left), root(right))
        } else {
            (inclusion(index - k, right), root(left))
        };
        path.push(sibling);
        path
    }

    pub(crate) fn consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
        fn subproof(old: usize, leaves: &[Hash], complete: bool) -> Vec<Hash> {
            if old == leaves.len() {
                return if complete { Vec::new() } else { vec![root(leaves)] };
            }
            let k = split(leaves.len());
            let (left, right) = leaves.split_at(k);
            let (mut proof, other) = if old <= k {
                (subproof(old, left, complete), root(right))
            } else {
                (subproof(old - k, right, false), root(left))
            };
            proof.push(other);
            proof
        }
        if old == 0 {
            Vec::new()
        } else {
            subproof(old, leaves, true)
        }
    }

    pub(crate) fn leaves(count: usize) -> Vec<Hash> {
        (0..count as u64)
            .map(|number| crate::leaf_hash(&number.to_be_bytes()))
            .collect()
    }
}

#[cfg(test)]
mod tests;
