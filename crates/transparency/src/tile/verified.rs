//! Tiles that were checked against a tree head, so that no hash of them needs to be trusted.
//!
//! The root of a tree is folded from the partial tiles on its right edge. So these are checked together: if their hashes
//! do not fold to the root, at least one of them is wrong, and the tree head alone cannot tell which. Each full tile is
//! checked alone: its root is a hash in a tile that was checked before.

use std::collections::{BTreeMap, BTreeSet};

use super::writer::subtrees;
use super::{TileId, hashes_of};
use crate::hash::Hash;
use crate::tree::{NodeId, TreeHead, fold_right, perfect_root};

/// Tiles of one tree whose hashes are known to be those of the tree.
#[derive(Debug, Clone)]
pub struct VerifiedTiles {
    head: TreeHead,
    tiles: BTreeMap<(u8, u64), Vec<Hash>>,
}

/// Why a tile was refused, or a node is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileInvalid {
    /// The tile was not given.
    #[error("{0} is missing")]
    Missing(TileId),
    /// The tile has another length than its name says.
    #[error("{0} has another length than its name says")]
    Length(TileId),
    /// The full tile has another root than the tree has at this place.
    #[error("{0} is not a tile of this tree: it has another root")]
    OtherRoot(TileId),
    /// The partial tiles do not fold to the root of the tree: at least one of them is not of this tree.
    #[error("the tree head and its partial tiles disagree; at least one of these is wrong: {}", names(.0))]
    Edge(Vec<TileId>),
    /// The tree has no such node.
    #[error("a tree of {size} leaves has no node {} of level {}", .node.index, .node.level)]
    NoSuchNode {
        /// The node.
        node: NodeId,
        /// Leaves of the tree.
        size: u64,
    },
}

fn names(tiles: &[TileId]) -> String {
    let names: Vec<String> = tiles.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl VerifiedTiles {
    /// The tiles that must be fetched to know these nodes of a tree of `size` leaves, in the order in which
    /// [`check`](Self::check) accepts them: the right edge, then from the highest level to the leaves.
    ///
    /// # Errors
    /// If the tree has no such node.
    pub fn needed(size: u64, nodes: impl IntoIterator<Item = NodeId>) -> Result<Vec<TileId>, TileInvalid> {
        let mut full = BTreeSet::new();
        for node in nodes {
            let (tile, _) = TileId::of_node(node, size).ok_or(TileInvalid::NoSuchNode { node, size })?;
            let mut next = Some(tile);
            while let Some(tile) = next {
                let parent = tile.parent(size);
                // A partial tile is on the right edge.
                if parent.is_some() && !full.insert(tile) {
                    break;
                }
                next = parent.map(|(tile, _)| tile);
            }
        }
        Ok(TileId::right_edge(size).chain(full.into_iter().rev()).collect())
    }

    /// Checks the partial tiles on the right edge of a tree, given as a function from a tile to its bytes.
    ///
    /// # Errors
    /// [`TileInvalid`] for the first tile that is missing or wrong, or the error of `bytes`.
    pub fn new<E: From<TileInvalid>>(
        head: TreeHead,
        mut bytes: impl FnMut(TileId) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let edge: Vec<TileId> = TileId::right_edge(head.size).collect();
        let (mut tiles, mut nodes) = (BTreeMap::new(), Vec::new());
        for tile in &edge {
            let hashes = hashes_of(&bytes(*tile)?, tile.width()).ok_or(TileInvalid::Length(*tile))?;
            nodes.extend(subtrees(&hashes).map(|(_, hash)| hash));
            tiles.insert((tile.level(), tile.index()), hashes);
        }
        if fold_right(nodes.into_iter()).unwrap_or(Hash::EMPTY_TREE) != head.root {
            return Err(TileInvalid::Edge(edge).into());
        }
        Ok(Self { head, tiles })
    }

    /// Checks a full tile and adds it. Its parent must have been added before.
    ///
    /// # Errors
    /// If the tile is wrong, or its parent is missing.
    pub fn check(&mut self, tile: TileId, bytes: &[u8]) -> Result<(), TileInvalid> {
        let key = (tile.level(), tile.index());
        let Some((parent, place)) = tile.parent(self.head.size) else {
            // Partial tiles were checked with the head; others are of no tree of this size.
            return if self.tiles.contains_key(&key) {
                Ok(())
            } else {
                Err(TileInvalid::OtherRoot(tile))
            };
        };
        let hashes = hashes_of(bytes, tile.width()).ok_or(TileInvalid::Length(tile))?;
        let above = self.tiles.get(&(parent.level(), parent.index()));
        let root = above.ok_or(TileInvalid::Missing(parent))?[place];
        if perfect_root(&hashes) != root {
            return Err(TileInvalid::OtherRoot(tile));
        }
        self.tiles.insert(key, hashes);
        Ok(())
    }

    /// Whether this tile was checked.
    #[must_use]
    pub fn contains(&self, tile: TileId) -> bool {
        self.tiles.contains_key(&(tile.level(), tile.index()))
    }

    /// The tree.
    #[must_use]
    pub const fn head(&self) -> TreeHead {
        self.head
    }

    /// The hash of a node of the tree.
    ///
    /// # Errors
    /// If the tree has no such node, or the tile that contains it was not checked.
    pub fn node(&self, node: NodeId) -> Result<Hash, TileInvalid> {
        let size = self.head.size;
        let (tile, place) = TileId::of_node(node, size).ok_or(TileInvalid::NoSuchNode { node, size })?;
        let hashes = self
            .tiles
            .get(&(tile.level(), tile.index()))
            .ok_or(TileInvalid::Missing(tile))?;
        Ok(perfect_root(&hashes[place]))
    }

    /// Forgets the full tiles.
    pub(super) fn forget_full_tiles(&mut self) {
        self.tiles
            .retain(|_, hashes| hashes.len() < usize::from(super::TILE_WIDTH));
    }

    pub(super) fn count(&self) -> usize {
        self.tiles.len()
    }
}
