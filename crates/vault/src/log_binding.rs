//! Which event log a redb database belongs to, recorded inside the database.
//!
//! ```text
//! table log-1   "log_id" → 16 bytes
//! ```
//! A vault or a file of scan records beside another log would be used silently: a vault that lacks the log's holders
//! registers them a second time. So whoever opens one says which log it must belong to.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, TableDefinition, TableError};

const LOG: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("log-1");
const LOG_ID: &str = "log_id";

/// What opening expects of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForLog {
    /// It is made where there is none; what a first start that crashed left behind is completed.
    Make,
    /// It must be there and belong to the log.
    Keep,
    /// It must be there. One that was made before logs were recorded is taken over; one of another log is refused.
    Adopt,
    /// It must be there, and belongs to this log from now on, whichever it belonged to: its own log was lost.
    Rebind,
}

/// Why a store does not belong to the log.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// There is no such file, or an empty one.
    #[error("{} is missing or empty", .0.display())]
    Missing(PathBuf),
    /// It belongs to another log.
    #[error("it belongs to the log {}", data_encoding::HEXLOWER.encode(.found))]
    OtherLog {
        /// The log that it belongs to.
        found: [u8; 16],
    },
    /// It does not say to which log it belongs: an earlier release made it, or it is a copy from elsewhere.
    #[error("it does not say which log it belongs to")]
    Unknown,
    /// The file cannot be used.
    #[error("the file cannot be used: {0}")]
    File(String),
}

/// Opens the database at `path` as one of the log `log_id`; `how` says what may be made or changed.
///
/// # Errors
/// [`BindingError`]; nothing was changed then.
pub fn open(path: &Path, log_id: &[u8; 16], how: ForLog) -> Result<Database, BindingError> {
    let database = if how == ForLog::Make {
        Database::create(path).map_err(file)?
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

/// The log that the database at `path` belongs to; none where it does not say.
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
