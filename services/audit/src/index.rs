//! From a code to its holder's stream, on disk.
//!
//! ```text
//! audit.redb   table codes-1     code id:8 → stream name
//!              table progress-1  "position" → log position; "log" → log id
//! ```
//! Commits are not made durable one by one: after a crash the index goes on from the last durable position. An index
//! of another log is thrown away.

use std::path::Path;
use std::sync::Arc;

use citycode_domain::event::Event;
use citycode_domain::ids::CodeId;
use citycode_event_store::follow::Fold;
use citycode_event_store::{EventStore, LogPosition, RecordedCommit};
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

const CODES: TableDefinition<'_, [u8; 8], &str> = TableDefinition::new("codes-1");
const PROGRESS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("progress-1");
/// Commits between two writes of the index; what lies between is folded again after a crash.
const BATCH: usize = 2_000;

/// Why there is no index.
#[derive(Debug, thiserror::Error)]
#[error("the audit index cannot be used: {0}")]
pub struct IndexError(String);

/// The index of one process.
pub struct AuditIndex {
    database: Arc<Database>,
    position: LogPosition,
    pending: Vec<([u8; 8], String)>,
    since_write: usize,
}

impl AuditIndex {
    /// Opens the index in a folder, or makes it; gives also where to follow on.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn open(folder: &Path, store: &dyn EventStore) -> Result<(Self, LogPosition), IndexError> {
        let path = folder.join("audit.redb");
        let database = match Self::usable(&path, store) {
            Some(database) => database,
            None => {
                if path.exists() {
                    tracing::warn!(file = %path.display(), "INDEX THROWN AWAY: the audit index is rebuilt from the log");
                    std::fs::remove_file(&path).map_err(failed)?;
                }
                let database = Database::create(&path).map_err(failed)?;
                let transaction = database.begin_write().map_err(failed)?;
                transaction.open_table(CODES).map_err(failed)?;
                let mut progress = transaction.open_table(PROGRESS).map_err(failed)?;
                progress.insert("log", store.log_id().0.as_slice()).map_err(failed)?;
                drop(progress);
                transaction.commit().map_err(failed)?;
                database
            }
        };
        let from = stored(&database, "position")
            .and_then(|bytes| LogPosition::from_bytes(&bytes).ok())
            .unwrap_or_else(|| LogPosition::start(store.layout().partitions()));
        let index = Self {
            database: Arc::new(database),
            position: from.clone(),
            pending: Vec::new(),
            since_write: 0,
        };
        Ok((index, from))
    }

    /// A handle for looking up while the index follows.
    #[must_use]
    pub fn reader(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    fn usable(path: &Path, store: &dyn EventStore) -> Option<Database> {
        let database = path.exists().then(|| Database::open(path).ok()).flatten()?;
        (stored(&database, "log")? == store.log_id().0).then_some(database)
    }

    fn write(&mut self) -> Result<(), IndexError> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::None).map_err(failed)?;
        {
            let mut codes = transaction.open_table(CODES).map_err(failed)?;
            for (code_id, stream) in self.pending.drain(..) {
                codes.insert(code_id, stream.as_str()).map_err(failed)?;
            }
            let mut progress = transaction.open_table(PROGRESS).map_err(failed)?;
            progress
                .insert("position", self.position.to_bytes().as_slice())
                .map_err(failed)?;
        }
        self.since_write = 0;
        transaction.commit().map_err(failed)
    }
}

impl Fold for AuditIndex {
    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        for data in &commit.commit.events {
            if data.event_type == "CodeIssued" {
                let event = citycode_wire::event::decode_for_projection(&data.event_type, data.version, &data.payload);
                if let Event::CodeIssued(issued) = event.map_err(|error| error.to_string())? {
                    self.pending
                        .push((issued.code.code_id.0, commit.commit.stream.as_str().to_owned()));
                }
            }
        }
        self.position.set(commit.position.partition, commit.position.sequence);
        self.since_write += 1;
        if self.since_write >= BATCH {
            self.write().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn batch_ended(&mut self) {
        if self.since_write > 0
            && let Err(error) = self.write()
        {
            tracing::error!(%error, "the audit index was not written");
        }
    }
}

/// The stream in which a code was issued.
pub(crate) fn stream_of(database: &Database, code_id: CodeId) -> Result<Option<String>, IndexError> {
    let transaction = database.begin_read().map_err(failed)?;
    let codes = transaction.open_table(CODES).map_err(failed)?;
    Ok(codes
        .get(code_id.0)
        .map_err(failed)?
        .map(|stream| stream.value().to_owned()))
}

fn stored(database: &Database, key: &str) -> Option<Vec<u8>> {
    let transaction = database.begin_read().ok()?;
    let progress = transaction.open_table(PROGRESS).ok()?;
    Some(progress.get(key).ok()??.value().to_vec())
}

fn failed(error: impl std::fmt::Display) -> IndexError {
    IndexError(error.to_string())
}
