//! The engine of one process: a database to which records are appended, and one file for each secret.
//!
//! ```text
//! queries.redb    table queries-1   sequence:u64 → record
//!                 table log-1       the log of the city; see `citycode_vault::log_binding`
//! keys/NAME.key   32 bytes, 0600    NAME is the text of a `SecretName`; overwritten before it is removed
//! ```

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use citycode_service_kit::files::{self, FileError};
pub use citycode_vault::log_binding::ForLog;
use citycode_vault::log_binding::{self, BindingError};
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::{MAX_RECORD_BYTES, QueriesError, QueryStore, Secret, SecretName, Stored};

const QUERIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queries-1");
const SUFFIX: &str = ".key";

/// The file in the folder that contains the stream.
pub const DATABASE_FILE: &str = "queries.redb";

/// The stream of one process.
pub struct EmbeddedQueryStore(Arc<Files>);

struct Files {
    database: Database,
    keys: PathBuf,
    /// Held while a secret is created or destroyed.
    changing: Mutex<()>,
}

/// Why the stream of a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is missing, or belongs to another log.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The folder cannot be used.
    #[error(transparent)]
    Queries(#[from] QueriesError),
}

impl EmbeddedQueryStore {
    /// Opens the stream of a log in a folder; `how` says whether it may be created.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was created.
    pub fn open_for_log(folder: &Path, log_id: &[u8; 16], how: ForLog) -> Result<Self, OpenError> {
        if how == ForLog::Make {
            files::create_private_dir(folder).map_err(QueriesError::new)?;
        }
        let database = log_binding::open(&folder.join(DATABASE_FILE), log_id, how)?;
        let keys = folder.join("keys");
        files::create_private_dir(&keys).map_err(QueriesError::new)?;
        create_table(&database)?;
        Ok(Self(Arc::new(Files {
            database,
            keys,
            changing: Mutex::new(()),
        })))
    }

    /// Runs blocking work on a thread for it.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, QueriesError> + Send + 'static,
    ) -> Result<T, QueriesError> {
        let files = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&files)).await;
        done.map_err(QueriesError::new)?
    }
}

fn create_table(database: &Database) -> Result<(), QueriesError> {
    let transaction = database.begin_write().map_err(QueriesError::new)?;
    transaction.open_table(QUERIES).map_err(QueriesError::new)?;
    transaction.commit().map_err(QueriesError::new)
}

#[async_trait]
impl QueryStore for EmbeddedQueryStore {
    async fn append(&self, record: Vec<u8>) -> Result<u64, QueriesError> {
        self.run(move |files| files.append(&record)).await
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError> {
        let records = self.read_present(from, limit).await?;
        // The writer leaves no gap, also not before the first record.
        let missing = records
            .iter()
            .zip(from.max(1)..)
            .find(|((sequence, _), expected)| sequence != expected);
        match missing {
            Some((_, expected)) => Err(QueriesError::new(format_args!("the record {expected} is missing"))),
            None => Ok(records),
        }
    }

    async fn read_present(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError> {
        self.run(move |files| files.read(from, limit)).await
    }

    async fn secret(&self, name: SecretName) -> Result<Option<Secret>, QueriesError> {
        self.run(move |files| files.secret(name)).await
    }

    async fn create_secret(&self, name: SecretName, fresh: Secret) -> Result<Secret, QueriesError> {
        self.run(move |files| files.create_secret(name, fresh)).await
    }

    async fn destroy_secret(&self, name: SecretName) -> Result<(), QueriesError> {
        self.run(move |files| files.destroy_secret(name)).await
    }

    async fn secrets(&self) -> Result<Vec<(SecretName, Secret)>, QueriesError> {
        self.run(Files::secrets).await
    }
}

impl Files {
    fn append(&self, record: &[u8]) -> Result<u64, QueriesError> {
        if record.len() > MAX_RECORD_BYTES {
            return Err(QueriesError::new("the record is too long"));
        }
        let transaction = self.database.begin_write().map_err(QueriesError::new)?;
        let sequence = {
            let mut queries = transaction.open_table(QUERIES).map_err(QueriesError::new)?;
            let last = queries.last().map_err(QueriesError::new)?;
            let sequence = last.map_or(0, |(last, _)| last.value()) + 1;
            queries.insert(sequence, record).map_err(QueriesError::new)?;
            sequence
        };
        // A crash before this commit leaves a query that was neither recorded nor answered.
        transaction.commit().map_err(QueriesError::new)?;
        Ok(sequence)
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError> {
        let transaction = self.database.begin_read().map_err(QueriesError::new)?;
        let queries = transaction.open_table(QUERIES).map_err(QueriesError::new)?;
        let records = queries.range(from..).map_err(QueriesError::new)?.take(limit);
        let records = records.map(|record| record.map(|(sequence, bytes)| (sequence.value(), bytes.value().to_vec())));
        records.collect::<Result<_, _>>().map_err(QueriesError::new)
    }

    fn path(&self, name: SecretName) -> PathBuf {
        self.keys.join(format!("{name}{SUFFIX}"))
    }

    fn secret(&self, name: SecretName) -> Result<Option<Secret>, QueriesError> {
        match files::read_secret(&self.path(name)) {
            Ok(secret) => Ok(Some(secret)),
            Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(QueriesError::new(error)),
        }
    }

    fn create_secret(&self, name: SecretName, fresh: Secret) -> Result<Secret, QueriesError> {
        let _changing = self.changing.lock();
        if let Some(existing) = self.secret(name)? {
            return Ok(existing);
        }
        // The write is atomic: a crash leaves no secret or a whole one, and no record was made under it yet.
        let written = files::write_atomic(&self.path(name), fresh.as_slice(), files::PRIVATE_FILE_MODE);
        written.map_err(QueriesError::new)?;
        Ok(fresh)
    }

    fn destroy_secret(&self, name: SecretName) -> Result<(), QueriesError> {
        let _changing = self.changing.lock();
        match overwrite_and_remove(&self.path(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(QueriesError::new(error)),
            _ => files::sync_folder(&self.keys).map_err(QueriesError::new),
        }
    }

    fn secrets(&self) -> Result<Vec<(SecretName, Secret)>, QueriesError> {
        let mut secrets = Vec::new();
        for entry in std::fs::read_dir(&self.keys).map_err(QueriesError::new)? {
            let name = entry.map_err(QueriesError::new)?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            // Other files are remains of a write that a crash interrupted.
            let Some(name) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(secret) = self.secret(name)? {
                secrets.push((name, secret));
            }
        }
        Ok(secrets)
    }
}

/// Overwrites the bytes on the disk before the file is removed. A crash in between leaves a file of zeros, which is
/// removed when the call is repeated.
fn overwrite_and_remove(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    file.rewind()?;
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    std::fs::remove_file(path)
}
