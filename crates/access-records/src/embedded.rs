//! The records of one process, in a redb file.
//!
//! ```text
//! table records-1   (table: u8, key)              → (expiry: i64, Unix seconds; revision: u64; value)
//! table expiry-1    (expiry: i64, table: u8, key) → nothing
//! table counts-1    table: u8                      → number of its records: u64
//! ```
//! The file may be removed while the process is stopped: devices have to be paired again then, and sessions that were
//! ended before their expiry would be valid again, so `keys/session.key` has to be removed with it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, Table as RedbTable, TableDefinition};

use crate::{AccessRecords, Entry, Record, Table, Unavailable, check};

type Key = (u8, &'static [u8]);
type Value = (i64, u64, &'static [u8]);

const RECORDS: TableDefinition<'_, Key, Value> = TableDefinition::new("records-1");
const EXPIRY: TableDefinition<'_, (i64, u8, &'static [u8]), ()> = TableDefinition::new("expiry-1");
const COUNTS: TableDefinition<'_, u8, u64> = TableDefinition::new("counts-1");
/// Expired records that one write removes, so that no write takes long.
const MAX_REMOVED_AT_ONCE: usize = 64;

/// The records of one process. Clones share the file.
#[derive(Clone)]
pub struct EmbeddedRecords {
    database: Arc<Database>,
    /// The limit of each table, if it is not the table's own.
    most: Option<u64>,
}

impl std::fmt::Debug for EmbeddedRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedRecords").finish_non_exhaustive()
    }
}

impl EmbeddedRecords {
    /// Opens the file, or creates it. It performs blocking file I/O.
    ///
    /// # Errors
    /// The file cannot be read or created, or has another format.
    pub fn open(path: &Path) -> Result<Self, Unavailable> {
        Self::with_limit(path, None)
    }

    /// Like [`EmbeddedRecords::open`], with a limit of `most` records for each table.
    ///
    /// # Errors
    /// As [`EmbeddedRecords::open`].
    pub fn with_capacity(path: &Path, most: u64) -> Result<Self, Unavailable> {
        Self::with_limit(path, Some(most))
    }

