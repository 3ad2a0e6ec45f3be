//! Records inside a redb database to which event log it belongs.
//!
//! ```text
//! table log-1   "log_id" → 16 bytes
//! ```
//! Without this check a vault or a file of scan records could be used with another log: a vault that lacks the
//! log's holders would register them a second time. So the caller that opens a database names the log to which
//! it must belong.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, TableDefinition, TableError};

const LOG: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("log-1");
const LOG_ID: &str = "log_id";

/// What opening expects of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForLog {
    /// It is created if it does not exist; a first start that crashed is completed.
    Make,
    /// It must exist and belong to the log.
    Keep,
    /// It must exist. A database from before logs were recorded is adopted; one of another log is refused.
    Adopt,
    /// It must exist, and belongs to this log from now on, because its own log was lost.
    Rebind,
}

/// Why a database does not belong to the log.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// The file does not exist or is empty.
    #[error("{} is missing or empty", .0.display())]
    Missing(PathBuf),
    /// It belongs to another log.
    #[error("it belongs to the log {}", data_encoding::HEXLOWER.encode(.found))]
    OtherLog {
        /// The log to which it belongs.
        found: [u8; 16],
    },
    /// It does not record its log: an earlier release created it, or it is a copy from elsewhere.
    #[error("it does not record to which log it belongs")]
    Unknown,
    /// The file cannot be used.
    #[error("the file cannot be used: {0}")]
    File(String),
}

/// Opens the database at `path` for the log `log_id`; `how` says what may be created or changed.
///
/// # Errors
/// [`BindingError`]; the database is unchanged.
pub fn open(path: &Path, log_id: &[u8; 16], how: ForLog) -> Result<Database, BindingError> {
    let database = if how == ForLog::Make {
        citycode_database_file::create(path).map_err(file)?
    } else {
        require(path)?;
        Database::open(path).map_err(file)?
    };
    match (read(&database)?, how) {
        (Some(found), _) if found == *log_id => {}
        (Some(found), ForLog::Make | ForLog::Keep | ForLog::Adopt) => return Err(BindingError::OtherLog { found }),
        (None, ForLog::Keep) => return Err(BindingError::Unknown),
        (None, ForLog::Make | ForLog::Adopt) | (_, ForLog::Rebind) => write(&database, log_id)?,
    }
    Ok(database)
}

/// The log to which the database at `path` belongs; `None` if it does not record one.
///
/// # Errors
/// [`BindingError::Missing`], [`BindingError::File`].
pub fn belongs_to(path: &Path) -> Result<Option<[u8; 16]>, BindingError> {
    require(path)?;
    read(&Database::open(path).map_err(file)?)
}

/// Refuses a file that is missing or empty.
///
/// # Errors
/// [`BindingError::Missing`], [`BindingError::File`].
pub fn require(path: &Path) -> Result<(), BindingError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 => Ok(()),
        Ok(_) => Err(BindingError::Missing(path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(BindingError::Missing(path.to_owned())),
        Err(error) => Err(file(error)),
    }
}

pub(crate) fn read(database: &impl ReadableDatabase) -> Result<Option<[u8; 16]>, BindingError> {
    let transaction = database.begin_read().map_err(file)?;
    let table = match transaction.open_table(LOG) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(file(error)),
    };
    let Some(bytes) = table.get(LOG_ID).map_err(file)? else {
        return Ok(None);
    };
    let id = bytes.value().try_into();
    id.map(Some)
        .map_err(|_| BindingError::File("the log id recorded in it is malformed".into()))
}

fn write(database: &Database, log_id: &[u8; 16]) -> Result<(), BindingError> {
    let transaction = database.begin_write().map_err(file)?;
    {
        let mut table = transaction.open_table(LOG).map_err(file)?;
        table.insert(LOG_ID, &log_id[..]).map_err(file)?;
    }
    transaction.commit().map_err(file)
}

fn file(error: impl std::error::Error) -> BindingError {
    BindingError::File(error.to_string())
}
