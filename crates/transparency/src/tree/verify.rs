//! Verification of proofs by the algorithms of RFC 9162 section 2.1.3.2 and 2.1.4.2. They share no code with the
//! generation of proofs.

use super::{MAX_TREE_SIZE, TreeHead};
use crate::hash::{Hash, node_hash};

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofInvalid {
    /// The leaf or the old tree is not within the tree, or a size is greater than [`MAX_TREE_SIZE`].
    #[error("the proof is about a leaf or a tree that is not within the tree")]
    OutOfTree,
    /// The proof has another number of hashes than its sizes demand.
    #[error("the proof has another number of hashes than the sizes demand")]
    Length,
    /// The proof leads to another root than the tree has: the leaf, the proof or the tree was changed.
    #[error("the proof leads to another root")]
    OtherRoot,
    /// The proof starts from another root than the old tree has: the old tree was not a beginning of the new one.
    #[error("the proof starts from another tree")]
    OtherOldRoot,
}

/// Shifts both numbers right until the first is odd. It is not 0: it is odd already, or equal to the last position,
/// which was compared with 0 before.
fn skip_zeros(first: &mut u64, second: &mut u64) {
    let zeros = first.trailing_zeros();
    *first >>= zeros;
    *second >>= zeros;
}

/// Checks that a leaf is number `index` of a tree.
///
/// # Errors
/// If the proof does not lead from this leaf to this root.
pub fn verify_inclusion(leaf: &Hash, index: u64, tree: &TreeHead, proof: &[Hash]) -> Result<(), ProofInvalid> {
    if index >= tree.size || tree.size > MAX_TREE_SIZE {
        return Err(ProofInvalid::OutOfTree);
    }
    let (mut position, mut last, mut root) = (index, tree.size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofInvalid::Length);
        }
        if position % 2 == 1 || position == last {
            root = node_hash(sibling, &root);
            skip_zeros(&mut position, &mut last);
        } else {
            root = node_hash(&root, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofInvalid::Length);
    }
    if root != tree.root {
        return Err(ProofInvalid::OtherRoot);
    }
    Ok(())
}

/// Checks that a tree grew from an old one: the old leaves are its first leaves, unchanged and in the same order.
///
/// # Errors
/// If the proof does not connect the two roots.
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Hash]) -> Result<(), ProofInvalid> {
    if old.size > new.size || new.size > MAX_TREE_SIZE {
        return Err(ProofInvalid::OutOfTree);
    }
    if new.size == 0 && new.root != Hash::EMPTY_TREE {
        return Err(ProofInvalid::OtherRoot);
    }
    if old.size == 0 && old.root != Hash::EMPTY_TREE {
        return Err(ProofInvalid::OtherOldRoot);
    }
    if old.size == 0 || old.size == new.size {
        return match proof {
            [] if old.size == 0 || old.root == new.root => Ok(()),
            [] => Err(ProofInvalid::OtherRoot),
            _ => Err(ProofInvalid::Length),
        };
    }
    let (mut position, mut last) = (old.size - 1, new.size - 1);
    let ones = position.trailing_ones();
    position >>= ones;
    last >>= ones;
    // A perfect old tree is a node of the new one, so its root is not repeated in the proof.
    let (first, rest) = if old.size.is_power_of_two() {
        (&old.root, proof)
    } else {
        proof.split_first().ok_or(ProofInvalid::Length)?
    };
    let (mut old_root, mut new_root) = (*first, *first);
    for hash in rest {
        if last == 0 {
            return Err(ProofInvalid::Length);
        }
        if position % 2 == 1 || position == last {
            old_root = node_hash(hash, &old_root);
            new_root = node_hash(hash, &new_root);
            skip_zeros(&mut position, &mut last);
        } else {
            new_root = node_hash(&new_root, hash);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofInvalid::Length);
    }
    if old_root != old.root {
        return Err(ProofInvalid::OtherOldRoot);
    }
    if new_root != new.root {
        return Err(ProofInvalid::OtherRoot);
    }
    Ok(())
}
