//! The folder of one instance's own state, and which log it belongs to.
//!
//! ```text
//! DIR/              0700
//!   in-use          lock, held as long as the process lives
//!   log-id          identity of the log; another one is refused
//!   projections/    snapshots; can be thrown away
//!   keys/           an issuer's signing keys, 0600
//!   audit/          the auditors' index; can be thrown away
//! ```

use std::path::{Path, PathBuf};

use citycode_event_store::LogId;
use citycode_projection::snapshot::log_of;
use citycode_service_kit::files::{self, FileError, LockFile};
use data_encoding::HEXLOWER_PERMISSIVE;

const LOG_ID: &str = "log-id";

/// Why a folder of state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFolderError {
    /// A file or folder of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its note of the log is no identity.
    #[error("{0} holds no identity of a log: restore it, or give this instance an empty folder")]
    NotAnIdentity(PathBuf),
    /// It belongs to another log than the servers have.
    #[error(
        "the part `state` in {} belongs to the event log {known}, and the servers have the log {found}: give this instance \
         its own folder or an empty one; if the servers should have {known}, restore that log from its archive",
        path.display()
    )]
    OtherLog {
        /// The folder.
        path: PathBuf,
        /// The log that it belongs to.
        known: LogId,
        /// The log on the servers.
        found: LogId,
    },
}

/// An open folder; other processes are kept out as long as it lives.
pub(super) struct StateFolder {
    path: PathBuf,
    _lock: LockFile,
}

impl StateFolder {
    /// Opens a folder, or makes it. One that another process still holds is waited for ([`files::LOCK_PATIENCE`]).
    ///
    /// # Errors
    /// [`StateFolderError`]; nothing in the folder was changed.
    pub(super) async fn open(path: &Path) -> Result<Self, StateFolderError> {
        files::create_private_dir(path)?;
        let lock = LockFile::take_when_free(&path.join("in-use"), files::LOCK_PATIENCE).await?;
        for inner in ["projections", "audit"] {
            files::create_private_dir(&path.join(inner))?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// A place in the folder.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The error of a folder that belongs to another log.
    pub(super) fn other_log(&self, known: LogId, found: LogId) -> StateFolderError {
        StateFolderError::OtherLog {
            path: self.path.clone(),
            known,
            found,
        }
    }

    /// Whether an earlier start left something in it.
    fn was_used(&self) -> bool {
        let has_entries = |name: &str| {
            let entries = std::fs::read_dir(self.join(name));
            entries.is_ok_and(|mut entries| entries.next().is_some())
        };
        ["keys", "projections", "audit"].into_iter().any(has_entries)
    }

    /// The log that this instance knows; none at its first start.
    ///
    /// # Errors
    /// [`StateFolderError`].
    pub(super) fn log_id(&self) -> Result<Option<LogId>, StateFolderError> {
        let path = self.join(LOG_ID);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_private(&path)?;
        let id = HEXLOWER_PERMISSIVE.decode(text.trim_ascii()).ok();
        let id: Option<[u8; 16]> = id.and_then(|id| id.try_into().ok());
        id.map(|id| Some(LogId(id)))
            .ok_or(StateFolderError::NotAnIdentity(path))
    }

    /// Remembers the log at the first start. A crash before leaves none, and the next start is the first. A folder that was
    /// used and does not say whose it is belongs to this log from now on, unless its snapshots are of another one.
    ///
    /// # Errors
    /// [`StateFolderError`].
    pub(super) fn remember(&self, log_id: LogId) -> Result<(), StateFolderError> {
        if self.log_id()?.is_none() {
            let snapshots = ["projections/register", "projections/status"].map(|name| self.join(name));
            let mut of_snapshots = snapshots.iter().filter_map(|path| log_of_snapshot(path));
            if let Some(known) = of_snapshots.find(|known| *known != log_id) {
                return Err(self.other_log(known, log_id));
            }
            if self.was_used() {
                tracing::info!(folder = %self.path.display(), log = %log_id, "the state folder is adopted: it belongs to this log from now on");
            }
            let text = format!("{log_id}\n");
            files::write_atomic(&self.join(LOG_ID), text.as_bytes(), files::PRIVATE_FILE_MODE)?;
        }
        Ok(())
    }
}

/// The log that a snapshot is of; none where there is no snapshot. Its header is checked where it is loaded.
fn log_of_snapshot(path: &Path) -> Option<LogId> {
    let file = std::fs::File::open(path).ok()?;
    log_of(file).map(LogId)
}
