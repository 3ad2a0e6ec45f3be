use proptest::prelude::*;

use super::*;
use crate::tree::{TreeHead, verify_consistency, verify_inclusion};

const SIZE: usize = 70_000;

fn head(leaves: &[Hash]) -> TreeHead {
    TreeHead {
        size: leaves.len() as u64,
        root: naive::root(leaves),
    }
}

fn written(leaves: &[Hash]) -> MemoryTiles {
    write(MemoryTiles::default(), leaves, &[leaves.len()]).store().clone()
}

/// What a reader says about a tree of which this tile was replaced: about its right edge, or about a proof for a leaf
/// under the tile.
fn complaint(store: &MemoryTiles, head: TreeHead, leaf: u64) -> TileInvalid {
    let proof = TileReader::open(store, head).and_then(|mut reader| reader.inclusion_proof(leaf));
    match proof {
        Err(ReadError::Tile(invalid)) => invalid,
        other => panic!("the tile was not refused: {other:?}"),
    }
}

#[test]
fn the_written_tiles_are_those_of_the_definition() {
    let leaves = naive::leaves(SIZE);
    assert_eq!(written(&leaves).tiles, tiles_by_definition(&leaves));
}

#[test]
fn every_tile_that_is_garbage_truncated_stale_or_forked_is_named() {
    let leaves = naive::leaves(SIZE);
    let good = written(&leaves);
    // A fork: one leaf in the first, the middle and the last tile differs, and every tile above it.
    let mut forked = leaves.clone();
    for index in [0, 40_000, SIZE - 1] {
        forked[index] = crate::leaf_hash(b"another history");
    }
    let forked = written(&forked);
    let head = head(&leaves);
    let mut checked = 0;
    for (name, bytes) in &good.tiles {
        let tile: TileId = name.parse().unwrap();
        let leaf = tile.index() << (8 * (tile.level() + 1));
        let named = |invalid: &TileInvalid| match invalid {
            TileInvalid::Edge(tiles) => tile.width() < TILE_WIDTH && tiles.contains(&tile),
            TileInvalid::OtherRoot(named) => *named == tile,
            _ => false,
        };
        let mut replacements = Vec::new();
        let mut garbage = bytes.clone();
        garbage[bytes.len() / 2] ^= 0x80;
        replacements.push(("garbage", garbage));
        replacements.push(("stale", vec![0; bytes.len()]));
        if forked.tiles[name] != *bytes {
            replacements.push(("forked", forked.tiles[name].clone()));
        }
        let mut swapped = bytes.clone();
        if swapped.len() > 32 {
            swapped[..64].rotate_left(32);
            replacements.push(("reordered", swapped));
        }
        for (what, bytes) in replacements {
            let mut store = good.clone();
            store.tiles.insert(name.clone(), bytes);
            let invalid = complaint(&store, head, leaf);
            assert!(named(&invalid), "{what} {name}: {invalid}");
            checked += 1;
        }
        let mut store = good.clone();
        store.tiles.get_mut(name).unwrap().pop();
        assert_eq!(complaint(&store, head, leaf), TileInvalid::Length(tile));
        store.tiles.remove(name);
        assert_eq!(complaint(&store, head, leaf), TileInvalid::Missing(tile));
    }
    assert!(checked > 3 * 277, "{checked}");
}

#[test]
fn a_server_of_an_older_or_another_tree_is_refused_at_once() {
    let leaves = naive::leaves(1000);
    let (old, new) = (written(&leaves[..900]), head(&leaves));
    // The tree of 1,000 leaves has a wider partial tile, which the old server does not have.
    let missing = TileId::in_tree(0, 3, 1000).unwrap();
    assert_eq!(complaint(&old, new, 0), TileInvalid::Missing(missing));
    let mut other = leaves.clone();
    other[999] = crate::leaf_hash(b"another history");
    let edge = TileId::right_edge(1000).collect();
    assert_eq!(complaint(&written(&other), new, 0), TileInvalid::Edge(edge));
}

/// A reader of the tree over these leaves.
fn reader(leaves: &[Hash]) -> TileReader<MemoryTiles> {
    TileReader::open(written(leaves), head(leaves)).unwrap()
}

