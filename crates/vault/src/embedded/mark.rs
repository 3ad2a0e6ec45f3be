//! The high-water mark: up to where in the log the vault is complete, so that everybody registered up to there
//! is in it and everybody erased up to there is not. It is in the database, so that a restored backup shows its
//! age.
//!
//! ```text
//! table mark-1   "reached" → sequence u64 (big-endian) of each partition, in their order
//! ```

use redb::{Database, ReadableTable as _, TableDefinition, TableError};

use super::rows::unavailable;
use crate::VaultError;

const MARK: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("mark-1");
const REACHED: &str = "reached";

pub(super) fn read(database: &impl redb::ReadableDatabase) -> Result<Option<Vec<u64>>, VaultError> {
    let transaction = database.begin_read().map_err(unavailable)?;
    let table = match transaction.open_table(MARK) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(unavailable(error)),
    };
    let stored = table.get(REACHED).map_err(unavailable)?;
    stored.map(|bytes| decode(bytes.value())).transpose()
}

/// Replaces `from` by `reached`; returns false if another value is recorded.
pub(super) fn write(database: &Database, from: Option<&[u64]>, reached: &[u64]) -> Result<bool, VaultError> {
    let transaction = database.begin_write().map_err(unavailable)?;
    {
        let mut table = transaction.open_table(MARK).map_err(unavailable)?;
        let stored = table.get(REACHED).map_err(unavailable)?;
        let stored = stored.map(|bytes| decode(bytes.value())).transpose()?;
        if stored.as_deref() != from {
            return Ok(false);
        }
        let bytes: Vec<u8> = reached.iter().flat_map(|sequence| sequence.to_be_bytes()).collect();
        table.insert(REACHED, bytes.as_slice()).map_err(unavailable)?;
    }
    transaction.commit().map_err(unavailable)?;
    Ok(true)
}

/// Removes the mark, because its positions refer to a log that was lost.
pub(super) fn forget(database: &Database) -> Result<(), VaultError> {
    let transaction = database.begin_write().map_err(unavailable)?;
    transaction
        .open_table(MARK)
        .map_err(unavailable)?
        .remove(REACHED)
        .map_err(unavailable)?;
    transaction.commit().map_err(unavailable)
}

fn decode(bytes: &[u8]) -> Result<Vec<u64>, VaultError> {
    let (sequences, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(VaultError::Damaged("its mark is truncated".into()));
    }
    Ok(sequences.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect())
}
