//! Turns a growing tree into tiles.
//!
//! # Crashes
//! [`TileWriter::append`] writes each tile when it is full, and [`TileWriter::commit`] writes in this order: the partial
//! tiles, a flush, the state, and at last it removes partial tiles that full ones have replaced. The same leaves always
//! give the same tiles, so whatever a crash leaves behind beyond the committed state is what the next writer puts again.
//!
//! - A crash before the state is replaced leaves tiles that no checkpoint needs. [`TileWriter::open`] continues from the
//!   committed state, and its caller appends the leaves after it again.
//! - A crash after that leaves partial tiles that nobody needs. The state says which; opening removes them.
//!
//! After an error of the store the writer refuses to continue, and opening it again is the same path as after a crash.

use super::state::{State, StateInvalid};
use super::{Put, TILE_HEIGHT, TILE_WIDTH, TileId, TileStore, bytes_of, hashes_of};
use crate::hash::Hash;
use crate::tree::{CompactRange, NodeId, TreeHead, perfect_root};

/// Appends leaf hashes, and stores the tiles of the tree.
///
/// Memory: at most 255 hashes for each level, 64 KiB in all, and one tile that is being written.
#[derive(Debug)]
pub struct TileWriter<S> {
    store: S,
    /// The hashes of the partial tile of each level. Each is the root of a full tile of the level below.
    edge: Vec<Vec<Hash>>,
    size: u64,
    committed: u64,
    failed: bool,
}

