//! The data folder of `citycode up`: what stands where, who may read it, and which log it belongs to.
//!
//! ```text
//! DIR/                    0700
//!   in-use                lock, held as long as the process lives
//!   manifest.toml         which log it belongs to, and which parts must be there; see `folder_manifest`
//!   policy                name of the policy that the log was made under
//!   admin.token           0600, the local admin's access token, while a process serves: no later start takes it
//!   admin.sock            0600, the socket over which clients of the same user are served, while a process serves
//!   issued-tokens.json    0600, which access tokens for trials were issued and revoked
//!   keys/                 0700; signing keys, ID-check key, vault master key, access authority: 0600 each; all but an
//!                         issuer's signing key and the access authority are made with a new log, and never again
//!   log/                  the event log
//!   vault/                the vault
//!   PART.set-aside-N/     what was left of a part that was begun anew
//!   projections/          snapshots; can be thrown away
//!   scans/                scan and sampling records, sealed by day
//!   audit/                the auditors' index; can be thrown away
//! ```

use std::path::{Path, PathBuf};

use citycode_event_store::{EventStore as _, Layout, LogId, RaiseError, ReaderVersion};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog, OpenError};
use citycode_service_kit::files::{self, FileError, LockFile};

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// A file or folder of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log in it.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The log in it demands an older reader version than this program's, and could not be raised.
    #[error("the event log in the data folder cannot be raised to this release")]
    Raise(#[from] RaiseError),
    /// It was made under another policy, whose kinds and places are others.
    #[error(
        "the data folder was made under the policy `{found}`, not `{wanted}`: use another folder (--data), or that policy (--policy)"
    )]
    OtherPolicy {
        /// As the folder has it.
        found: String,
        /// As asked for.
        wanted: String,
    },
}

/// An open data folder; other processes are kept out as long as it lives.
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: LockFile,
}

impl DataFolder {
    /// Opens a folder, or makes it; its parts are not looked at yet. One that another process still holds is waited for
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

    /// Makes the folders of the parts that are not there, once it is known that they may be made.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn make_folders(&self) -> Result<(), FileError> {
        for folder in ["keys", "log", "vault", "projections", "scans", "audit"] {
            files::create_private_dir(&self.path.join(folder))?;
        }
        Ok(())
    }

    /// The folder itself.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A place in the folder.
    #[must_use]
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens the event log `log_id`, or makes it where it may be made. One of an earlier release is raised to this one,
    /// which the earlier release refuses by name from then on; nobody else uses a folder that is locked. Blocks its thread.
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
                "the event log demands programs of this release from now on; an older one refuses it"
            );
        }
        Ok(store)
    }
}

/// Where `citycode up` keeps its data unless told otherwise: `$XDG_DATA_HOME/citycode`, or the same below
/// `~/.local/share` (XDG Base Directory Specification).
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
