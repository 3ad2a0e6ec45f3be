//! Tests of the embedded vault's files: interrupted erasures, copies of different times, other logs, and the mark.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use citycode_domain::id_number::{IdNumber, check_character};
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_vault::embedded::{EmbeddedVault, OpenForLogError, copy_of};
use citycode_vault::log_binding::{BindingError, ForLog, belongs_to};
use citycode_vault::{FillRandom, NameApplied, Person, Vault, VaultError};
use jiff::civil::date;
use tempfile::TempDir;
use zeroize::Zeroizing;

const MASTER: [u8; 32] = [9; 32];
const LOG: [u8; 16] = [1; 16];
const OTHER_LOG: [u8; 16] = [2; 16];
/// Bytes of a key's slot in the file of page keys, after a header of eight bytes.
const SLOT: usize = 36;
const HEADER: usize = 8;

fn random() -> FillRandom {
    Arc::new(|buffer| aws_lc_rs::rand::fill(buffer).expect("the system provides randomness"))
}

fn number(serial: u16) -> IdNumber {
    let body = format!("31010119900101{serial:03}");
    let check = char::from(check_character(body.as_bytes()));
    IdNumber::parse(&format!("{body}{check}"), date(2026, 1, 1)).expect("a number built by the rule")
}

fn name(text: &str) -> PersonName {
    PersonName::parse(text).expect("a name")
}

fn person() -> Person {
    Person {
        name: name("张三"),
        disability: false,
        group: None,
    }
}

/// Holders with equal first bytes share a page of people: the first one, with two zeros.
fn holder(n: u16) -> HolderId {
    let mut bytes = [7; 16];
    bytes[..2].fill(0);
    bytes[2..4].copy_from_slice(&n.to_be_bytes());
    HolderId(bytes)
}

fn change(n: u8) -> NameChangeId {
    NameChangeId([n; 16])
}

fn open_as(folder: &Path, log: &[u8; 16], how: ForLog) -> Result<EmbeddedVault, OpenForLogError> {
    EmbeddedVault::open_for_log(folder, &Zeroizing::new(MASTER), random(), log, how)
}

fn open(folder: &Path) -> EmbeddedVault {
    open_as(folder, &LOG, ForLog::Make).expect("the vault opens")
}

/// A vault with people 0 and 1 of one page, closed, in its folder.
async fn vault_of_two() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = open(folder.path());
    for n in 0..2 {
        let found = vault.find_or_create(&number(n), holder(n), person()).await;
        assert!(found.expect("created").created);
    }
    folder
}

fn file(folder: &TempDir, name: &str) -> Vec<u8> {
    std::fs::read(folder.path().join(name)).expect("a file of the vault")
}

/// A folder with these two files.
fn folder_of(keys: &[u8], database: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("vault.keys"), keys).expect("written");
    std::fs::write(folder.path().join("vault.redb"), database).expect("written");
    folder
}

/// The numbers of slots in which the two files differ.
fn changed_slots(before: &[u8], after: &[u8]) -> Vec<usize> {
    let slots = |bytes: &[u8]| bytes[HEADER..].chunks(SLOT).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (before, after) = (slots(before), slots(after));
    (0..before.len()).filter(|slot| before[*slot] != after[*slot]).collect()
}

/// The keys of both times, as they are between the steps of an erasure.
fn both(before: &[u8], after: &[u8]) -> Vec<u8> {
    let mut both = after.to_vec();
    for slot in changed_slots(before, after) {
        let bytes = HEADER + slot * SLOT..HEADER + (slot + 1) * SLOT;
        if after[bytes.clone()].iter().all(|byte| *byte == 0) {
            both[bytes.clone()].copy_from_slice(&before[bytes]);
        }
    }
    both
}

#[tokio::test]
async fn r28_an_erasure_replaces_the_keys_of_the_persons_two_pages_only() {
    let folder = vault_of_two().await;
    let before = file(&folder, "vault.keys");
    let vault = open(folder.path());
    vault.erase(holder(0)).await.expect("erased");
    drop(vault);
    let after = file(&folder, "vault.keys");
    let changed = changed_slots(&before, &after);
    assert_eq!(changed.len(), 4, "an old and a new key in each of two tables");
    for pair in changed.chunks(2) {
        assert_eq!((pair[0] % 2, pair[1]), (0, pair[0] + 1), "both keys of one page");
        let slot = |bytes: &[u8], slot: usize| bytes[HEADER + slot * SLOT..][..SLOT].to_vec();
        // Generation 1 is in the second slot of a pair, generation 2 in the first.
        assert_eq!(slot(&before, pair[1])[..4], 1u32.to_be_bytes());
        assert_eq!(slot(&before, pair[0]), [0; SLOT]);
        assert_eq!(slot(&after, pair[0])[..4], 2u32.to_be_bytes());
        assert_eq!(slot(&after, pair[1]), [0; SLOT], "the old key is destroyed");
    }
}

