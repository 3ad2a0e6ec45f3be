use std::fs;

use super::*;

/// Every file under a folder except what the store uses for itself.
fn files(root: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.join("tile")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_folder_contains_the_tiles_of_the_definition_and_continues_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let leaves = naive::leaves(5000);
    write(DirectoryTiles::open(folder.path()).unwrap(), &leaves, &[3, 300, 2000]);
    let writer = TileWriter::open(DirectoryTiles::open(folder.path()).unwrap()).unwrap();
    assert_eq!((writer.size(), writer.committed_size()), (2000, 2000));
    assert_eq!(
        writer.compact_range().head().unwrap().root,
        naive::root(&leaves[..2000])
    );
    drop(writer);
    write(DirectoryTiles::open(folder.path()).unwrap(), &leaves, &[5000]);
    let mut expected = tiles_by_definition(&leaves);
    // The tile of level 1 is not full, so its earlier versions stay.
    for size in [300, 2000] {
        let name = TileId::in_tree(1, 0, size).unwrap().to_string();
        let bytes = tiles_by_definition(&leaves[..usize::try_from(size).unwrap()])[&name].clone();
        expected.insert(name, bytes);
    }
    assert_eq!(files(folder.path()), expected);
}

#[test]
fn what_was_not_flushed_is_not_visible_and_is_removed_by_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let leaves = naive::leaves(1000);
    let mut writer = TileWriter::open(DirectoryTiles::open(folder.path()).unwrap()).unwrap();
    writer.append(&leaves).unwrap();
    assert_eq!(writer.store().get("tile/0/000").unwrap(), None);
    drop(writer);
    assert!(fs::read_dir(folder.path().join("staged")).unwrap().count() > 0);
    let store = DirectoryTiles::open(folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("staged")).unwrap().count(), 0);
    write(store, &leaves, &[1000]);
    assert_eq!(files(folder.path()), tiles_by_definition(&leaves));
}

#[test]
fn names_do_not_lead_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("log");
    fs::write(folder.path().join("secret"), "secret").unwrap();
    let store = DirectoryTiles::open(&root).unwrap();
    write(DirectoryTiles::open(&root).unwrap(), &naive::leaves(3), &[3]);
    for name in [
        "../secret",
        "tile/0/../../../secret",
        "state",
        "tile",
        "tile/0",
        "/etc/hostname",
        "",
    ] {
        assert_eq!(store.get(name).unwrap(), None, "{name}");
    }
    assert!(store.get("tile/0/000.p/3").unwrap().is_some());
    assert_eq!(store.get("tile/0/000.p/3/x").unwrap(), None);
}

#[test]
fn a_tile_that_exists_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = DirectoryTiles::open(folder.path()).unwrap();
    assert_eq!(store.put("tile/0/000.p/1", &[1; 32]).unwrap(), Put::Stored);
    store.flush().unwrap();
    assert_eq!(store.put("tile/0/000.p/1", &[1; 32]).unwrap(), Put::Stored);
    assert_eq!(store.put("tile/0/000.p/1", &[2; 32]).unwrap(), Put::Conflict);
    store.flush().unwrap();
    assert_eq!(store.get("tile/0/000.p/1").unwrap(), Some(vec![1; 32]));
}

#[test]
fn a_fork_in_a_folder_names_the_tile() {
    let folder = tempfile::tempdir().unwrap();
    let mut leaves = naive::leaves(600);
    write(DirectoryTiles::open(folder.path()).unwrap(), &leaves, &[600]);
    // Somebody removed the state, and changed the log.
    fs::remove_file(folder.path().join("state")).unwrap();
    leaves[300] = crate::leaf_hash(b"another history");
    let mut writer = TileWriter::open(DirectoryTiles::open(folder.path()).unwrap()).unwrap();
    let forked = writer.append(&leaves);
    assert!(
        matches!(forked, Err(WriteError::Forked(tile)) if tile == TileId::full(0, 1)),
        "{forked:?}"
    );
}
