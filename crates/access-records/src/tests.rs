use std::collections::BTreeSet;

use crate::embedded::EmbeddedRecords;
use crate::{AccessRecords as _, Entry, MAX_KEY_BYTES, Table};

fn set_up() -> (tempfile::TempDir, EmbeddedRecords) {
    let dir = tempfile::tempdir().unwrap();
    let records = EmbeddedRecords::open(&dir.path().join("access.redb")).unwrap();
    (dir, records)
}

fn until(expires_at: i64) -> Entry<'static> {
    Entry {
        value: b"value",
        expires_at,
    }
}

#[test]
fn every_table_has_a_number_of_its_own() {
    let numbers: BTreeSet<u8> = Table::ALL.map(Table::number).into();
    assert_eq!(numbers.len(), Table::ALL.len());
}

#[tokio::test]
async fn a_record_is_created_once_until_it_expires() {
    let (_dir, records) = set_up();
    assert!(records.create(Table::StartLink, b"k", until(10), 0).await.unwrap());
    assert!(!records.create(Table::StartLink, b"k", until(20), 9).await.unwrap());
    assert_eq!(
        records.get(Table::StartLink, b"k", 9).await.unwrap().unwrap().value,
        b"value"
    );
    assert_eq!(
        records.get(Table::StartLink, b"k", 10).await.unwrap(),
        None,
        "the expiry is exclusive"
    );
    assert_eq!(
        records.get(Table::Device, b"k", 9).await.unwrap(),
        None,
        "tables are apart"
    );
    assert!(records.create(Table::StartLink, b"k", until(20), 10).await.unwrap());
}

#[tokio::test]
async fn a_record_is_replaced_only_at_its_revision() {
    let (_dir, records) = set_up();
    records.create(Table::Pairing, b"k", until(10), 0).await.unwrap();
    let revision = records.get(Table::Pairing, b"k", 0).await.unwrap().unwrap().revision;
    assert!(
        records
            .replace(Table::Pairing, b"k", revision, until(12))
            .await
            .unwrap()
    );
    assert!(
        !records
            .replace(Table::Pairing, b"k", revision, until(99))
            .await
            .unwrap()
    );
    assert_eq!(
        records.get(Table::Pairing, b"k", 11).await.unwrap().unwrap().expires_at,
        12
    );
    assert!(!records.replace(Table::Pairing, b"other", 1, until(99)).await.unwrap());

    // A record that expired and was created again has another revision.
    records.create(Table::Pairing, b"k", until(30), 12).await.unwrap();
    assert!(
        !records
            .replace(Table::Pairing, b"k", revision + 1, until(99))
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn of_concurrent_replacements_one_succeeds() {
    let (_dir, records) = set_up();
    records.create(Table::StartLink, b"k", until(10), 0).await.unwrap();
    let attempts = (0..8).map(|_| {
        let records = records.clone();
        tokio::spawn(async move { records.replace(Table::StartLink, b"k", 1, until(0)).await.unwrap() })
    });
    let attempts: Vec<_> = attempts.collect();
    let mut successes = 0;
    for attempt in attempts {
        successes += u32::from(attempt.await.unwrap());
    }
    assert_eq!(successes, 1);
}

#[tokio::test]
async fn a_list_has_the_living_records_of_its_table_also_after_a_restart() {
    let (dir, records) = set_up();
    for (key, expires_at) in [(b"a", 10), (b"b", 20), (b"c", 30)] {
        records.create(Table::Device, key, until(expires_at), 0).await.unwrap();
    }
    records.create(Table::Pairing, b"z", until(99), 0).await.unwrap();
    drop(records);
    let records = EmbeddedRecords::open(&dir.path().join("access.redb")).unwrap();
    let keys: Vec<_> = records.list(Table::Device, 10).await.unwrap();
    let keys: Vec<_> = keys.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"b", b"c"]);
}

#[tokio::test]
async fn a_full_table_refuses_new_records_until_old_ones_expire() {
    let dir = tempfile::tempdir().unwrap();
    let records = EmbeddedRecords::with_capacity(&dir.path().join("access.redb"), 2).unwrap();
    records.create(Table::EndedSession, b"a", until(10), 0).await.unwrap();
    records.create(Table::EndedSession, b"b", until(20), 0).await.unwrap();
    records
        .create(Table::EndedSession, b"c", until(30), 0)
        .await
        .unwrap_err();
    assert!(records.create(Table::EndedSession, b"c", until(30), 10).await.unwrap());
    assert!(records.get(Table::EndedSession, b"b", 10).await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_table_leaves_the_others_alone_and_is_counted_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.redb");
    let records = EmbeddedRecords::with_capacity(&path, 2).unwrap();
    for key in [b"a", b"b"] {
        records.create(Table::Pairing, key, until(10), 0).await.unwrap();
    }
    records.create(Table::Pairing, b"c", until(10), 0).await.unwrap_err();
    assert!(records.create(Table::EndedSession, b"s", until(10), 0).await.unwrap());
    drop(records);
    let records = EmbeddedRecords::with_capacity(&path, 2).unwrap();
    records.create(Table::Pairing, b"c", until(10), 0).await.unwrap_err();
    // Replaced records keep their place, and expired ones leave it.
    let revision = records.get(Table::Pairing, b"a", 0).await.unwrap().unwrap().revision;
    assert!(records.replace(Table::Pairing, b"a", revision, until(0)).await.unwrap());
    assert!(records.create(Table::Pairing, b"c", until(10), 0).await.unwrap());
    records.create(Table::Pairing, b"d", until(10), 0).await.unwrap_err();
    assert!(records.create(Table::Pairing, b"d", until(20), 10).await.unwrap());
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, _records) = set_up();
    let mode = std::fs::metadata(dir.path().join("access.redb"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_key_that_is_too_long_is_refused() {
    let (_dir, records) = set_up();
    let key = [0; MAX_KEY_BYTES + 1];
    records.create(Table::Device, &key, until(10), 0).await.unwrap_err();
    records.create(Table::Device, &[], until(10), 0).await.unwrap_err();
}