#[test]
fn the_leaf_in_which_two_trees_fork_is_located() {
    let leaves = naive::leaves(3000);
    for at in (0..2000).step_by(37).chain([0, 255, 256, 1999]) {
        let mut fork = leaves[..2000].to_vec();
        fork[at] = crate::leaf_hash(b"another history");
        for (first, second) in [(&leaves, &fork), (&fork, &leaves)] {
            let found = first_difference(&mut reader(first), &mut reader(second)).unwrap();
            assert_eq!(found, Some(at as u64));
        }
        let mut dropped = leaves.clone();
        dropped.remove(at);
        let found = first_difference(&mut reader(&leaves), &mut reader(&dropped)).unwrap();
        assert_eq!(found, Some(at as u64));
    }
    for size in [0, 1, 255, 256, 2999, 3000] {
        let found = first_difference(&mut reader(&leaves), &mut reader(&leaves[..size])).unwrap();
        assert_eq!(found, None);
    }
}

#[test]
fn a_full_tile_stands_in_for_a_partial_one_that_was_removed() {
    let leaves = naive::leaves(700);
    let store = write(MemoryTiles::default(), &leaves, &[300, 700]).store().clone();
    assert!(!store.tiles.contains_key("tile/0/001.p/44"), "it was removed");
    let mut reader = TileReader::open(&store, head(&leaves[..300])).unwrap();
    let proof = reader.inclusion_proof(299).unwrap();
    assert_eq!(proof, naive::inclusion(299, &leaves[..300]));
}

#[test]
fn what_the_tree_does_not_have_is_an_error_and_not_a_panic() {
    let leaves = naive::leaves(5);
    let store = written(&leaves);
    let mut reader = TileReader::open(&store, head(&leaves)).unwrap();
    assert!(matches!(reader.inclusion_proof(5), Err(ReadError::Leaf(_))));
    assert!(matches!(reader.consistency_proof(6), Err(ReadError::Consistency(_))));
    assert!(matches!(
        reader.leaf(u64::MAX),
        Err(ReadError::Tile(TileInvalid::NoSuchNode { .. }))
    ));
    let empty = TileReader::open(MemoryTiles::default(), TreeHead::EMPTY).unwrap();
    assert_eq!(empty.head(), TreeHead::EMPTY);
    let forged = TreeHead {
        root: naive::root(&leaves),
        size: 0,
    };
    assert!(matches!(
        TileReader::open(MemoryTiles::default(), forged),
        Err(ReadError::Tile(TileInvalid::Edge(_)))
    ));
}

#[test]
fn a_reader_forgets_tiles_and_still_proves_every_leaf() {
    // More level 0 tiles than a reader keeps.
    let leaves = naive::leaves(256 * 1100);
    let mut writer = TileWriter::open(MemoryTiles::default()).unwrap();
    writer.append(&leaves).unwrap();
    let head = writer.commit().unwrap();
    let mut reader = TileReader::open(writer.store(), head).unwrap();
    for index in (0..leaves.len()).step_by(250) {
        let proof = reader.inclusion_proof(index as u64).unwrap();
        verify_inclusion(&leaves[index], index as u64, &head, &proof).unwrap();
        assert!(
            reader.cached_tiles() <= 1024,
            "{} tiles are kept",
            reader.cached_tiles()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a tree grows, its tiles are those of the definition, and every proof from them is the naive one.
    #[test]
    fn tiles_and_proofs_are_those_of_the_naive_tree(
        sizes in proptest::collection::btree_set(1_usize..3000, 1..6),
        picks in proptest::collection::vec(any::<proptest::sample::Index>(), 8),
    ) {
        let sizes: Vec<usize> = sizes.into_iter().collect();
        let size = *sizes.last().unwrap();
        let leaves = naive::leaves(size);
        let store = write(MemoryTiles::default(), &leaves, &sizes).store().clone();
        let definition = tiles_by_definition(&leaves);
        for (name, bytes) in &definition {
            prop_assert_eq!(store.tiles.get(name), Some(bytes));
        }
        let head = head(&leaves);
        let mut reader = TileReader::open(&store, head).unwrap();
        for pick in picks {
            let index = pick.index(size);
            prop_assert_eq!(reader.leaf(index as u64).unwrap(), leaves[index]);
            let proof = reader.inclusion_proof(index as u64).unwrap();
            prop_assert_eq!(&proof, &naive::inclusion(index, &leaves));
            prop_assert_eq!(verify_inclusion(&leaves[index], index as u64, &head, &proof), Ok(()));
            let old = self::head(&leaves[..index]);
            let proof = reader.consistency_proof(old.size).unwrap();
            prop_assert_eq!(&proof, &naive::consistency(index, &leaves));
            prop_assert_eq!(verify_consistency(&old, &head, &proof), Ok(()));
        }
    }
}
