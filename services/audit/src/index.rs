//! The index on disk: from a code to its holder, from a holder to the commits of their stream, and what every commit did
//! to the status of codes.
//!
//! ```text
//! audit.redb   table codes-2     code id:8 → holder:16
//!              table commits-2   holder:16 sequence:u64 (big-endian) → nothing; the partition follows from the holder
//!              table effects-1   the journal of effects (module `effects`)
//!              table progress-3  "position" → log position; "log" → log id
//! ```
//! The index is derived data and can be rebuilt by replay. It is deleted and rebuilt if it is damaged, has an older
//! format, belongs to another log, or is ahead of its log (which then was rolled back), but not if it cannot be opened
//! for another reason. It is synced every [`DURABLE_EVERY`] commits; after a crash it continues from the last sync.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use citycode_domain::event::Event;
use citycode_domain::ids::{CodeId, HolderId};
use citycode_event_store::follow::{Continuity, Fold};
use citycode_event_store::{BucketId, CommitHash, EventStore, LogPosition, RecordedCommit, Sequence};
use citycode_log_folds::{folded_events, holder_of};
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, StorageError, TableDefinition, TableError, WriteTransaction,
};

mod compared;
mod effects;

pub(crate) use compared::ComparedIndex;
pub(crate) use effects::PlaceEffect;
use effects::{EFFECTS, Journal};

const FILE: &str = "audit.redb";
const CODES: TableDefinition<'_, [u8; 8], [u8; 16]> = TableDefinition::new("codes-2");
const COMMITS: TableDefinition<'_, [u8; 24], ()> = TableDefinition::new("commits-2");
const PROGRESS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("progress-3");
/// Commits between two syncs of the index. After a crash at most this many are folded again, which takes milliseconds.
const DURABLE_EVERY: usize = 4_096;
/// Memory for pages of the file that were read or are to be written; the operating system keeps others.
const CACHE_BYTES: usize = 256 << 20;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the audit index cannot be used: {0}")]
pub struct IndexError(String);

/// The index of one process, as a fold of the log.
pub struct AuditIndex {
    database: Arc<Database>,
    position: LogPosition,
    codes: Vec<(CodeId, HolderId)>,
    commits: Vec<(HolderId, Sequence)>,
    journal: Journal,
    since_write: usize,
    since_sync: usize,
    /// The last commit of each bucket that was folded since startup, by which copies of earlier commits are detected.
    ends: HashMap<BucketId, CommitHash>,
}

/// Reads the index while it is folded.
#[derive(Clone)]
pub struct IndexReader(Arc<Database>);

impl AuditIndex {
    /// Opens or creates the index in a folder; also returns the position from which to follow the log.
    ///
    /// # Errors
    /// [`IndexError`]: the file is in use, or cannot be read or written, or the log cannot be read.
    pub async fn open(folder: &Path, store: &dyn EventStore) -> Result<(Self, LogPosition), IndexError> {
        let path = folder.join(FILE);
        let heads = store.heads().await.map_err(failed)?;
        let existing = match open(&path)? {
            Some(database) => usable(database, store, &heads),
            None => None,
        };
        let (database, position) = match existing {
            Some(existing) => existing,
            None => {
                if path.exists() {
                    tracing::warn!(file = FILE, "INDEX DELETED: the audit index is rebuilt from the log");
                    std::fs::remove_file(&path).map_err(failed)?;
                }
                let start = LogPosition::start(store.layout().partitions());
                (create(&path, store)?, start)
            }
        };
        let index = Self {
            database: Arc::new(database),
            position: position.clone(),
            codes: Vec::new(),
            commits: Vec::new(),
            journal: Journal::default(),
            since_write: 0,
            since_sync: 0,
            ends: HashMap::new(),
        };
        Ok((index, position))
    }

    /// A reader of the index.
    #[must_use]
    pub fn reader(&self) -> IndexReader {
        IndexReader(Arc::clone(&self.database))
    }

    /// Writes the pending entries. They stay pending if the write fails, for another attempt or for a replay from the
    /// stored position.
    fn write(&mut self, durability: Durability) -> Result<(), IndexError> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(durability).map_err(failed)?;
        {
            let mut codes = transaction.open_table(CODES).map_err(failed)?;
            for (code_id, holder) in &self.codes {
                codes.insert(code_id.0, holder.0).map_err(failed)?;
            }
            let mut commits = transaction.open_table(COMMITS).map_err(failed)?;
            for (holder, sequence) in &self.commits {
                commits.insert(commit_key(*holder, *sequence), ()).map_err(failed)?;
            }
            self.journal.write(&transaction)?;
            let mut progress = transaction.open_table(PROGRESS).map_err(failed)?;
            progress
                .insert("position", self.position.to_bytes().as_slice())
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        self.codes.clear();
        self.commits.clear();
        self.journal.written();
        self.since_write = 0;
        if matches!(durability, Durability::Immediate) {
            self.since_sync = 0;
        }
        Ok(())
    }

    fn write_if_due(&mut self) -> Result<(), IndexError> {
        if self.since_sync >= DURABLE_EVERY {
            self.write(Durability::Immediate)
        } else if self.since_write > 0 {
            self.write(Durability::None)
        } else {
            Ok(())
        }
    }
}

