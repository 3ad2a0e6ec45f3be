use proptest::prelude::*;

use super::*;
use crate::tree::{MAX_TREE_SIZE, NodeId};

/// Every tile of a tree of this size.
fn tiles_of(size: u64) -> Vec<TileId> {
    let mut tiles = Vec::new();
    for level in 0..=7 {
        tiles.extend((0..).map_while(|index| TileId::in_tree(level, index, size)));
    }
    tiles
}

#[test]
fn the_examples_of_the_specification_hold() {
    let tile = TileId::in_tree(0, 1_234_067, MAX_TREE_SIZE).unwrap();
    assert_eq!(tile.to_string(), "tile/0/x001/x234/067");
    assert_eq!(tile.bundle().unwrap().to_string(), "tile/entries/x001/x234/067");

    let count = |level: u8, width: u16| {
        let of = |tile: &&TileId| tile.level() == level && tile.width() == width;
        tiles_of(70_000).iter().filter(of).count()
    };
    assert_eq!(count(0, 256), 273);
    assert_eq!((count(0, 112), count(1, 256), count(1, 17), count(2, 1)), (1, 1, 1, 1));
    assert_eq!(tiles_of(70_000).len(), 277);

    let names: Vec<String> = tiles_of(256).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(tiles_of(0), []);
}

#[test]
fn the_largest_tree_has_names_for_its_tiles() {
    let last = TileId::in_tree(0, (MAX_TREE_SIZE >> 8) - 1, MAX_TREE_SIZE).unwrap();
    assert_eq!(last.to_string(), "tile/0/x018/x014/x398/x509/x481/983");
    assert_eq!(last.to_string().parse(), Ok(last));
    assert_eq!(TileId::in_tree(0, MAX_TREE_SIZE >> 8, MAX_TREE_SIZE), None);
    assert_eq!(
        "tile/0/x018/x014/x398/x509/x481/984".parse::<TileId>(),
        Err(TilePathInvalid)
    );
    assert_eq!(TileId::in_tree(0, u64::MAX, u64::MAX), None);
    let top = TileId::in_tree(7, 0, MAX_TREE_SIZE).unwrap();
    assert_eq!((top.width(), top.to_string().as_str()), (64, "tile/7/000.p/64"));
    assert_eq!("tile/7/000.p/64".parse(), Ok(top));
    assert_eq!("tile/7/000.p/65".parse::<TileId>(), Err(TilePathInvalid));
    let beyond = NodeId {
        level: 63,
        index: u64::MAX,
    };
    assert_eq!(TileId::of_node(beyond, MAX_TREE_SIZE), None);
}

#[test]
fn no_other_spelling_is_a_name() {
    for path in [
        "",
        "tile",
        "tile/0/",
        "tile/0/1",
        "tile/0/0001",
        "tile/00/001",
        "tile/8/000",
        "tile/64/000",
        "tile/256/000",
        "tile/-1/000",
        "tile/0/x001",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/x0a1/002",
        "tile/0/+01",
        "tile/0/001.p/0",
        "tile/0/001.p/01",
        "tile/0/001.p/256",
        "tile/0/001.p/",
        "tile/0/001.p/1.p/1",
        "tile/0/001.p",
        "tile/0/001 ",
        "tile/0/../../state",
        "/tile/0/001",
        "tile/entries/001",
        "tile/data/001",
        "Tile/0/001",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert_eq!(path.parse::<TileId>(), Err(TilePathInvalid), "{path}");
    }
    for path in [
        "tile/0/001",
        "tile/entries/",
        "tile/entries/1",
        "tile/entries/x000/001",
        "tile/entries/001.p/256",
    ] {
        assert_eq!(path.parse::<BundleId>(), Err(TilePathInvalid), "{path}");
    }
}

proptest! {
    #[test]
    fn every_tile_is_named_once(level in 0_u8..8, index in 0_u64..1 << 54, size in 0..MAX_TREE_SIZE) {
        if let Some(tile) = TileId::in_tree(level, index % 1000, size) {
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        }
        if let Some(tile) = TileId::in_tree(level, index, size) {
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
            if let Some(bundle) = tile.bundle() {
                prop_assert_eq!(bundle.to_string().parse(), Ok(bundle));
                prop_assert_eq!(bundle.tile(), tile);
            }
        }
    }

    #[test]
    fn a_bundle_is_what_its_entries_are(
        entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        cut in 1_usize..100,
    ) {
        let bytes = encode_bundle(entries.iter().map(Vec::as_slice)).unwrap();
        let width = u16::try_from(entries.len()).unwrap();
        prop_assert_eq!(parse_bundle(&bytes, width).unwrap(), entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert!(parse_bundle(&bytes, width + 1).is_err());
        if !entries.is_empty() {
            prop_assert!(parse_bundle(&bytes, width - 1).is_err());
            prop_assert!(parse_bundle(&bytes[..bytes.len().saturating_sub(cut)], width).is_err());
        }
    }
}

#[test]
fn an_entry_that_is_too_long_for_its_length_is_refused() {
    let longest = vec![7; MAX_ENTRY_BYTES];
    let bytes = encode_bundle([longest.as_slice()]).unwrap();
    assert_eq!(parse_bundle(&bytes, 1).unwrap(), [longest.as_slice()]);
    let too_long = vec![7; MAX_ENTRY_BYTES + 1];
    assert_eq!(
        encode_bundle([too_long.as_slice()]),
        Err(BundleInvalid::TooLong(MAX_ENTRY_BYTES + 1))
    );
}
