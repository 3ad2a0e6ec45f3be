//! Reads the tiles of one tree, and computes proofs. Every tile is checked before a hash of it is used.

use super::{TILE_WIDTH, TileId, TileInvalid, TileSource, VerifiedTiles};
use crate::hash::{HASH_LENGTH, Hash};
use crate::tree::{ConsistencyPlanInvalid, LeafOutOfTree, NodeId, ProofPlan, TreeHead};

/// Most tiles that a reader keeps: 8 MiB. A proof needs a dozen; this serves many proofs about neighbouring leaves.
const MAX_CACHED_TILES: usize = 1024;

/// Reads from a source that is not trusted.
#[derive(Debug)]
pub struct TileReader<S> {
    source: S,
    tiles: VerifiedTiles,
}

/// Why a proof could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E: std::error::Error + 'static> {
    /// The source failed.
    #[error("the tiles cannot be read")]
    Source(#[source] E),
    /// A tile is missing or wrong.
    #[error(transparent)]
    Tile(#[from] TileInvalid),
    /// The tree does not contain the leaf.
    #[error(transparent)]
    Leaf(#[from] LeafOutOfTree),
    /// The tree did not grow from one of that size.
    #[error(transparent)]
    Consistency(#[from] ConsistencyPlanInvalid),
}

/// The bytes of a tile. A server may have removed a partial tile once it was full; the full one begins with the same
/// hashes.
fn fetch<S: TileSource>(source: &S, tile: TileId) -> Result<Vec<u8>, ReadError<S::Error>> {
    if let Some(bytes) = source.get(&tile.to_string()).map_err(ReadError::Source)? {
        return Ok(bytes);
    }
    let full = usize::from(TILE_WIDTH) * HASH_LENGTH;
    let bytes = source.get(&tile.when_full().to_string()).map_err(ReadError::Source)?;
    let mut bytes = bytes
        .filter(|bytes| bytes.len() == full)
        .ok_or(TileInvalid::Missing(tile))?;
    bytes.truncate(usize::from(tile.width()) * HASH_LENGTH);
    Ok(bytes)
}

impl<S: TileSource> TileReader<S> {
    /// Reads and checks the right edge of a tree whose head is trusted, for example from a verified checkpoint.
    ///
    /// # Errors
    /// If the source fails, or its tiles are not those of the tree.
    pub fn open(source: S, head: TreeHead) -> Result<Self, ReadError<S::Error>> {
        let tiles = VerifiedTiles::new(head, |tile| fetch(&source, tile))?;
        Ok(Self { source, tiles })
    }

    /// The tree.
    #[must_use]
    pub const fn head(&self) -> TreeHead {
        self.tiles.head()
    }

    /// How many tiles it keeps: about 8 MiB at most.
    #[must_use]
    pub fn cached_tiles(&self) -> usize {
        self.tiles.count()
    }

    /// Reads and checks the tiles of these nodes.
    fn load(&mut self, nodes: impl IntoIterator<Item = NodeId>) -> Result<(), ReadError<S::Error>> {
        let needed = VerifiedTiles::needed(self.head().size, nodes)?;
        if self.tiles.count() + needed.len() > MAX_CACHED_TILES {
            self.tiles.forget_full_tiles();
        }
        for tile in needed {
            if !self.tiles.contains(tile) {
                self.tiles.check(tile, &fetch(&self.source, tile)?)?;
            }
        }
        Ok(())
    }

    /// The hash of a node.
    ///
    /// # Errors
    /// If the source fails, or a tile is missing or wrong.
    pub fn node(&mut self, node: NodeId) -> Result<Hash, ReadError<S::Error>> {
        self.load([node])?;
        Ok(self.tiles.node(node)?)
    }

    /// The hash of a leaf.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn leaf(&mut self, index: u64) -> Result<Hash, ReadError<S::Error>> {
        self.node(NodeId { level: 0, index })
    }

    /// The proof that a leaf is in the tree.
    ///
    /// # Errors
    /// If the tree has no such leaf, the source fails, or a tile is missing or wrong.
    pub fn inclusion_proof(&mut self, index: u64) -> Result<Vec<Hash>, ReadError<S::Error>> {
        let plan = ProofPlan::inclusion(index, self.head().size)?;
        self.assemble(&plan)
    }

    /// The proof that the tree grew from the one with its first `old_size` leaves.
    ///
    /// # Errors
    /// If that is larger than the tree, the source fails, or a tile is missing or wrong.
    pub fn consistency_proof(&mut self, old_size: u64) -> Result<Vec<Hash>, ReadError<S::Error>> {
        let plan = ProofPlan::consistency(old_size, self.head().size)?;
        self.assemble(&plan)
    }

    fn assemble(&mut self, plan: &ProofPlan) -> Result<Vec<Hash>, ReadError<S::Error>> {
        self.load(plan.nodes())?;
        Ok(plan.assemble(|node| self.tiles.node(node))?)
    }
}
