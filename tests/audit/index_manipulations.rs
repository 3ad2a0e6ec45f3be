//! Changes of the file of the audit index by somebody with access to the disk, with and without recomputed checks. Each is
//! found by the check of the log, or the next start makes the index sound again.

use std::fs;
use std::path::{Path, PathBuf};

use citycode_domain::event::{Event, HolderRegistered};
use citycode_domain::ids::HolderId;
use citycode_log_folds::holder_stream;
use redb::{Database, Key, ReadableDatabase as _, ReadableTable as _, TableDefinition, Value};

use crate::agreement::Patient;
use crate::city::City;

const CODES: TableDefinition<'_, [u8; 8], [u8; 16]> = TableDefinition::new("codes-2");
const COMMITS: TableDefinition<'_, [u8; 24], ()> = TableDefinition::new("commits-2");
const EFFECTS: TableDefinition<'_, (u16, u64), &[u8]> = TableDefinition::new("effects-1");
const PROGRESS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("progress-3");
/// Bytes of a block's check.
const CHECK_BYTES: usize = 8;

/// How a change is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// The check `index` of the log names it.
    Found,
    /// The next start rebuilds the index, or folds what is missing again.
    Mended,
}

/// The file of an index in a folder.
fn file(folder: &Path) -> PathBuf {
    folder.join("audit.redb")
}

/// The first entries of a table.
fn entries<K: Key + 'static, V: Value + 'static, T>(
    folder: &Path,
    table: TableDefinition<'_, K, V>,
    of: impl Fn(K::SelfType<'_>, V::SelfType<'_>) -> T,
) -> Vec<T> {
    let database = Database::open(file(folder)).expect("opens");
    let transaction = database.begin_read().expect("reads");
    let table = transaction.open_table(table).expect("a table");
    let all = table.iter().expect("reads").map(|entry| {
        let (key, value) = entry.expect("an entry");
        of(key.value(), value.value())
    });
    all.collect()
}

/// Changes tables in one transaction.
fn write(folder: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(file(folder)).expect("opens");
    let transaction = database.begin_write().expect("writes");
    change(&transaction);
    transaction.commit().expect("committed");
}

fn blocks(folder: &Path) -> Vec<((u16, u64), Vec<u8>)> {
    entries(folder, EFFECTS, |key, block| (key, block.to_vec()))
}

fn set_block(folder: &Path, key: (u16, u64), block: Option<&[u8]>) {
    write(folder, |transaction| {
        let mut table = transaction.open_table(EFFECTS).expect("a table");
        match block {
            Some(block) => drop(table.insert(key, block).expect("written")),
            None => drop(table.remove(key).expect("removed")),
        }
    });
}

/// A block with the check of its records, as the index computes it.
fn checked(key: (u16, u64), records: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0.to_le_bytes());
    hasher.update(&key.1.to_le_bytes());
    hasher.update(records);
    [&hasher.finalize().as_bytes()[..CHECK_BYTES], records].concat()
}

fn set_position(folder: &Path, change: impl Fn(&mut Vec<u8>)) {
    let stored = entries(folder, PROGRESS, |key, value| (key.to_owned(), value.to_vec()));
    let (_, mut position) = stored
        .into_iter()
        .find(|(key, _)| key == "position")
        .expect("a position");
    change(&mut position);
    write(folder, |transaction| {
        let mut table = transaction.open_table(PROGRESS).expect("a table");
        table.insert("position", position.as_slice()).expect("written");
    });
}

type Change = fn(&Path);

