//! The state folder of one instance, which belongs to one log.
//!
//! ```text
//! DIR/              0700
//!   in-use          lock, held while the process runs
//!   log-id          identity of the log; another log is refused
//!   projections/    snapshots; can be deleted
//!   keys/           an issuer's signing keys, 0600
//!   audit/          the audit index; can be deleted
//!   log-trees/      an audit service's trees of the log, and the last checkpoints that it signed, which must be kept
//! ```

use std::path::{Path, PathBuf};

use citycode_event_store::LogId;
use citycode_projection::snapshot::log_of;
use citycode_service_kit::files::{self, FileError, LockFile};
use data_encoding::HEXLOWER_PERMISSIVE;

const LOG_ID: &str = "log-id";

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFolderError {
    /// A file or folder in it cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its record of the log is not an identity.
    #[error("{0} contains no identity of a log: restore it, or give this instance an empty folder")]
    NotAnIdentity(PathBuf),
    /// It belongs to another log than the one on the servers.
    #[error(
        "the part `state` in {} belongs to the event log {known}, and the servers have the log {found}: give this instance \
         its own folder or an empty one; if the servers should have {known}, restore that log from its archive",
        path.display()
    )]
    OtherLog {
        /// The folder.
        path: PathBuf,
        /// The log to which it belongs.
        known: LogId,
        /// The log on the servers.
        found: LogId,
    },
}

/// An open folder, locked against other processes until it is dropped.
pub(super) struct StateFolder {
    path: PathBuf,
    _lock: LockFile,
}

impl StateFolder {
    /// Opens or creates a folder. Waits while another process holds its lock ([`files::LOCK_PATIENCE`]).
    ///
    /// # Errors
    /// [`StateFolderError`]; nothing in the folder was changed.
    pub(super) async fn open(path: &Path) -> Result<Self, StateFolderError> {
        files::create_private_dir(path)?;
        let lock = LockFile::take_when_free(&path.join("in-use"), files::LOCK_PATIENCE).await?;
        for inner in ["projections", "audit", "log-trees"] {
            files::create_private_dir(&path.join(inner))?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The path of an entry of the folder.
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

    /// Whether an earlier start left state in it.
    fn was_used(&self) -> bool {
        let has_entries = |name: &str| {
            let entries = std::fs::read_dir(self.join(name));
            entries.is_ok_and(|mut entries| entries.next().is_some())
        };
        ["keys", "projections", "audit"].into_iter().any(has_entries)
    }

    /// The log of this instance; none at its first start.
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

    /// Records the log at the first start. After a crash before this, the next start is the first one. A used folder
    /// without a record belongs to this log from now on, unless its snapshots are of another log.
    ///
    /// # Errors
    /// [`StateFolderError`].
    pub(super) fn record_log(&self, log_id: LogId) -> Result<(), StateFolderError> {
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

/// The log of a snapshot; none if there is no snapshot. Loading checks the header.
fn log_of_snapshot(path: &Path) -> Option<LogId> {
    let file = std::fs::File::open(path).ok()?;
    log_of(file).map(LogId)
}
