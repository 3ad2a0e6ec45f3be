//! A writer that stops at any step, and continues, ends with the same tiles.

use std::fmt;

use super::*;
use crate::leaf_hash;

/// The process or the machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

/// What becomes of tiles that were put and not flushed.
#[derive(Debug, Clone, Copy)]
enum Unflushed {
    Lost,
    Kept,
    /// Every other one is lost: a disk writes in any order.
    SomeLost,
}

/// A store that stops before, or right after, its n-th change takes effect.
#[derive(Debug)]
struct StoppingStore {
    durable: MemoryTiles,
    unflushed: MemoryTiles,
    changes_left: usize,
    takes_effect: bool,
}

impl StoppingStore {
    fn new(durable: MemoryTiles, changes_left: usize, takes_effect: bool) -> Self {
        Self {
            durable,
            unflushed: MemoryTiles::default(),
            changes_left,
            takes_effect,
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Self) -> Put) -> Result<Put, Stopped> {
        if self.changes_left > 0 {
            self.changes_left -= 1;
            return Ok(change(self));
        }
        if self.takes_effect {
            change(self);
        }
        Err(Stopped)
    }

    fn flush_all(&mut self) {
        self.durable.tiles.append(&mut self.unflushed.tiles);
    }

    /// What is on the disk afterwards.
    fn after_crash(mut self, unflushed: Unflushed) -> MemoryTiles {
        match unflushed {
            Unflushed::Lost => {}
            Unflushed::Kept => self.flush_all(),
            Unflushed::SomeLost => {
                let tiles = std::mem::take(&mut self.unflushed.tiles);
                self.durable.tiles.extend(tiles.into_iter().step_by(2));
            }
        }
        self.durable
    }
}

impl TileSource for StoppingStore {
    type Error = Stopped;

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Stopped> {
        Ok(self.durable.tiles.get(name).cloned())
    }
}

impl TileStore for StoppingStore {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<Put, Stopped> {
        self.change(|store| match store.durable.tiles.get(name) {
            Some(existing) if existing == bytes => Put::Stored,
            Some(_) => Put::Conflict,
            None => {
                store.unflushed.tiles.insert(name.to_owned(), bytes.to_vec());
                Put::Stored
            }
        })
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        self.change(|store| {
            store.flush_all();
            Put::Stored
        })
        .map(|_| ())
    }

    fn state(&self) -> Result<Option<Vec<u8>>, Stopped> {
        Ok(self.durable.state.clone())
    }

    fn replace_state(&mut self, state: &[u8]) -> Result<(), Stopped> {
        self.change(|store| {
            store.durable.state = Some(state.to_vec());
            Put::Stored
        })
        .map(|_| ())
    }

    fn remove_partials(&mut self, tile: &str) -> Result<(), Stopped> {
        self.change(|store| {
            store.durable.remove_partials(tile).unwrap();
            Put::Stored
        })
        .map(|_| ())
    }
}

/// The sizes at which a caller commits: from nothing, and across the end of the first tile of level 1.
const SCENARIOS: [(usize, &[usize]); 2] = [(0, &[10, 300, 301, 1024, 2100]), (65_300, &[65_400, 65_900, 66_100])];

/// Runs a writer as its caller does: opens it, and appends and commits from the committed size on. The store is handed
/// back whatever happened, as the disk is.
fn run(mut store: StoppingStore, leaves: &[Hash], sizes: &[usize]) -> (StoppingStore, bool) {
    let outcome = (|| {
        let mut writer = TileWriter::open(ByReference(&mut store))?;
        let committed = usize::try_from(writer.committed_size()).unwrap();
        for size in sizes.iter().filter(|size| **size > committed) {
            let from = usize::try_from(writer.size()).unwrap();
            writer.append(&leaves[from..*size])?;
            let head = writer.commit()?;
            // A commit's tree is complete: a reader of its checkpoint finds every tile.
            TileReader::open(writer.store(), head).expect("the tiles of a committed tree");
        }
        Ok::<(), WriteError<Stopped>>(())
    })();
    match outcome {
        Ok(()) => (store, true),
        Err(WriteError::Store(Stopped)) => (store, false),
        Err(other) => panic!("{other}"),
    }
}

/// A store that outlives its writer.
#[derive(Debug)]
struct ByReference<'s>(&'s mut StoppingStore);

impl TileSource for ByReference<'_> {
    type Error = Stopped;
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Stopped> {
        self.0.get(name)
    }
}

impl TileStore for ByReference<'_> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<Put, Stopped> {
        self.0.put(name, bytes)
    }
    fn flush(&mut self) -> Result<(), Stopped> {
        self.0.flush()
    }
    fn state(&self) -> Result<Option<Vec<u8>>, Stopped> {
        self.0.state()
    }
    fn replace_state(&mut self, state: &[u8]) -> Result<(), Stopped> {
        self.0.replace_state(state)
    }
    fn remove_partials(&mut self, tile: &str) -> Result<(), Stopped> {
        self.0.remove_partials(tile)
    }
}

