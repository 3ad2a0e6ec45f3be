//! Changes of the log, its trees and its checkpoints by somebody with access to the disk, with and without recomputed
//! hashes. Each test names the check that found a change, and where.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_event_store::follow::Fold as _;
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, NewCommit, Partition, Position, StreamState, copy};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog};
use citycode_log_tree::check::{Checked, FaultKind, check};
use citycode_log_tree::{LogTrees, Stopped, TileFolder, TreeFold};
use citycode_transparency::tile::{TileReader, first_difference};
use citycode_transparency::tree::verify_consistency;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::city::City;

const COMMITS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("commits");
const HOST: &str = "city.example";
const KEY: [u8; 32] = [5; 32];
/// Bytes of a row before the commit.
const ROW_HEADER: usize = 8;

/// A log on disk with its published trees.
pub(crate) struct Published {
    folder: tempfile::TempDir,
    config: Config,
}

impl Published {
    pub(crate) async fn of(city: &City) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source: Arc<dyn EventStore> = Arc::new(city.store.clone());
        let config = Config {
            create: Some(NewLog::new(source.log_id(), source.layout())),
            ..Config::default()
        };
        let published = Self { folder, config };
        let target: Arc<dyn EventStore> = Arc::new(published.open());
        copy::copy(&source, &target, |_| ()).await.expect("copied");
        published.trees(&*target).await;
        drop(target);
        published
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(crate) fn open(&self) -> EmbeddedEventStore {
        fs::create_dir_all(self.log()).expect("a folder");
        EmbeddedEventStore::open(&self.log(), &self.config).expect("the log opens")
    }

    /// The trees, which have followed the whole log and were published.
    async fn trees(&self, store: &dyn EventStore) -> Arc<LogTrees> {
        follow(&self.folder.path().join("trees"), store).await
    }

    /// Changes the rows of the log while it is closed, and checks it against the trees as they were published.
    async fn check_changed(&self, change: impl FnOnce(&mut Rows)) -> Checked {
        let path = self.log().join("log.redb");
        let sound = fs::read(&path).expect("the log");
        let trees = self.trees(&self.open()).await;
        let mut rows = Rows::read(&path);
        change(&mut rows);
        rows.write(&path);
        let checked = check(Arc::new(self.open()), Some(trees), None, |_| true)
            .await
            .expect("checked");
        fs::write(&path, sound).expect("restored");
        checked
    }
}

async fn follow(folder: &Path, store: &dyn EventStore) -> Arc<LogTrees> {
    let (trees, from) = LogTrees::open(folder, store, HOST, &KEY).await.expect("trees");
    let trees = Arc::new(trees);
    let mut fold = TreeFold(Arc::clone(&trees));
    for (partition, sequence) in from.iter() {
        for sequence in sequence.0 + 1.. {
            let at = Position::new(partition.0, sequence);
            let Some(commit) = store.read_at(at).await.expect("read") else {
                break;
            };
            fold.fold(&commit).expect("folded");
        }
    }
    trees.publish(true).expect("published");
    trees
}

async fn checked(store: &MemoryEventStore, trees: &Arc<LogTrees>) -> Checked {
    check(Arc::new(store.clone()), Some(Arc::clone(trees)), None, |_| true)
        .await
        .expect("checked")
}

/// The rows of the log's file.
pub(crate) struct Rows {
    pub(crate) rows: Vec<(u64, Vec<u8>)>,
    removed: Vec<u64>,
}

impl Rows {
    pub(crate) fn read(path: &Path) -> Self {
        let database = Database::open(path).expect("opens");
        let transaction = database.begin_read().expect("reads");
        let table = transaction.open_table(COMMITS).expect("a table");
        let rows = table.iter().expect("reads").map(|entry| {
            let (key, row) = entry.expect("a row");
            (key.value(), row.value().to_vec())
        });
        Self {
            rows: rows.collect(),
            removed: Vec::new(),
        }
    }

    pub(crate) fn write(&self, path: &Path) {
        let database = Database::open(path).expect("opens");
        let transaction = database.begin_write().expect("writes");
        {
            let mut table = transaction.open_table(COMMITS).expect("a table");
            for key in &self.removed {
                table.remove(key).expect("removed");
            }
            for (key, row) in &self.rows {
                table.insert(key, row.as_slice()).expect("written");
            }
        }
        transaction.commit().expect("committed");
    }

