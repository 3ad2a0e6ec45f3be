//! The data folder of `citycode up`: its layout, its permissions, and the log to which it belongs.
//!
//! ```text
//! DIR/                    0700
//!   in-use                lock, held while the process runs
//!   manifest.toml         the log to which it belongs, and the required parts; see `folder_manifest`
//!   policy                name of the policy under which the log was created
//!   admin.token           0600, the local admin's access token, while a process serves; no later start accepts it
//!   admin.sock            0600, the socket for clients of the same user, while a process serves
//!   issued-tokens.json    0600, issued and revoked access tokens for trials
//!   keys/                 0700; signing keys, ID-check key, vault master key, access authority: 0600 each; all but an
//!                         issuer's signing key and the access authority are created with a new log and never again
//!   log/                  the event log
//!   vault/                the vault
//!   PART.set-aside-N/     the remains of a part that was recreated after a loss
//!   projections/          snapshots; can be deleted
//!   scans/                scan and sampling records, sealed by day
//!   audit/                the audit index; can be deleted
//!   queries/              the stream of queries: who looked at whom, sealed by day
//!   access/               ended sessions, start links, pairing codes and devices of the web pages
//!   log-trees/            the log's trees, and the last signed checkpoints, which must be kept; 0600 is not needed,
//!                         because everything in it is public
//! ```

use std::path::{Path, PathBuf};

use citycode_event_store::{EventStore as _, Layout, LogId, RaiseError, ReaderVersion};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog, OpenError};
use citycode_service_kit::files::{self, FileError, LockFile};

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// A file or folder in it cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log in it cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The minimum reader version of the log in it could not be raised to this program's.
    #[error("the minimum reader version of the event log in the data folder cannot be raised to this release")]
    Raise(#[from] RaiseError),
    /// It was created under another policy, with other kinds and places.
    #[error(
        "the data folder was created under the policy `{found}`, not `{wanted}`: use another folder (--data), or that policy (--policy)"
    )]
    OtherPolicy {
        /// The folder's policy.
        found: String,
        /// The requested policy.
        wanted: String,
    },
}

/// An open data folder, locked against other processes until it is dropped.
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: LockFile,
}

impl DataFolder {
    /// Opens or creates a folder, without its parts. Waits while another process holds its lock
    /// ([`files::LOCK_PATIENCE`]).
    ///
    /// # Errors
    /// [`DataFolderError`]; nothing in the folder was changed.
    pub(super) async fn open(path: &Path, policy_name: &str) -> Result<Self, DataFolderError> {
        files::create_private_dir(path)?;
        let lock = LockFile::take_when_free(&path.join("in-use"), files::LOCK_PATIENCE).await?;
        let named = path.join("policy");
        match std::fs::read_to_string(&named) {
            Ok(found) if found.trim() != policy_name => {
                return Err(DataFolderError::OtherPolicy {
                    found: found.trim().to_owned(),
                    wanted: policy_name.to_owned(),
                });
            }
            Ok(_) => {}
            Err(_) => files::write_atomic(&named, policy_name.as_bytes(), files::PUBLIC_FILE_MODE)?,
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Creates missing folders of parts, after it was checked that they may be created.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn make_folders(&self) -> Result<(), FileError> {
        for folder in [
            "keys",
            "log",
            "vault",
            "projections",
            "scans",
            "audit",
            "queries",
            "log-trees",
            "access",
        ] {
            files::create_private_dir(&self.path.join(folder))?;
        }
        Ok(())
    }

    /// The folder itself.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry of the folder.
    #[must_use]
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens the event log `log_id`, or creates it if `make` is set. The minimum reader version of a log of an earlier
    /// release is raised, so that the earlier release refuses the log from then on; this is safe, because no other
    /// process uses a locked folder. Blocks its thread.
    ///
    /// # Errors
    /// [`DataFolderError`].
    pub(super) fn open_log(&self, log_id: LogId, make: bool) -> Result<EmbeddedEventStore, DataFolderError> {
        let config = Config {
            create: make.then(|| NewLog::new(log_id, Layout::default())),
            expected_log_id: Some(log_id),
            ..Config::default()
        };
        let store = EmbeddedEventStore::open(&self.join("log"), &config)?;
        let before = store.minimum_reader();
        if before < ReaderVersion::CURRENT {
            store.raise_minimum_reader_now(ReaderVersion::CURRENT)?;
            tracing::info!(
                %before,
                now = %ReaderVersion::CURRENT,
                "raised the minimum reader version of the event log; older programs refuse it from now on"
            );
        }
        Ok(store)
    }
}

/// The default data folder of `citycode up`: `$XDG_DATA_HOME/citycode`, or the same below `~/.local/share` (XDG Base
/// Directory Specification).
#[must_use]
pub(super) fn default_path() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("citycode"))
}
