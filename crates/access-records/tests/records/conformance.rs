//! What every engine does. Each case has tables of its own, so that an engine runs all of them on one store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_access_records::{AccessRecords, Entry, MAX_KEY_BYTES, MAX_VALUE_BYTES, Table};
use citycode_testkit::eventually;

type Records = Arc<dyn AccessRecords>;

/// Time limit on a busy machine; records that expired are gone after seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine under test.
#[async_trait]
pub(crate) trait Engine: Send {
    /// The records as another portal sees them.
    async fn open(&self) -> Records;
    /// The same with a limit of records for each table.
    async fn limited(&self, most: u64) -> Records;
    /// Stops the store by force, and starts it again. Nobody has it open.
    async fn restart(&mut self);
    /// The time at which records are written, in Unix seconds.
    fn now(&self) -> i64;
}

pub(crate) async fn run(mut engine: impl Engine) {
    a_record_is_created_once_until_it_expires(&engine).await;
    a_record_is_replaced_only_at_its_revision(&engine).await;
    of_concurrent_replacements_one_succeeds(&engine).await;
    of_concurrent_creations_one_succeeds(&engine).await;
    keys_and_values_have_limits(&engine).await;
    a_list_has_the_living_records_also_after_a_restart(&mut engine).await;
    a_full_table_refuses_new_records_until_old_ones_expire(&engine).await;
}

fn until(expires_at: i64) -> Entry<'static> {
    Entry {
        value: b"value",
        expires_at,
    }
}

async fn a_record_is_created_once_until_it_expires(engine: &impl Engine) {
    let (one, other, now) = (engine.open().await, engine.open().await, engine.now());
    let table = Table::StartLink;
    assert!(one.create(table, b"k", until(now + 10), now).await.unwrap());
    assert!(!other.create(table, b"k", until(now + 20), now + 9).await.unwrap());
    let found = other.get(table, b"k", now + 9).await.unwrap().unwrap();
    assert_eq!((found.value.as_slice(), found.expires_at), (&b"value"[..], now + 10));
    let expired = other.get(table, b"k", now + 10).await.unwrap();
    assert_eq!(expired, None, "the expiry is exclusive");
    let elsewhere = one.get(Table::Device, b"k", now).await.unwrap();
    assert_eq!(elsewhere, None, "tables are apart");
    assert!(other.create(table, b"k", until(now + 20), now + 10).await.unwrap());
    let again = one.get(table, b"k", now + 10).await.unwrap().unwrap();
    assert!(again.revision > found.revision && again.expires_at == now + 20);
}

async fn a_record_is_replaced_only_at_its_revision(engine: &impl Engine) {
    let (one, other, now) = (engine.open().await, engine.open().await, engine.now());
    let table = Table::Pairing;
    one.create(table, b"k", until(now + 10), now).await.unwrap();
    let revision = other.get(table, b"k", now).await.unwrap().unwrap().revision;
    assert!(!other.replace(table, b"k", 0, until(now + 99)).await.unwrap());
    assert!(other.replace(table, b"k", revision, until(now + 12)).await.unwrap());
    assert!(!one.replace(table, b"k", revision, until(now + 99)).await.unwrap());
    let replaced = one.get(table, b"k", now + 11).await.unwrap().unwrap();
    assert_eq!(replaced.expires_at, now + 12);
    assert!(!one.replace(table, b"absent", 0, until(now + 99)).await.unwrap());
    assert!(!one.replace(table, b"absent", revision, until(now + 99)).await.unwrap());
    assert_eq!(one.get(table, b"absent", now).await.unwrap(), None);
    // A record that expired and was created again has another revision.
    one.create(table, b"k", until(now + 30), now + 12).await.unwrap();
    let late = other.replace(table, b"k", replaced.revision, until(now + 99)).await;
    assert!(!late.unwrap());
    // A record is ended by one that has expired.
    let created = one.get(table, b"k", now + 12).await.unwrap().unwrap();
    assert!(one.replace(table, b"k", created.revision, until(0)).await.unwrap());
    assert_eq!(other.get(table, b"k", now).await.unwrap(), None);
}

async fn of_concurrent_replacements_one_succeeds(engine: &impl Engine) {
    let (first, now) = (engine.open().await, engine.now());
    first
        .create(Table::Invitation, b"k", until(now + 10), now)
        .await
        .unwrap();
    let record = first.get(Table::Invitation, b"k", now).await.unwrap().unwrap();
    let mut attempts = Vec::new();
    for _ in 0..4 {
        let records = engine.open().await;
        attempts.push(tokio::spawn(async move {
            records
                .replace(Table::Invitation, b"k", record.revision, until(0))
                .await
                .unwrap()
        }));
    }
    assert_eq!(successes(attempts).await, 1);
}

