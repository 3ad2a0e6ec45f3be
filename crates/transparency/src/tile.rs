//! C2SP tlog-tiles: the tree as immutable files of up to 256 hashes, from which any proof is computed.

mod bundle;
mod difference;
mod directory;
mod id;
mod reader;
mod state;
mod store;
mod verified;
mod writer;

pub use bundle::{BundleInvalid, MAX_ENTRY_BYTES, encode_bundle, parse_bundle};
pub use difference::{CompareError, first_difference};
pub use directory::DirectoryTiles;
pub(crate) use id::decimal;
pub use id::{BundleId, TileId, TilePathInvalid};
pub use reader::{ReadError, TileReader};
pub use state::StateInvalid;
pub use store::{MemoryTiles, Put, TileSource, TileStore};
pub use verified::{TileInvalid, VerifiedTiles};
pub use writer::{TileWriter, WriteError};

use crate::hash::{HASH_LENGTH, Hash};

/// Levels of the tree in one tile.
const TILE_HEIGHT: u8 = 8;
/// Hashes of a full tile.
pub const TILE_WIDTH: u16 = 1 << TILE_HEIGHT;

/// The hashes of a tile's bytes; `None` if the length is not that of `width` hashes.
fn hashes_of(bytes: &[u8], width: u16) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_LENGTH>();
    (rest.is_empty() && hashes.len() == usize::from(width)).then(|| hashes.iter().copied().map(Hash).collect())
}

fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

#[cfg(test)]
mod tests;