#[test]
fn a_writer_that_stops_at_any_step_ends_with_the_same_tiles() {
    let leaves = naive::leaves(66_100);
    let mut stops = 0;
    for (begin, sizes) in SCENARIOS {
        let end = *sizes.last().unwrap();
        let before = match begin {
            0 => MemoryTiles::default(),
            size => write(MemoryTiles::default(), &leaves, &[size]).store().clone(),
        };
        let undisturbed = StoppingStore::new(before.clone(), usize::MAX, true);
        let expected = run(undisturbed, &leaves, sizes).0.after_crash(Unflushed::Lost);
        for (name, bytes) in tiles_by_definition(&leaves[..end]) {
            assert_eq!(expected.tiles.get(&name), Some(&bytes), "{name}");
        }
        for takes_effect in [false, true] {
            for unflushed in [Unflushed::Lost, Unflushed::Kept, Unflushed::SomeLost] {
                for step in 0.. {
                    let first = StoppingStore::new(before.clone(), step, takes_effect);
                    let (stopped, done) = run(first, &leaves, sizes);
                    if done {
                        break;
                    }
                    stops += 1;
                    // The second run stops too, a few steps later.
                    let second = StoppingStore::new(stopped.after_crash(unflushed), 3, takes_effect);
                    let (stopped, _) = run(second, &leaves, sizes);
                    let third = StoppingStore::new(stopped.after_crash(unflushed), usize::MAX, true);
                    let (ended, done) = run(third, &leaves, sizes);
                    let when = format!("{takes_effect} {unflushed:?} {step}");
                    assert!(done, "{when}");
                    assert_same(&ended.after_crash(Unflushed::Lost), &expected, &when);
                }
            }
        }
    }
    assert!(stops > 6 * 40, "{stops}");
}

/// The same tree and the same tiles. A crash before a state may leave partial tiles that no committed tree has.
fn assert_same(ended: &MemoryTiles, expected: &MemoryTiles, when: &str) {
    let tree = |store: &MemoryTiles| {
        super::super::state::State::parse(store.state.as_ref().unwrap())
            .unwrap()
            .tree
    };
    assert_eq!(tree(ended), tree(expected), "{when}");
    for (name, bytes) in &expected.tiles {
        assert_eq!(ended.tiles.get(name), Some(bytes), "{when}: {name}");
    }
    let more = ended.tiles.keys().filter(|name| !expected.tiles.contains_key(*name));
    assert!(more.clone().all(|name| name.contains(".p/")), "{when}");
    assert!(more.count() <= 8, "{when}");
}

#[test]
fn a_writer_refuses_to_continue_after_a_failure() {
    let leaves = naive::leaves(600);
    let mut writer = TileWriter::open(StoppingStore::new(MemoryTiles::default(), 1, false)).unwrap();
    assert!(matches!(writer.append(&leaves), Err(WriteError::Store(Stopped))));
    assert!(matches!(writer.append(&leaves), Err(WriteError::Failed)));
    assert!(matches!(writer.commit(), Err(WriteError::Failed)));
}

#[test]
fn leaves_that_differ_from_the_tiles_are_a_fork_that_names_the_tile() {
    let leaves = naive::leaves(600);
    let written = write(MemoryTiles::default(), &leaves, &[600]).store().clone();
    // Somebody removed the state, and changed the log.
    let mut rolled_back = written.clone();
    rolled_back.state = None;
    let mut other = leaves.clone();
    other[300] = leaf_hash(b"another history");
    let mut writer = TileWriter::open(rolled_back).unwrap();
    let forked = writer.append(&other);
    assert!(
        matches!(forked, Err(WriteError::Forked(tile)) if tile == TileId::full(0, 1)),
        "{forked:?}"
    );
}

#[test]
fn a_committed_edge_that_was_changed_is_named_when_the_store_is_opened() {
    let leaves = naive::leaves(600);
    let written = write(MemoryTiles::default(), &leaves, &[600]).store().clone();
    for tile in TileId::right_edge(600) {
        for at in 0..tile.width() {
            let mut changed = written.clone();
            changed.tiles.get_mut(&tile.to_string()).unwrap()[usize::from(at) * 32] ^= 1;
            let opened = TileWriter::open(changed);
            assert!(
                matches!(opened, Err(WriteError::Disagrees(named)) if named == tile),
                "{tile} hash {at}"
            );
        }
        let mut removed = written.clone();
        removed.tiles.remove(&tile.to_string());
        assert!(matches!(TileWriter::open(removed), Err(WriteError::Missing(named)) if named == tile));
    }
    for at in 0..written.state.as_ref().unwrap().len() {
        let mut changed = written.clone();
        changed.state.as_mut().unwrap()[at] ^= 1;
        assert!(
            matches!(TileWriter::open(changed), Err(WriteError::State(_))),
            "byte {at}"
        );
    }
}