    /// The row in the middle of the log.
    pub(crate) fn middle(&self) -> usize {
        self.rows.len() / 2
    }

    /// Two rows of one partition in the middle of the log, of which the first is not the partition's last.
    fn pair(&self) -> (usize, usize) {
        let mut rows = self.middle()..;
        let row = rows.find(|row| self.position(*row).partition == self.position(row + 2).partition);
        let row = row.expect("a row");
        (row, row + 1)
    }

    pub(crate) fn position(&self, row: usize) -> Position {
        position(self.rows[row].0)
    }

    pub(crate) fn remove(&mut self, row: usize) {
        self.removed.push(self.rows.remove(row).0);
    }
}

fn position(key: u64) -> Position {
    Position::new(u16::try_from(key >> 48).expect("16 bits"), key & ((1 << 48) - 1))
}

fn found(checked: &Checked) -> Vec<(FaultKind, Position)> {
    checked.faults.iter().map(|fault| (fault.kind, fault.first)).collect()
}

/// A change of the rows of a log. It returns the position that must be named.
type RowChange = fn(&mut Rows) -> Position;

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_file_without_new_hashes_are_found_where_they_are() {
    let city = City::month(21).await;
    let published = Published::of(&city).await;
    let changes: [(&str, &[FaultKind], RowChange); 11] = [
        (
            "a changed byte of an actor or payload",
            &[FaultKind::Leaf, FaultKind::Unreadable],
            |rows| {
                let row = rows.middle();
                *rows.rows[row].1.last_mut().expect("bytes") ^= 1;
                rows.position(row)
            },
        ),
        ("a changed byte of a message id", &[FaultKind::Leaf], |rows| {
            let row = rows.middle();
            rows.rows[row].1[ROW_HEADER + 40] ^= 1;
            rows.position(row)
        }),
        ("a changed previous hash", &[FaultKind::Leaf], |rows| {
            let row = rows.middle();
            rows.rows[row].1[ROW_HEADER + 10] ^= 1;
            rows.position(row)
        }),
        ("a changed byte of the last commit", &[FaultKind::Leaf], |rows| {
            let row = rows.rows.len() - 1;
            rows.rows[row].1[ROW_HEADER + 40] ^= 1;
            rows.position(row)
        }),
        ("a truncated row", &[FaultKind::Unreadable], |rows| {
            let row = rows.middle();
            rows.rows[row].1.truncate(30);
            rows.position(row)
        }),
        ("an emptied row", &[FaultKind::Unreadable], |rows| {
            let row = rows.middle();
            rows.rows[row].1.clear();
            rows.position(row)
        }),
        ("a removed row", &[FaultKind::Unreadable, FaultKind::Gap], |rows| {
            let row = rows.middle();
            let at = rows.position(row);
            rows.remove(row);
            at
        }),
        ("two swapped rows", &[FaultKind::Leaf], |rows| {
            let row = rows.middle();
            let (one, two) = (rows.rows[row].1.clone(), rows.rows[row + 1].1.clone());
            rows.rows[row].1 = two;
            rows.rows[row + 1].1 = one;
            rows.position(row)
        }),
        // Both are in what is read at once.
        ("a changed row before an unreadable one", &[FaultKind::Leaf], |rows| {
            let (row, next) = rows.pair();
            rows.rows[row].1[ROW_HEADER + 40] ^= 1;
            rows.rows[next].1.truncate(30);
            rows.position(row)
        }),
        ("a changed row before a removed one", &[FaultKind::Leaf], |rows| {
            let (row, next) = rows.pair();
            rows.rows[row].1[ROW_HEADER + 40] ^= 1;
            let at = rows.position(row);
            rows.remove(next);
            at
        }),
        ("a row that was copied over another", &[FaultKind::Leaf], |rows| {
            let row = rows.middle();
            rows.rows[row].1 = rows.rows[row + 2].1.clone();
            rows.position(row)
        }),
    ];
    for (what, by, change) in changes {
        let mut at = None;
        let checked = published.check_changed(|rows| at = Some(change(rows))).await;
        let at = at.expect("changed");
        let named = found(&checked)
            .into_iter()
            .any(|(kind, first)| first == at && by.contains(&kind));
        assert!(named, "{what} at {at}: {checked:?}");
    }
    let checked = published.check_changed(|_| ()).await;
    assert_eq!(found(&checked), [], "restored: {checked:?}");
}