/// Before the transaction the new keys are unused, after it the old ones are: exactly those are destroyed at the start.
#[tokio::test]
async fn r28_an_interrupted_erasure_is_undone_before_its_transaction_and_completed_after_it() {
    let folder = vault_of_two().await;
    let (keys_before, database_before) = (file(&folder, "vault.keys"), file(&folder, "vault.redb"));
    open(folder.path()).erase(holder(0)).await.expect("erased");
    let (keys_after, database_after) = (file(&folder, "vault.keys"), file(&folder, "vault.redb"));
    let keys_of_both = both(&keys_before, &keys_after);
    for (database, keys, known) in [
        (database_before, keys_before, true),
        (database_after, keys_after, false),
    ] {
        let crashed = folder_of(&keys_of_both, &database);
        let vault = open(crashed.path());
        let found = vault.find(&number(0)).await.expect("an answer");
        assert_eq!(found, known.then_some(holder(0)));
        assert_eq!(vault.open(holder(0)).await.expect("an answer").is_some(), known);
        assert!(vault.open(holder(1)).await.expect("an answer").is_some());
        drop(vault);
        assert!(changed_slots(&file(&crashed, "vault.keys"), &keys).is_empty());
    }
}

#[tokio::test]
async fn copies_of_different_times_are_refused_with_the_older_file() {
    let folder = vault_of_two().await;
    // The two people share a page, whose key is replaced by each erasure.
    for n in 0..2 {
        let (keys_before, database_before) = (file(&folder, "vault.keys"), file(&folder, "vault.redb"));
        open(folder.path()).erase(holder(n)).await.expect("erased");
        let (keys_after, database_after) = (file(&folder, "vault.keys"), file(&folder, "vault.redb"));
        for (keys, database, expected) in [
            (&keys_before, &database_after, ("vault.keys", "vault.redb")),
            (&keys_after, &database_before, ("vault.redb", "vault.keys")),
        ] {
            let torn = folder_of(keys, database);
            match open_as(torn.path(), &LOG, ForLog::Keep).err() {
                Some(OpenForLogError::Torn { older, newer, pages }) => {
                    assert_eq!(((older, newer), pages), (expected, 2), "person {n}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_vault_is_opened_only_for_its_own_log_and_only_whole() {
    let empty = tempfile::tempdir().expect("a folder");
    for how in [ForLog::Keep, ForLog::Adopt, ForLog::Rebind] {
        let refused = open_as(empty.path(), &LOG, how).err();
        assert!(
            matches!(refused, Some(OpenForLogError::Binding(BindingError::Missing(_)))),
            "{refused:?}"
        );
    }
    assert_eq!(
        std::fs::read_dir(empty.path()).expect("a folder").count(),
        0,
        "nothing was created"
    );

    let folder = vault_of_two().await;
    assert_eq!(
        belongs_to(&folder.path().join("vault.redb")).expect("readable"),
        Some(LOG)
    );
    for how in [ForLog::Make, ForLog::Keep, ForLog::Adopt] {
        let refused = open_as(folder.path(), &OTHER_LOG, how).err();
        assert!(
            matches!(
                refused,
                Some(OpenForLogError::Binding(BindingError::OtherLog { found: LOG }))
            ),
            "{refused:?}"
        );
        assert!(open_as(folder.path(), &LOG, how).is_ok());
    }
    std::fs::remove_file(folder.path().join("vault.keys")).expect("removed");
    for how in [ForLog::Make, ForLog::Keep] {
        let refused = open_as(folder.path(), &LOG, how).err();
        assert!(
            matches!(refused, Some(OpenForLogError::Binding(BindingError::Missing(_)))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn an_empty_file_is_a_missing_one() {
    let folder = folder_of(b"", b"");
    let path = folder.path().join("vault.redb");
    assert!(matches!(belongs_to(&path), Err(BindingError::Missing(missing)) if missing == path));
    assert!(matches!(
        belongs_to(&folder.path().join("no file")),
        Err(BindingError::Missing(_))
    ));
    // Any other error is not mistaken for a missing file, which a caller might create.
    assert!(matches!(
        belongs_to(&path.join("in a file")),
        Err(BindingError::File(_))
    ));
}

#[tokio::test]
async fn a_vault_from_before_logs_were_recorded_is_adopted_only_on_request() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(EmbeddedVault::open(folder.path(), &Zeroizing::new(MASTER), random()).expect("the vault opens"));
    assert_eq!(belongs_to(&folder.path().join("vault.redb")).expect("readable"), None);
    let refused = open_as(folder.path(), &LOG, ForLog::Keep).err();
    assert!(
        matches!(refused, Some(OpenForLogError::Binding(BindingError::Unknown))),
        "{refused:?}"
    );
    drop(open_as(folder.path(), &LOG, ForLog::Adopt).expect("adopted"));
    drop(open_as(folder.path(), &LOG, ForLog::Keep).expect("it belongs to the log now"));
}

#[tokio::test]
async fn a_damaged_file_of_keys_is_refused() {
    let folder = vault_of_two().await;
    let keys = file(&folder, "vault.keys");
    let database = file(&folder, "vault.redb");
    let longer = [&keys[..], &[0]].concat();
    let mut other_magic = keys.clone();
    other_magic[0] ^= 1;
    for damaged in [&keys[..keys.len() - 1], &longer, &other_magic] {
        let folder = folder_of(damaged, &database);
        let refused = open_as(folder.path(), &LOG, ForLog::Keep).err();
        assert!(
            matches!(refused, Some(OpenForLogError::Vault(VaultError::Damaged(_)))),
            "{refused:?}"
        );
    }
    // Other bytes of a key than those under which the rows were sealed.
    let mut other_keys = keys;
    other_keys[HEADER..]
        .chunks_mut(2 * SLOT)
        .for_each(|pair| pair[SLOT + 10] ^= 1);
    let folder = folder_of(&other_keys, &database);
    let refused = open_as(folder.path(), &LOG, ForLog::Keep).err();
    assert!(
        matches!(refused, Some(OpenForLogError::Vault(VaultError::Damaged(_)))),
        "{refused:?}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_keys_and_each_page_has_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let folder = vault_of_two().await;
    let metadata = std::fs::metadata(folder.path().join("vault.keys")).expect("a file");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let keys = file(&folder, "vault.keys");
    assert_eq!(&keys[..HEADER], b"CCVKEYS1");
    // Two tables of 1,024 pages, each with the slots of two generations.
    assert_eq!(keys.len(), HEADER + 2 * 1_024 * 2 * SLOT);
    let pairs: Vec<&[u8]> = keys[HEADER..].chunks(2 * SLOT).collect();
    assert!(
        pairs
            .iter()
            .all(|pair| pair[..SLOT] == [0; SLOT] && pair[SLOT..SLOT + 4] == 1u32.to_be_bytes())
    );
    let different: std::collections::BTreeSet<&[u8]> = pairs.iter().map(|pair| &pair[SLOT + 4..]).collect();
    assert_eq!(different.len(), pairs.len());
}

#[tokio::test]
async fn the_mark_is_replaced_only_if_it_is_still_the_expected_one() {
    let folder = vault_of_two().await;
    let vault = open(folder.path());
    assert_eq!(vault.erased_up_to().await.expect("an answer"), None);
    let replace = async |from: Option<&[u64]>, to: &[u64]| vault.note_erased_up_to(from, to).await.expect("an answer");
    assert!(!replace(Some(&[1]), &[5, 6]).await, "there is none yet");
    assert!(replace(None, &[1, 2]).await);
    assert!(!replace(None, &[5, 6]).await);
    assert!(!replace(Some(&[1, 3]), &[5, 6]).await);
    assert_eq!(vault.erased_up_to().await.expect("an answer"), Some(vec![1, 2]));
    assert!(replace(Some(&[1, 2]), &[3, 1 << 40]).await);
    drop(vault);
    let copy = copy_of(folder.path()).expect("a copy");
    assert_eq!((copy.log_id, copy.whole_up_to), (Some(LOG), Some(vec![3, 1 << 40])));
    let vault = open(folder.path());
    assert_eq!(vault.erased_up_to().await.expect("an answer"), Some(vec![3, 1 << 40]));
    drop(vault);
    // The positions of the mark refer to the log that was lost.
    let rebound = open_as(folder.path(), &OTHER_LOG, ForLog::Rebind).expect("bound to the new log");
    assert_eq!(rebound.erased_up_to().await.expect("an answer"), None);
    assert_eq!(rebound.find(&number(0)).await.expect("an answer"), Some(holder(0)));
    drop(rebound);
    assert_eq!(copy_of(folder.path()).expect("a copy").log_id, Some(OTHER_LOG));
}

#[tokio::test]
async fn a_folder_without_a_vault_is_no_copy() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = copy_of(folder.path()).err();
    assert!(
        matches!(refused, Some(OpenForLogError::Binding(BindingError::Missing(_)))),
        "{refused:?}"
    );
}

/// R28: an applied or discarded name destroys the former bytes with the page's key; staging destroys nothing.
#[tokio::test]
async fn r28_a_corrected_name_takes_effect_when_applied_and_destroys_the_former_one() {
    let folder = vault_of_two().await;
    let vault = open(folder.path());
    let present = async |n| vault.open(holder(n)).await.expect("an answer").expect("known");
    let keys = || file(&folder, "vault.keys");

    let before = keys();
    assert!(
        vault
            .stage_name(holder(0), change(1), &name("李四"))
            .await
            .expect("staged")
    );
    assert_eq!(keys(), before, "nothing is destroyed yet");
    let staged = present(0).await;
    assert_eq!((staged.name.as_str(), staged.has_staged_name()), ("张三", true));
    assert_eq!(staged.named_by(), None);

    let applied = vault.apply_name(holder(0), change(1)).await.expect("applied");
    assert_eq!(applied, NameApplied::Applied);
    assert_eq!(changed_slots(&before, &keys()).len(), 2, "one page has another key");
    let applied = present(0).await;
    assert_eq!((applied.name.as_str(), applied.has_staged_name()), ("李四", false));
    assert_eq!(applied.named_by(), Some(change(1)));
    assert_eq!(present(1).await.name.as_str(), "张三");

    let before = keys();
    let again = vault.apply_name(holder(0), change(1)).await.expect("applied before");
    assert_eq!((again, keys()), (NameApplied::Applied, before));
    let unknown = vault.apply_name(holder(0), change(9)).await.expect("an answer");
    assert_eq!(unknown, NameApplied::NotStaged);

    assert!(
        vault
            .stage_name(holder(0), change(2), &name("王五"))
            .await
            .expect("staged")
    );
    let before = keys();
    vault.discard_name(holder(0), change(2)).await.expect("discarded");
    assert_eq!(changed_slots(&before, &keys()).len(), 2);
    assert!(!present(0).await.has_staged_name());

    assert!(
        !vault
            .stage_name(holder(9), change(3), &name("王五"))
            .await
            .expect("an answer")
    );
    let nobody = vault.apply_name(holder(9), change(3)).await.expect("an answer");
    assert_eq!(nobody, NameApplied::NoPerson);
    drop(vault);
    let vault = open(folder.path());
    let file = vault.open(holder(0)).await.expect("an answer").expect("known");
    assert_eq!((file.name.as_str(), file.named_by()), ("李四", Some(change(1))));
}

#[tokio::test]
async fn people_are_listed_and_looked_up_evenly_before_and_after_an_erasure() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = open(folder.path());
    assert_eq!(vault.holders().expect("an answer"), []);
    assert_eq!(vault.find_evenly(&number(0)).await.expect("an answer"), None);
    for n in 0..3 {
        vault
            .find_or_create(&number(n), holder(n), person())
            .await
            .expect("created");
    }
    let mut holders = vault.holders().expect("an answer");
    holders.sort_unstable();
    assert_eq!(holders, [holder(0), holder(1), holder(2)]);
    for n in 0..3 {
        assert_eq!(vault.find_evenly(&number(n)).await.expect("an answer"), Some(holder(n)));
    }
    assert_eq!(vault.find_evenly(&number(7)).await.expect("an answer"), None);
    assert!(vault.reason_key(&number(1)).await.expect("an answer").is_some());
    vault.erase(holder(1)).await.expect("erased");
    assert!(vault.reason_key(&number(1)).await.expect("an answer").is_none());
    assert_eq!(vault.find_evenly(&number(1)).await.expect("an answer"), None);
    let mut holders = vault.holders().expect("an answer");
    holders.sort_unstable();
    assert_eq!(holders, [holder(0), holder(2)]);
}

#[tokio::test]
async fn what_a_channel_attested_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = open(folder.path());
    let attested = [false, true].map(|disability| [None, Some("veteran")].map(|group| (disability, group)));
    for (n, (disability, group)) in (0..).zip(attested.into_iter().flatten()) {
        let person = Person {
            name: name("张三"),
            disability,
            group: group.map(str::to_owned),
        };
        vault
            .find_or_create(&number(n), holder(n), person)
            .await
            .expect("created");
        let file = vault.open(holder(n)).await.expect("an answer").expect("known");
        assert_eq!((file.disability, file.group.as_deref()), (disability, group));
    }
}

/// The writer is held at its first row until all requests are in its queue.
#[tokio::test]
async fn concurrent_registrations_share_transactions() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (fill, writers_gate) = (random(), Arc::clone(&gate));
    let gated: FillRandom = Arc::new(move |buffer| {
        if std::thread::current().name() == Some("vault-writer") {
            let (closed, opened) = &*writers_gate;
            drop(opened.wait_while(closed.lock().expect("no panic"), |closed| *closed));
        }
        fill(buffer);
    });
    let close = |closed| {
        *gate.0.lock().expect("no panic") = closed;
        gate.1.notify_all();
    };
    let vault = EmbeddedVault::open(folder.path(), &Zeroizing::new(MASTER), gated).expect("the vault opens");
    let vault = Arc::new(vault);
    assert_eq!(vault.batches(), 0);
    vault
        .find_or_create(&number(0), holder(0), person())
        .await
        .expect("created");
    assert_eq!(vault.batches(), 1);
    vault
        .find_or_create(&number(0), holder(0), person())
        .await
        .expect("found");
    assert_eq!(vault.batches(), 1, "a known person needs no transaction");

    close(true);
    let attempts = (1..200).map(|n| {
        let vault = Arc::clone(&vault);
        tokio::spawn(async move { vault.find_or_create(&number(n), holder(n), person()).await })
    });
    let attempts: Vec<_> = attempts.collect();
    // Each attempt is in the queue after its first poll, and this runtime has one thread.
    for _ in 0..attempts.len() {
        tokio::task::yield_now().await;
    }
    close(false);
    for attempt in attempts {
        assert!(attempt.await.expect("no panic").expect("created").created);
    }
    // The transaction that was held, and one for the rest.
    assert!((2..=3).contains(&vault.batches()), "{} transactions", vault.batches());
}

#[tokio::test]
async fn a_seal_opens_only_under_its_key_and_context() {
    let folder = vault_of_two().await;
    let vault = open(folder.path());
    let [first, second] = [0, 1].map(holder);
    let key = vault.open(first).await.expect("an answer").expect("known").key;
    let other = vault.open(second).await.expect("an answer").expect("known").key;
    let sealed = key.seal(b"token", [5; 12], b"secret");
    // A nonce of 12 bytes, the text, and a tag of 16 bytes.
    assert_eq!((sealed.len(), &sealed[..12]), (12 + 6 + 16, &[5; 12][..]));
    assert_eq!(key.open(b"token", &sealed).expect("it opens").as_slice(), b"secret");
    assert!(other.open(b"token", &sealed).is_err());
    assert!(key.open(b"reason", &sealed).is_err());
    for length in 0..sealed.len() {
        assert!(key.open(b"token", &sealed[..length]).is_err(), "cut to {length}");
    }
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(key.open(b"token", &flipped).is_err(), "bit {bit}");
    }
    assert_eq!(key.digest(b"a"), key.digest(b"a"));
    assert_ne!(key.digest(b"a"), key.digest(b"b"));
    assert_ne!(key.digest(b"a"), other.digest(b"a"));
    assert_eq!(format!("{key:?}"), "HolderKey(…)");
    assert_eq!(format!("{:?}", person()), "Person(…)");
    let file = vault.open(first).await.expect("an answer").expect("known");
    assert_eq!(format!("{file:?}"), "PersonFile(…)");
}
