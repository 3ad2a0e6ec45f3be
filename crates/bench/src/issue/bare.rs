//! The upper limit of an import: redb alone writes the same rows in the same number of durable transactions.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use citycode_projection::bench_support::mix;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use crate::folder;

type PageKey = (u16, [u8; 16]);
const COMMITS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("commits");
const RECENT: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("recent");
const INDEX: TableDefinition<'static, PageKey, &'static [u8]> = TableDefinition::new("index-1");
const PEOPLE: TableDefinition<'static, PageKey, &'static [u8]> = TableDefinition::new("people-1");
/// Message ids of a batch: bytes each.
const ID_BYTES: usize = 28;
/// Durable transactions of one row, for the upper limit of single issues.
const SINGLE: u64 = 1_000;

/// The results of redb alone.
pub(crate) struct Limit {
    /// All rows of the import, log and vault.
    pub(crate) seconds: f64,
    pub(crate) log_batches: u64,
    pub(crate) bytes: u64,
    /// One row, one durable transaction.
    pub(crate) single_commits_a_second: f64,
}

struct Rows {
    log: Vec<(u64, Vec<u8>)>,
    log_batches: u64,
    index: Vec<(PageKey, Vec<u8>)>,
    people: Vec<(PageKey, Vec<u8>)>,
}

/// The import's rows: the first `commits` of the log, and all rows of the vault.
fn read(folder: &Path, commits: u64) -> Result<Rows> {
    let database = Database::open(folder.join("log/log.redb"))?;
    let transaction = database.begin_read()?;
    let mut log = Vec::new();
    for row in transaction.open_table(COMMITS)?.iter()? {
        let (key, value) = row?;
        log.push((key.value(), value.value().to_vec()));
    }
    // In the order of sequences, which is nearly that of time, and only up to the end of the import.
    log.sort_by_key(|(key, _)| key & ((1 << 48) - 1));
    log.truncate(commits as usize);
    let (mut log_batches, mut imported) = (0, 0);
    for row in transaction.open_table(RECENT)?.iter()? {
        if imported < commits {
            log_batches += 1;
            imported += (row?.1.value().len() / ID_BYTES) as u64;
        }
    }
    let database = Database::open(folder.join("vault/vault.redb"))?;
    let transaction = database.begin_read()?;
    let shuffled = |table: redb::TableDefinition<'_, PageKey, &'static [u8]>| -> Result<Vec<(PageKey, Vec<u8>)>> {
        let table = transaction.open_table(table)?;
        let mut rows = Vec::with_capacity(table.len()? as usize);
        for row in table.iter()? {
            let (key, value) = row?;
            rows.push((key.value(), value.value().to_vec()));
        }
        // Tags are random, so their rows were written in random order.
        let order = |key: &PageKey| mix(u64::from_le_bytes(*key.1.first_chunk().expect("16 bytes have 8")));
        rows.sort_by_key(|(key, _)| order(key));
        Ok(rows)
    };
    Ok(Rows {
        log,
        log_batches,
        index: shuffled(INDEX)?,
        people: shuffled(PEOPLE)?,
    })
}

/// Writes the rows into new files on the same disk.
pub(crate) fn measure(folder: &Path, commits: u64, vault_batches: u64) -> Result<Limit> {
    let rows = read(folder, commits)?;
    let fresh = folder::temporary()?;
    let log = Database::create(fresh.path().join("log.redb"))?;
    let vault = Database::create(fresh.path().join("vault.redb"))?;
    let start = Instant::now();
    // Both files concurrently, like the two writers of the run.
    std::thread::scope(|scope| {
        let people = scope.spawn(|| write_vault(&vault, &rows, vault_batches));
        write_log(&log, &rows)?;
        people
            .join()
            .map_err(|_| anyhow::anyhow!("the second writer panicked"))?
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for number in 0..SINGLE {
        let transaction = log.begin_write()?;
        transaction
            .open_table(COMMITS)?
            .insert(u64::MAX - number, rows.log[0].1.as_slice())?;
        transaction.commit()?;
    }
    let single_commits_a_second = SINGLE as f64 / start.elapsed().as_secs_f64();
    let lengths = |rows: &[(PageKey, Vec<u8>)]| rows.iter().map(|(_, row)| row.len()).sum::<usize>();
    let log_bytes: usize = rows.log.iter().map(|(_, row)| row.len()).sum();
    Ok(Limit {
        seconds,
        log_batches: rows.log_batches,
        bytes: (log_bytes + lengths(&rows.index) + lengths(&rows.people)) as u64,
        single_commits_a_second,
    })
}

/// Rows of each transaction if `rows` are distributed over `batches` transactions.
fn rows_of_a_batch(rows: usize, batches: u64) -> usize {
    rows.div_ceil(batches.max(1) as usize).max(1)
}

fn write_log(log: &Database, rows: &Rows) -> Result<()> {
    for batch in rows.log.chunks(rows_of_a_batch(rows.log.len(), rows.log_batches)) {
        let transaction = log.begin_write()?;
        {
            let mut table = transaction.open_table(COMMITS)?;
            let mut ids = transaction.open_table(RECENT)?;
            ids.insert(batch[0].0, vec![7; batch.len() * ID_BYTES].as_slice())?;
            for (key, value) in batch {
                table.insert(key, value.as_slice())?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}

fn write_vault(vault: &Database, rows: &Rows, batches: u64) -> Result<()> {
    let chunk = rows_of_a_batch(rows.people.len(), batches);
    for (index, people) in rows.index.chunks(chunk).zip(rows.people.chunks(chunk)) {
        let transaction = vault.begin_write()?;
        {
            let mut table = transaction.open_table(INDEX)?;
            for (key, value) in index {
                table.insert(key, value.as_slice())?;
            }
            let mut table = transaction.open_table(PEOPLE)?;
            for (key, value) in people {
                table.insert(key, value.as_slice())?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}
