//! Which hashes a proof consists of, computed from sizes alone. The hashes themselves are in tiles.

use std::ops::Range;

use super::{NodeId, cover, fold_right};
use crate::hash::Hash;

/// The hashes of a proof, in its order, as the runs of leaves that each of them covers.
///
/// A plan contains at most 64 hashes. Those of perfect subtrees are single nodes; the others are folded from the nodes
/// that cover them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPlan {
    subtrees: Vec<Range<u64>>,
}

/// The leaf is not in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has no leaf number {index}")]
pub struct LeafOutOfTree {
    /// The leaf, from 0.
    pub index: u64,
    /// Leaves of the tree.
    pub size: u64,
}

/// The old tree is larger than the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {new} leaves did not grow from one of {old}")]
pub struct ConsistencyPlanInvalid {
    /// Leaves of the old tree.
    pub old: u64,
    /// Leaves of the new tree.
    pub new: u64,
}

/// The largest power of two below `length`, which is at least 2 (RFC 6962 section 2.1).
const fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

impl ProofPlan {
    /// The Merkle audit path of RFC 6962 section 2.1.1.
    ///
    /// # Errors
    /// If the tree does not contain the leaf.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, LeafOutOfTree> {
        if index >= size {
            return Err(LeafOutOfTree { index, size });
        }
        let (mut tree, mut subtrees) = (0..size, Vec::new());
        while tree.end - tree.start > 1 {
            let middle = tree.start + split(tree.end - tree.start);
            if index < middle {
                subtrees.push(middle..tree.end);
                tree.end = middle;
            } else {
                subtrees.push(tree.start..middle);
                tree.start = middle;
            }
        }
        subtrees.reverse();
        Ok(Self { subtrees })
    }

    /// The Merkle consistency proof of RFC 6962 section 2.1.2. It is empty if the old tree is empty, or if both sizes
    /// are equal.
    ///
    /// # Errors
    /// If the old tree is larger than the new one.
    pub fn consistency(old: u64, new: u64) -> Result<Self, ConsistencyPlanInvalid> {
        if old > new {
            return Err(ConsistencyPlanInvalid { old, new });
        }
        let (mut tree, mut subtrees) = (0..new, Vec::new());
        if old == 0 {
            return Ok(Self { subtrees });
        }
        // SUBPROOF of the RFC: the flag is `tree.start == 0`, because the left side is never left again.
        while tree.end != old {
            let middle = tree.start + split(tree.end - tree.start);
            if old <= middle {
                subtrees.push(middle..tree.end);
                tree.end = middle;
            } else {
                subtrees.push(tree.start..middle);
                tree.start = middle;
            }
        }
        if tree.start != 0 {
            subtrees.push(tree);
        }
        subtrees.reverse();
        Ok(Self { subtrees })
    }

    /// Every node that is needed for the proof.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.subtrees.iter().flat_map(|leaves| cover(leaves.start, leaves.end))
    }

    /// The proof, from the hashes of the nodes.
    ///
    /// # Errors
    /// The first error of `node`.
    pub fn assemble<E>(&self, mut node: impl FnMut(NodeId) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
        let mut proof = Vec::with_capacity(self.subtrees.len());
        for leaves in &self.subtrees {
            let nodes: Vec<Hash> = cover(leaves.start, leaves.end)
                .map(&mut node)
                .collect::<Result<_, _>>()?;
            proof.push(fold_right(nodes.into_iter()).expect("a subtree of a proof has leaves"));
        }
        Ok(proof)
    }
}
