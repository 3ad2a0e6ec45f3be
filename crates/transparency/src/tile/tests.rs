mod crash;
mod directory;
mod names;
mod reading;

use std::collections::BTreeMap;

use super::*;
use crate::tree::naive;

/// The full and partial tiles of a tree by name, by the definition of C2SP tlog-tiles: hash `i` of tile `n` of level `l`
/// is the root over the leaves `(256n + i) · 256^l` to `(256n + i + 1) · 256^l`.
fn tiles_by_definition(leaves: &[Hash]) -> BTreeMap<String, Vec<u8>> {
    let mut tiles = BTreeMap::new();
    let mut level = leaves.to_vec();
    for number in 0_u8.. {
        if level.is_empty() {
            break;
        }
        for (index, hashes) in (0_u64..).zip(level.chunks(256)) {
            let partial = if hashes.len() < 256 {
                format!(".p/{}", hashes.len())
            } else {
                String::new()
            };
            assert!(index < 1000, "these trees are small");
            let name = format!("tile/{number}/{index:03}{partial}");
            tiles.insert(name, hashes.iter().flat_map(|hash| hash.0).collect());
        }
        level = level.chunks_exact(256).map(naive::root).collect();
    }
    tiles
}

/// Writes a tree with a commit at each of these sizes.
fn write<S: TileStore>(store: S, leaves: &[Hash], sizes: &[usize]) -> TileWriter<S> {
    let mut writer = TileWriter::open(store).unwrap();
    for size in sizes {
        let from = usize::try_from(writer.size()).unwrap();
        writer.append(&leaves[from..*size]).unwrap();
        let head = writer.commit().unwrap();
        assert_eq!(head.root, naive::root(&leaves[..*size]));
    }
    writer
}