impl Fold for AuditIndex {
    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        match self.ends.get(&commit.bucket) {
            Some(end) if *end == commit.previous_hash => Continuity::Follows,
            Some(_) => Continuity::Breaks,
            None => Continuity::Unknown,
        }
    }

    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        if commit.foreign.is_none() {
            self.ends.insert(commit.bucket, commit.hash);
        }
        let holder = holder_of(&commit.commit.stream);
        if let Some(holder) = holder {
            self.commits.push((holder, commit.position.sequence));
        }
        // A message that is no commit of this log changes nothing. An effect that came twice would count twice.
        if commit.foreign.is_none() && !self.position.includes(commit.position) {
            for event in folded_events(commit).map_err(|error| error.to_string())? {
                if let (Event::CodeIssued(issued), Some(holder)) = (&event, holder) {
                    self.codes.push((issued.code.code_id, holder));
                }
                self.journal.push(commit.position, commit.commit.decided_at, &event);
            }
        }
        self.position.set(commit.position.partition, commit.position.sequence);
        self.since_write += 1;
        self.since_sync += 1;
        if self.since_write >= DURABLE_EVERY {
            self.write_if_due().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn batch_ended(&mut self) -> Result<(), String> {
        self.write_if_due().map_err(|error| error.to_string())
    }
}

impl Drop for AuditIndex {
    fn drop(&mut self) {
        if self.since_sync > 0
            && let Err(error) = self.write(Durability::Immediate)
        {
            tracing::warn!(%error, "the audit index could not be synced; its last commits are folded again at the next start");
        }
    }
}

impl IndexReader {
    /// The holder of a code; `None` if the index does not contain the code.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn holder_of(&self, code_id: CodeId) -> Result<Option<HolderId>, IndexError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let codes = transaction.open_table(CODES).map_err(failed)?;
        let holder = codes.get(code_id.0).map_err(failed)?;
        Ok(holder.map(|holder| HolderId(holder.value())))
    }

    /// The commits of a holder's stream by their sequences in the holder's partition, oldest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn commits_of(&self, holder: HolderId) -> Result<Vec<Sequence>, IndexError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let commits = transaction.open_table(COMMITS).map_err(failed)?;
        let range = commit_key(holder, Sequence(0))..=commit_key(holder, Sequence(u64::MAX));
        let found = commits.range(range).map_err(failed)?;
        found
            .map(|entry| {
                let (key, ()) = entry.map(|(key, value)| (key.value(), value.value())).map_err(failed)?;
                let sequence = key.last_chunk().expect("a key has 24 bytes");
                Ok(Sequence(u64::from_be_bytes(*sequence)))
            })
            .collect()
    }
}

fn commit_key(holder: HolderId, sequence: Sequence) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&holder.0);
    key[16..].copy_from_slice(&sequence.0.to_be_bytes());
    key
}

/// The existing file; `None` if there is none, or if it must be rebuilt.
fn open(path: &Path) -> Result<Option<Database>, IndexError> {
    if !path.exists() {
        return Ok(None);
    }
    match Database::builder().set_cache_size(CACHE_BYTES).open(path) {
        Ok(database) => Ok(Some(database)),
        Err(DatabaseError::UpgradeRequired(_) | DatabaseError::Storage(StorageError::Corrupted(_))) => Ok(None),
        // redb's errors for a file that is not a database, or is truncated.
        Err(DatabaseError::Storage(StorageError::Io(error)))
            if matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The index and its position, if it is of this log and not ahead of it.
fn usable(database: Database, store: &dyn EventStore, heads: &LogPosition) -> Option<(Database, LogPosition)> {
    if stored(&database, "log")? != store.log_id().0 {
        return None;
    }
    let start = || LogPosition::start(store.layout().partitions());
    let position = match stored(&database, "position") {
        Some(bytes) => LogPosition::from_bytes(&bytes).ok()?,
        None => start(),
    };
    let same_partitions = position.iter().count() == heads.iter().count();
    let not_ahead = position
        .iter()
        .zip(heads.iter())
        .all(|((_, indexed), (_, head))| indexed <= head);
    (same_partitions && not_ahead).then_some((database, position))
}

fn create(path: &Path, store: &dyn EventStore) -> Result<Database, IndexError> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(failed)?;
    let transaction = database.begin_write().map_err(failed)?;
    create_tables(&transaction, store).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(database)
}

fn create_tables(transaction: &WriteTransaction, store: &dyn EventStore) -> Result<(), TableError> {
    transaction.open_table(CODES)?;
    transaction.open_table(COMMITS)?;
    transaction.open_table(EFFECTS)?;
    let mut progress = transaction.open_table(PROGRESS)?;
    progress.insert("log", store.log_id().0.as_slice())?;
    Ok(())
}

fn stored(database: &Database, key: &str) -> Option<Vec<u8>> {
    let transaction = database.begin_read().ok()?;
    let progress = transaction.open_table(PROGRESS).ok()?;
    Some(progress.get(key).ok()??.value().to_vec())
}

fn failed(error: impl std::fmt::Display) -> IndexError {
    IndexError(error.to_string())
}

#[cfg(test)]
mod tests;