async fn of_concurrent_creations_one_succeeds(engine: &impl Engine) {
    let now = engine.now();
    let mut attempts = Vec::new();
    for _ in 0..4 {
        let records = engine.open().await;
        attempts.push(tokio::spawn(async move {
            records
                .create(Table::CardReading, b"k", until(now + 10), now)
                .await
                .unwrap()
        }));
    }
    assert_eq!(successes(attempts).await, 1);
}

async fn successes(attempts: Vec<tokio::task::JoinHandle<bool>>) -> u32 {
    let mut successes = 0;
    for attempt in attempts {
        successes += u32::from(attempt.await.unwrap());
    }
    successes
}

async fn keys_and_values_have_limits(engine: &impl Engine) {
    let (records, now) = (engine.open().await, engine.now());
    let (longest, value) = ([0xff; MAX_KEY_BYTES], [7; MAX_VALUE_BYTES]);
    let entry = Entry {
        value: &value,
        expires_at: now + 10,
    };
    assert!(records.create(Table::CardReading, &longest, entry, now).await.unwrap());
    let found = records.get(Table::CardReading, &longest, now).await.unwrap().unwrap();
    assert_eq!(found.value, value);
    for key in [&[0; MAX_KEY_BYTES + 1][..], &[]] {
        records.create(Table::CardReading, key, entry, now).await.unwrap_err();
        records.replace(Table::CardReading, key, 1, entry).await.unwrap_err();
    }
    let too_long = Entry {
        value: &[7; MAX_VALUE_BYTES + 1],
        expires_at: now + 10,
    };
    records
        .create(Table::CardReading, b"long", too_long, now)
        .await
        .unwrap_err();
}

async fn a_list_has_the_living_records_also_after_a_restart(engine: &mut impl Engine) {
    let now = engine.now();
    let records = engine.open().await;
    for (key, expires_at) in [(b"c", now + 500), (b"a", now + 100), (b"b", now + 300)] {
        records
            .create(Table::Device, key, until(expires_at), now)
            .await
            .unwrap();
    }
    drop(records);
    engine.restart().await;
    let records = engine.open().await;
    let listed = records.list(Table::Device, now + 100).await.unwrap();
    let keys: Vec<_> = listed.iter().map(|(key, _)| key.as_slice()).collect();
    assert_eq!(keys, [b"b", b"c"]);
    for (key, record) in &listed {
        let single = records.get(Table::Device, key, now).await.unwrap();
        assert_eq!(single.as_ref(), Some(record));
    }
    let others = records.list(Table::EndedPerson, now).await.unwrap();
    assert_eq!(others, []);
}

async fn a_full_table_refuses_new_records_until_old_ones_expire(engine: &impl Engine) {
    let now = engine.now();
    let records = engine.limited(2).await;
    let table = Table::EndedSession;
    assert!(records.create(table, b"a", until(now + 500), now).await.unwrap());
    assert!(records.create(table, b"b", until(now + 500), now).await.unwrap());
    records.create(table, b"c", until(now + 500), now).await.unwrap_err();
    // Existing records are replaced, and other tables have room.
    let kept = records.get(table, b"b", now).await.unwrap().unwrap();
    assert!(
        records
            .replace(table, b"b", kept.revision, until(now + 600))
            .await
            .unwrap()
    );
    assert!(
        records
            .create(Table::EndedPerson, b"s", until(now + 500), now)
            .await
            .unwrap()
    );
    // A restart does not forget the count.
    drop(records);
    let records = engine.limited(2).await;
    records.create(table, b"c", until(now + 500), now).await.unwrap_err();
    let ending = records.get(table, b"a", now).await.unwrap().unwrap();
    assert!(records.replace(table, b"a", ending.revision, until(now)).await.unwrap());
    eventually("an expired record makes room", PATIENCE, || async {
        records.create(table, b"c", until(now + 500), now + 1).await.is_ok()
    })
    .await;
    assert!(records.get(table, b"c", now + 1).await.unwrap().is_some());
    assert!(records.get(table, b"b", now + 1).await.unwrap().is_some());
}

#[test]
fn every_table_has_a_number_and_a_name_of_its_own() {
    let numbers: BTreeSet<u8> = Table::ALL.map(Table::number).into();
    let names: BTreeSet<&str> = Table::ALL.map(Table::name).into();
    assert_eq!((numbers.len(), names.len()), (Table::ALL.len(), Table::ALL.len()));
}