    fn with_limit(path: &Path, most: Option<u64>) -> Result<Self, Unavailable> {
        let database = citycode_database_file::create(path).map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        transaction.open_table(RECORDS).map_err(failed)?;
        transaction.open_table(EXPIRY).map_err(failed)?;
        transaction.open_table(COUNTS).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Self {
            database: Arc::new(database),
            most,
        })
    }

    /// Runs blocking work on another thread: a commit waits for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.map_err(failed)?
    }

    fn create_now(
        &self,
        table: Table,
        key: &[u8],
        value: &[u8],
        expires_at: i64,
        now: i64,
    ) -> Result<bool, Unavailable> {
        let id = (table.number(), key);
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut records = transaction.open_table(RECORDS).map_err(failed)?;
            let mut expiry = transaction.open_table(EXPIRY).map_err(failed)?;
            let existing = stored(&records, id)?;
            if let Some(existing) = &existing {
                if existing.expires_at > now {
                    return Ok(false);
                }
                expiry.remove((existing.expires_at, id.0, id.1)).map_err(failed)?;
            }
            let mut counts = transaction.open_table(COUNTS).map_err(failed)?;
            remove_expired(&mut records, &mut expiry, &mut counts, now)?;
            let count = count_of(&counts, id.0)?;
            // The expired record of this key may have been removed just now.
            let replaces = stored(&records, id)?.is_some();
            if !replaces {
                if count >= self.most.unwrap_or(table.most()) {
                    return Err(Unavailable("there are too many records of this kind".to_owned()));
                }
                counts.insert(id.0, count + 1).map_err(failed)?;
            }
            // The revision goes on, so that a late replacement of the expired record fails.
            let revision = existing.map_or(1, |existing| existing.revision + 1);
            records.insert(id, (expires_at, revision, value)).map_err(failed)?;
            expiry.insert((expires_at, id.0, id.1), ()).map_err(failed)?;
        }
        // A crash before this commit leaves no record, and a crash after it a complete one.
        transaction.commit().map_err(failed)?;
        Ok(true)
    }

    fn replace_now(&self, id: (u8, &[u8]), revision: u64, value: &[u8], expires_at: i64) -> Result<bool, Unavailable> {
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut records = transaction.open_table(RECORDS).map_err(failed)?;
            let mut expiry = transaction.open_table(EXPIRY).map_err(failed)?;
            let Some(existing) = stored(&records, id)?.filter(|existing| existing.revision == revision) else {
                return Ok(false);
            };
            expiry.remove((existing.expires_at, id.0, id.1)).map_err(failed)?;
            records.insert(id, (expires_at, revision + 1, value)).map_err(failed)?;
            expiry.insert((expires_at, id.0, id.1), ()).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(true)
    }

    fn list_now(&self, table: Table, now: i64) -> Result<Vec<(Vec<u8>, Record)>, Unavailable> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let records = transaction.open_table(RECORDS).map_err(failed)?;
        let number = table.number();
        let from: (u8, &[u8]) = (number, &[]);
        let to: (u8, &[u8]) = (number + 1, &[]);
        let mut found = Vec::new();
        for entry in records.range(from..to).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            let record = record(value.value());
            if record.expires_at > now {
                found.push((key.value().1.to_vec(), record));
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl AccessRecords for EmbeddedRecords {
    async fn create(&self, table: Table, key: &[u8], entry: Entry<'_>, now: i64) -> Result<bool, Unavailable> {
        check(key, entry.value)?;
        let (key, value, expires_at) = (key.to_vec(), entry.value.to_vec(), entry.expires_at);
        self.blocking(move |this| this.create_now(table, &key, &value, expires_at, now))
            .await
    }

    async fn get(&self, table: Table, key: &[u8], now: i64) -> Result<Option<Record>, Unavailable> {
        // A read does not wait for the disk: the pages of so small a file are in memory.
        let transaction = self.database.begin_read().map_err(failed)?;
        let records = transaction.open_table(RECORDS).map_err(failed)?;
        let found = stored(&records, (table.number(), key))?;
        Ok(found.filter(|record| record.expires_at > now))
    }

    async fn replace(&self, table: Table, key: &[u8], revision: u64, entry: Entry<'_>) -> Result<bool, Unavailable> {
        check(key, entry.value)?;
        let (key, value, expires_at) = (key.to_vec(), entry.value.to_vec(), entry.expires_at);
        self.blocking(move |this| this.replace_now((table.number(), &key), revision, &value, expires_at))
            .await
    }

    async fn list(&self, table: Table, now: i64) -> Result<Vec<(Vec<u8>, Record)>, Unavailable> {
        self.blocking(move |this| this.list_now(table, now)).await
    }
}

fn record((expires_at, revision, value): (i64, u64, &[u8])) -> Record {
    Record {
        value: value.to_vec(),
        expires_at,
        revision,
    }
}

fn stored(records: &impl redb::ReadableTable<Key, Value>, id: (u8, &[u8])) -> Result<Option<Record>, Unavailable> {
    Ok(records.get(id).map_err(failed)?.map(|value| record(value.value())))
}

fn remove_expired(
    records: &mut RedbTable<'_, Key, Value>,
    expiry: &mut RedbTable<'_, (i64, u8, &'static [u8]), ()>,
    counts: &mut RedbTable<'_, u8, u64>,
    now: i64,
) -> Result<(), Unavailable> {
    for _ in 0..MAX_REMOVED_AT_ONCE {
        let first = expiry.first().map_err(failed)?.map(|(key, _)| {
            let (expires_at, table, key) = key.value();
            (expires_at, table, key.to_vec())
        });
        let Some((expires_at, table, key)) = first.filter(|(expires_at, ..)| *expires_at <= now) else {
            break;
        };
        expiry.remove((expires_at, table, key.as_slice())).map_err(failed)?;
        if records.remove((table, key.as_slice())).map_err(failed)?.is_some() {
            let count = count_of(counts, table)?;
            counts.insert(table, count.saturating_sub(1)).map_err(failed)?;
        }
    }
    Ok(())
}

fn count_of(counts: &impl redb::ReadableTable<u8, u64>, table: u8) -> Result<u64, Unavailable> {
    Ok(counts.get(table).map_err(failed)?.map_or(0, |count| count.value()))
}

fn failed(error: impl std::fmt::Display) -> Unavailable {
    Unavailable::new(error)
}