/// Why tiles were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E: std::error::Error + 'static> {
    /// The store failed. The writer must be opened again.
    #[error("the store of the tiles failed")]
    Store(#[source] E),
    /// The state is damaged.
    #[error(transparent)]
    State(#[from] StateInvalid),
    /// A committed tile is missing.
    #[error("{0} is missing")]
    Missing(TileId),
    /// A committed tile does not contain the hashes that the state demands.
    #[error("{0} does not agree with the committed tree")]
    Disagrees(TileId),
    /// The store has another tile of this name: the leaves differ from those of which it was written.
    #[error("{0} already exists with other hashes: the tree has forked")]
    Forked(TileId),
    /// An earlier call failed.
    #[error("the writer must be opened again after a failure")]
    Failed,
}

impl<S: TileStore> TileWriter<S> {
    /// Opens a store and continues from its committed state.
    ///
    /// # Errors
    /// If the store fails, or if its state and the tiles on the right edge disagree. The error names the tile.
    pub fn open(store: S) -> Result<Self, WriteError<S::Error>> {
        let state = match store.state().map_err(WriteError::Store)? {
            Some(bytes) => State::parse(&bytes)?,
            None => State::default(),
        };
        let size = state.tree.end();
        let mut writer = Self {
            store,
            edge: Vec::new(),
            size,
            committed: size,
            failed: false,
        };
        for tile in TileId::right_edge(size) {
            let hashes = writer.read(tile)?;
            if !agrees(tile, &hashes, &state.tree) {
                return Err(WriteError::Disagrees(tile));
            }
            let level = usize::from(tile.level());
            writer.edge.resize_with(writer.edge.len().max(level + 1), Vec::new);
            writer.edge[level] = hashes;
        }
        writer.prune(state.previous_size)?;
        Ok(writer)
    }

    fn read(&self, tile: TileId) -> Result<Vec<Hash>, WriteError<S::Error>> {
        let bytes = self.store.get(&tile.to_string()).map_err(WriteError::Store)?;
        let bytes = bytes.ok_or(WriteError::Missing(tile))?;
        hashes_of(&bytes, tile.width()).ok_or(WriteError::Disagrees(tile))
    }

    /// The number of leaves, committed or not.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The number of leaves of the last committed tree: where to continue after [`open`](Self::open).
    #[must_use]
    pub const fn committed_size(&self) -> u64 {
        self.committed
    }

    /// The compact range of the tree, committed or not.
    #[must_use]
    pub fn compact_range(&self) -> CompactRange {
        let mut nodes = Vec::new();
        for hashes in self.edge.iter().rev() {
            nodes.extend(subtrees(hashes).map(|(_, hash)| hash));
        }
        CompactRange::from_nodes(0, self.size, nodes).expect("the edge covers the tree")
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Appends leaves in order, and writes the tiles that become full.
    ///
    /// # Errors
    /// If the store fails or has other tiles. The writer must then be opened again.
    pub fn append(&mut self, leaves: &[Hash]) -> Result<(), WriteError<S::Error>> {
        self.attempt(|writer| {
            let mut leaves = leaves;
            while !leaves.is_empty() {
                let room = usize::from(TILE_WIDTH) - writer.level(0).len();
                let (run, rest) = leaves.split_at(room.min(leaves.len()));
                writer.level(0).extend_from_slice(run);
                writer.size += run.len() as u64;
                writer.write_full_tiles()?;
                leaves = rest;
            }
            Ok(())
        })
    }

    /// Makes the tree durable: afterwards a checkpoint of it may be published. Does nothing if nothing was appended.
    ///
    /// # Errors
    /// If the store fails or has other tiles. The writer must then be opened again.
    pub fn commit(&mut self) -> Result<TreeHead, WriteError<S::Error>> {
        let tree = self.compact_range();
        let head = tree.head().expect("the tree begins at leaf 0");
        self.attempt(|writer| {
            if writer.size == writer.committed {
                return Ok(());
            }
            for tile in TileId::right_edge(writer.size) {
                let bytes = bytes_of(&writer.edge[usize::from(tile.level())]);
                writer.put(tile, &bytes)?;
            }
            writer.store.flush().map_err(WriteError::Store)?;
            let state = State {
                tree,
                previous_size: writer.committed,
            };
            writer
                .store
                .replace_state(&state.to_bytes())
                .map_err(WriteError::Store)?;
            let previous_size = std::mem::replace(&mut writer.committed, writer.size);
            writer.prune(previous_size)
        })?;
        Ok(head)
    }

    /// Refuses to run after a failure, and remembers one.
    fn attempt(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), WriteError<S::Error>>,
    ) -> Result<(), WriteError<S::Error>> {
        if self.failed {
            return Err(WriteError::Failed);
        }
        self.failed = true;
        step(self)?;
        self.failed = false;
        Ok(())
    }

    fn level(&mut self, level: usize) -> &mut Vec<Hash> {
        if self.edge.len() <= level {
            self.edge.resize_with(level + 1, Vec::new);
        }
        &mut self.edge[level]
    }

    /// Writes the tile of level 0 if it is full, and each higher tile that becomes full by that.
    fn write_full_tiles(&mut self) -> Result<(), WriteError<S::Error>> {
        for level in 0_u8.. {
            let hashes = self.level(usize::from(level));
            if hashes.len() < usize::from(TILE_WIDTH) {
                break;
            }
            let (bytes, root) = (bytes_of(hashes), perfect_root(hashes));
            hashes.clear();
            let tile = TileId::full(level, (self.size >> (TILE_HEIGHT * (level + 1))) - 1);
            self.put(tile, &bytes)?;
            self.level(usize::from(level) + 1).push(root);
        }
        Ok(())
    }

    fn put(&mut self, tile: TileId, bytes: &[u8]) -> Result<(), WriteError<S::Error>> {
        match self.store.put(&tile.to_string(), bytes).map_err(WriteError::Store)? {
            Put::Stored => Ok(()),
            Put::Conflict => Err(WriteError::Forked(tile)),
        }
    }

    /// Removes the partial versions of the tiles on the right edge of an earlier tree that are full in the committed one.
    fn prune(&mut self, previous_size: u64) -> Result<(), WriteError<S::Error>> {
        for tile in TileId::right_edge(previous_size) {
            let now = TileId::in_tree(tile.level(), tile.index(), self.committed);
            if now == Some(tile.when_full()) {
                let name = tile.when_full().to_string();
                self.store.remove_partials(&name).map_err(WriteError::Store)?;
            }
        }
        Ok(())
    }
}

/// The perfect subtrees within a partial tile that the root of the tree is folded from, by their level in the tile.
pub(super) fn subtrees(hashes: &[Hash]) -> impl Iterator<Item = (u8, Hash)> {
    let mut rest = hashes;
    (0..TILE_HEIGHT).rev().filter_map(move |height| {
        let width = 1 << height;
        if hashes.len() & width == 0 {
            return None;
        }
        let (run, after) = rest.split_at(width);
        rest = after;
        Some((height, perfect_root(run)))
    })
}

/// Whether a tile on the right edge contains the hashes that the compact range of the tree demands.
fn agrees(tile: TileId, hashes: &[Hash], tree: &CompactRange) -> bool {
    subtrees(hashes).all(|(height, hash)| {
        let level = tile.level() * TILE_HEIGHT + height;
        let id = NodeId {
            level,
            // Each set bit of the size is one subtree of the cover: the last of its level.
            index: (tree.end() >> level) - 1,
        };
        tree.nodes().any(|node| node == (id, hash))
    })
}
