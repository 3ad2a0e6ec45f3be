//! Names of tiles, bundles, compact ranges and the writer's state: each has exactly one encoding.

use citycode_transparency::CompactRange;
use citycode_transparency::leaf_hash;
use citycode_transparency::tile::{BundleId, MemoryTiles, TileId, TileWriter, encode_bundle, parse_bundle};
use citycode_transparency::tree::MAX_TREE_SIZE;

/// Parses any bytes as a name, as a bundle whose width is the first byte, as a compact range, and as a state.
///
/// # Panics
/// If something is parsed that is not written in the same bytes, or if a range that was parsed cannot be used.
pub fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        if let Ok(tile) = text.parse::<TileId>() {
            assert_eq!(tile.to_string(), text, "a tile in another form");
        }
        if let Ok(bundle) = text.parse::<BundleId>() {
            assert_eq!(bundle.to_string(), text, "a bundle in another form");
        }
    }
    if let Some((width, bytes)) = input.split_first()
        && let Ok(entries) = parse_bundle(bytes, u16::from(*width))
    {
        assert_eq!(encode_bundle(entries).as_deref(), Ok(bytes), "a bundle in another form");
    }
    if let Ok(mut range) = CompactRange::parse(input) {
        assert_eq!(range.to_bytes(), input, "a range in another form");
        let _ = range.head();
        if range.end() < MAX_TREE_SIZE {
            range.append(leaf_hash(input));
            assert_eq!(CompactRange::parse(&range.to_bytes()), Ok(range));
        }
    }
    let store = MemoryTiles {
        state: Some(input.to_vec()),
        ..MemoryTiles::default()
    };
    if let Ok(writer) = TileWriter::open(store) {
        assert_eq!(writer.size(), 0, "a tree without its tiles");
    }
}