fn changes_of_entries() -> [(&'static str, Outcome, Change); 9] {
    [
        ("a code that leads to another holder", Outcome::Found, |folder| {
            let codes = entries(folder, CODES, |code, holder| (code, holder));
            let other = codes
                .iter()
                .find(|(_, holder)| *holder != codes[0].1)
                .expect("two holders");
            write(folder, |transaction| {
                let mut table = transaction.open_table(CODES).expect("a table");
                table.insert(codes[0].0, other.1).expect("written");
            });
        }),
        ("a removed code", Outcome::Found, |folder| {
            let codes = entries(folder, CODES, |code, _| code);
            write(folder, |transaction| {
                let mut table = transaction.open_table(CODES).expect("a table");
                table.remove(codes[0]).expect("removed");
            });
        }),
        ("a removed commit of a holder", Outcome::Found, |folder| {
            let last = *entries(folder, COMMITS, |key, ()| key).last().expect("a commit");
            write(folder, |transaction| {
                let mut table = transaction.open_table(COMMITS).expect("a table");
                table.remove(last).expect("removed");
            });
        }),
        ("an added commit of a holder", Outcome::Found, |folder| {
            let mut added = entries(folder, COMMITS, |key, ()| key)[0];
            added[23] ^= 1;
            write(folder, |transaction| {
                let mut table = transaction.open_table(COMMITS).expect("a table");
                table.insert(added, ()).expect("written");
            });
        }),
        ("a changed byte of the journal", Outcome::Found, |folder| {
            let (key, mut block) = blocks(folder).swap_remove(0);
            *block.last_mut().expect("bytes") ^= 1;
            set_block(folder, key, Some(&block));
        }),
        ("a changed effect with a recomputed check", Outcome::Found, |folder| {
            let (key, mut block) = blocks(folder).swap_remove(0);
            // The time of the first commit: the last byte of its number.
            let at = block
                .iter()
                .skip(CHECK_BYTES + 2)
                .position(|byte| byte & 0x80 == 0)
                .expect("a number");
            block[CHECK_BYTES + 2 + at] ^= 2;
            set_block(folder, key, Some(&checked(key, &block[CHECK_BYTES..])));
        }),
        ("a removed block of the journal", Outcome::Found, |folder| {
            set_block(folder, blocks(folder)[0].0, None);
        }),
        ("a copied block with a recomputed check", Outcome::Found, |folder| {
            let (key, block) = blocks(folder).swap_remove(0);
            let copy = (key.0, key.1 + 1);
            set_block(folder, copy, Some(&checked(copy, &block[CHECK_BYTES..])));
        }),
        ("a position that is set back", Outcome::Found, |folder| {
            // The journal then has the effects of the commits between twice.
            set_position(folder, |position| *position.last_mut().expect("bytes") -= 1);
        }),
    ]
}

fn changes_of_the_file() -> [(&'static str, Outcome, Change); 6] {
    [
        ("a position beyond the log", Outcome::Mended, |folder| {
            set_position(folder, |position| *position.last_mut().expect("bytes") += 1);
        }),
        ("another log's index", Outcome::Mended, |folder| {
            write(folder, |transaction| {
                let mut table = transaction.open_table(PROGRESS).expect("a table");
                table.insert("log", [9; 16].as_slice()).expect("written");
            });
        }),
        ("a truncated file", Outcome::Mended, |folder| {
            let bytes = fs::read(file(folder)).expect("a file");
            fs::write(file(folder), &bytes[..bytes.len() / 2]).expect("written");
        }),
        ("an emptied file", Outcome::Mended, |folder| {
            fs::write(file(folder), b"").expect("written")
        }),
        ("a file that is no index", Outcome::Mended, |folder| {
            fs::write(file(folder), vec![0x5a; 64 << 10]).expect("written");
        }),
        ("a removed file", Outcome::Mended, |folder| {
            fs::remove_file(file(folder)).expect("removed")
        }),
    ]
}

/// Opens the index of a folder, follows the log, and returns what the check of the log says of the index.
async fn faults_of(city: &City, folder: &Path) -> Vec<(u32, String)> {
    let (audit, following) = city.audit_with_index(folder).await;
    let result = audit.check_log(None, &mut Patient).await.expect("checked");
    assert!(result.faults.iter().all(|fault| fault.check == "index"), "{result:?}");
    drop(audit);
    following.abort();
    // The index is closed once its follower has ended; its only error is the abort.
    let _ = following.await;
    let faults = result.faults.into_iter();
    faults
        .map(|fault| (fault.position.expect("a position").partition, fault.detail))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manipulated_index_is_found_by_the_check_of_the_log_or_made_sound_again() {
    let mut city = City::month(31).await;
    let sound = tempfile::tempdir().expect("a folder");
    assert_eq!(faults_of(&city, sound.path()).await, []);
    for (what, expected, change) in changes_of_entries().into_iter().chain(changes_of_the_file()) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::copy(file(sound.path()), file(folder.path())).expect("copied");
        change(folder.path());
        let faults = faults_of(&city, folder.path()).await;
        let outcome = if faults.is_empty() {
            Outcome::Mended
        } else {
            Outcome::Found
        };
        assert_eq!(outcome, expected, "{what}: {faults:?}");
        // What the check advises helps.
        if expected == Outcome::Found {
            assert!(faults[0].1.contains("delete the index"), "{what}: {faults:?}");
            fs::remove_file(file(folder.path())).expect("removed");
            assert_eq!(faults_of(&city, folder.path()).await, [], "{what}");
        }
    }
    // An older copy of the file is continued.
    let holder = HolderId([0xBB; 16]);
    let registered = Event::HolderRegistered(HolderRegistered { holder });
    city.append(holder_stream(holder).as_str(), registered).await;
    assert_eq!(faults_of(&city, sound.path()).await, []);
}