/// A change of a log whose hashes are then computed again.
type Rewriting = fn(&mut Vec<NewCommit>);

/// The log of a city written anew with a change, so that all hashes and chains are sound.
async fn rewritten(city: &City, partition: u16, change: Rewriting) -> MemoryEventStore {
    let store = MemoryEventStore::new(city.store.log_id(), city.store.layout());
    for number in 0..city.store.layout().partitions() {
        let mut commits = Vec::new();
        for sequence in 1.. {
            let at = Position::new(number, sequence);
            let Some(commit) = city.store.read_at(at).await.expect("read") else {
                break;
            };
            commits.push(commit.commit.clone());
        }
        if number == partition {
            change(&mut commits);
        }
        for commit in commits {
            let appended = store.append_to_stream(commit, StreamState::Any).await;
            appended.expect("appended");
        }
    }
    store
}

async fn first_change(one: &dyn EventStore, two: &dyn EventStore, partition: u16) -> Position {
    for sequence in 1.. {
        let at = Position::new(partition, sequence);
        let hash = async |store: &dyn EventStore| store.read_at(at).await.expect("read").map(|commit| commit.hash);
        let (one, two) = (hash(one).await, hash(two).await);
        if one != two {
            return at;
        }
        assert!(one.is_some(), "nothing was changed");
    }
    unreachable!("an endless range")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_that_was_rewritten_with_sound_hashes_differs_from_the_trees_and_from_kept_checkpoints() {
    let city = City::month(22).await;
    let folder = tempfile::tempdir().expect("a folder");
    let trees = follow(folder.path(), &city.store).await;
    let changes: [(&str, FaultKind, Rewriting); 9] = [
        ("another actor", FaultKind::Leaf, |commits| {
            commits[20].actor = "officer;card".into()
        }),
        ("another time", FaultKind::Leaf, |commits| commits[20].decided_at -= 1),
        ("another command", FaultKind::Leaf, |commits| {
            commits[20].command_id.0[0] ^= 1
        }),
        ("a dropped commit", FaultKind::Leaf, |commits| drop(commits.remove(20))),
        ("an inserted commit", FaultKind::Leaf, |commits| {
            let mut copied = commits[20].clone();
            copied.message_id.0[31] ^= 1;
            commits.insert(20, copied);
        }),
        ("two commits in another order", FaultKind::Leaf, |commits| {
            commits.swap(20, 25)
        }),
        ("a commit that was moved to the end", FaultKind::Leaf, |commits| {
            let moved = commits.remove(20);
            commits.push(moved);
        }),
        ("a log without its end", FaultKind::RolledBack, |commits| {
            commits.truncate(commits.len() - 3);
        }),
        ("a log that has another end", FaultKind::Leaf, |commits| {
            let from = commits.len() - 3;
            commits[from..]
                .iter_mut()
                .for_each(|commit| commit.actor = "somebody".into());
        }),
    ];
    for (what, kind, change) in changes {
        let store = rewritten(&city, 1, change).await;
        let at = first_change(&city.store, &store, 1).await;
        let checked = self::checked(&store, &trees).await;
        assert!(found(&checked).contains(&(kind, at)), "{what} at {at}: {checked:?}");
        assert!(
            checked.faults.iter().all(|fault| fault.first.partition == at.partition),
            "{what}: {checked:?}"
        );
        assert!(
            !found(&checked).iter().any(|(kind, _)| *kind == FaultKind::Chain),
            "{what}: {checked:?}"
        );

        // Whoever also replaces the trees and signs them with the stolen key is found by a checkpoint that was kept.
        let forged = tempfile::tempdir().expect("a folder");
        let forgery = follow(forged.path(), &store).await;
        assert_eq!(found(&self::checked(&store, &forgery).await), [], "{what}");
        let kept = trees.checkpoint(Partition(1)).expect("published").unverified().head();
        let shown = forgery.checkpoint(Partition(1)).expect("published").unverified().head();
        let tiles = TileFolder(forged.path().join("01"));
        let mut reader = TileReader::open(&tiles, shown).expect("the forged tiles are consistent in themselves");
        let proof = reader.consistency_proof(kept.size).unwrap_or_default();
        assert!(verify_consistency(&kept, &shown, &proof).is_err(), "{what}");
        // A reader that kept the tiles too, or a second reader that was shown the other log, locates the fork.
        let before = TileFolder(folder.path().join("01"));
        let mut before = TileReader::open(&before, kept).expect("the kept tiles");
        let leaf = first_difference(&mut before, &mut reader).expect("compared");
        assert_eq!(leaf.is_none(), kind == FaultKind::RolledBack, "{what}");
    }
}

/// A change of the files of the tree of partition 1.
type FileChange = fn(&Path);

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

fn edge(tree: &Path) -> PathBuf {
    let partial = tree.join("tile/0/000.p");
    let newest = |entry: fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<u16>().ok());
    let entries = fs::read_dir(&partial).expect("partial tiles").flatten();
    let width = entries.filter_map(newest).max().expect("a tile");
    partial.join(width.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_tiles_are_found_and_written_again_from_the_log() {
    let city = City::month(23).await;
    let changes: [(&str, FaultKind, FileChange); 6] = [
        ("a changed byte of a tile", FaultKind::Tile, |tree| flip(&edge(tree), 9)),
        ("a truncated tile", FaultKind::Tile, |tree| {
            let edge = edge(tree);
            let bytes = fs::read(&edge).expect("a tile");
            fs::write(edge, &bytes[..bytes.len() - 32]).expect("written");
        }),
        ("an emptied tile", FaultKind::Tile, |tree| {
            fs::write(edge(tree), b"").expect("written")
        }),
        ("two hashes of a tile in another order", FaultKind::Tile, |tree| {
            let edge = edge(tree);
            let mut bytes = fs::read(&edge).expect("a tile");
            bytes.rotate_left(32);
            fs::write(edge, bytes).expect("written");
        }),
        ("a removed tile", FaultKind::Tile, |tree| {
            fs::remove_file(edge(tree)).expect("removed")
        }),
        ("all tiles removed", FaultKind::Tile, |tree| {
            fs::remove_dir_all(tree.join("tile")).expect("removed")
        }),
    ];
    for (what, kind, change) in changes {
        let folder = tempfile::tempdir().expect("a folder");
        let trees = follow(folder.path(), &city.store).await;
        let signed = trees.checkpoint(Partition(1));
        change(&folder.path().join("01"));
        let checked = self::checked(&city.store, &trees).await;
        let named: Vec<_> = found(&checked)
            .into_iter()
            .map(|(kind, at)| (kind, at.partition.0))
            .collect();
        assert_eq!(named, [(kind, 1)], "{what}: {checked:?}");
        // The next start writes the tiles again from the log, and they agree with what was signed.
        drop(trees);
        let trees = follow(folder.path(), &city.store).await;
        assert_eq!(
            (trees.stopped(), trees.checkpoint(Partition(1))),
            (vec![], signed),
            "{what}"
        );
        assert_eq!(found(&self::checked(&city.store, &trees).await), [], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_checkpoint_is_found_and_nothing_is_signed_after_it() {
    let city = City::month(24).await;
    let changes: [(&str, FileChange); 4] = [
        ("a changed size", |tree| {
            flip(&tree.join("checkpoint"), "city.example/log/01\n".len())
        }),
        ("a changed root", |tree| {
            flip(&tree.join("checkpoint"), "city.example/log/01\n123\n".len() + 5)
        }),
        ("a truncated checkpoint", |tree| {
            let path = tree.join("checkpoint");
            let bytes = fs::read(&path).expect("a checkpoint");
            fs::write(path, &bytes[..bytes.len() - 9]).expect("written");
        }),
        ("the checkpoint of another partition", |tree| {
            let other = tree.with_file_name("02").join("checkpoint");
            fs::copy(other, tree.join("checkpoint")).expect("copied");
        }),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().expect("a folder");
        drop(follow(folder.path(), &city.store).await);
        change(&folder.path().join("01"));
        let trees = follow(folder.path(), &city.store).await;
        let stopped = trees.stopped();
        assert!(
            matches!(&stopped[..], [Stopped::Unusable { partition, .. }] if *partition == Partition(1)),
            "{what}: {stopped:?}"
        );
        let checked = self::checked(&city.store, &trees).await;
        assert!(
            found(&checked)
                .iter()
                .all(|(kind, at)| *kind == FaultKind::Checkpoint && at.partition.0 == 1),
            "{what}"
        );
        assert_eq!(checked.faults.len(), 1, "{what}");
    }
}
