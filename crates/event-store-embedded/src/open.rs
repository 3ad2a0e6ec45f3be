//! Opening a folder: the lock, the manifest, the database, and the state in memory.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use citycode_event_store::{Layout, LogId, LogPosition, ReaderVersion};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, StorageBackend};

use crate::guarded_file::{FileHealth, GuardedFile};
use crate::manifest::Manifest;
use crate::recent::Recent;
use crate::rows::{COMMITS, IDENTITY, RECENT, RecentEntry, TAILS};
use crate::snapshot::Snapshot;
use crate::tails::{Checkpoints, Tails};

/// The default size of redb's page cache: the last pages of all partitions and one or two chunks of history.
const CACHE_BYTES: usize = 128 * 1024 * 1024;

/// The log to create if there is none.
#[derive(Debug, Clone, Copy)]
pub struct NewLog {
    /// Its identity: 16 random bytes.
    pub log_id: LogId,
    /// Its layout, which never changes.
    pub layout: Layout,
    /// Its minimum reader version: [`ReaderVersion::CURRENT`] unless it is a copy of an earlier release's log.
    pub minimum_reader: ReaderVersion,
    /// The lost log in whose place it was created, if it is a copy of such a log.
    pub replaces: Option<LogId>,
}

impl NewLog {
    /// A log of this release, with the minimum [`ReaderVersion::CURRENT`].
    #[must_use]
    pub fn new(log_id: LogId, layout: Layout) -> Self {
        Self {
            log_id,
            layout,
            minimum_reader: ReaderVersion::CURRENT,
            replaces: None,
        }
    }

    fn manifest(self) -> Manifest {
        let Self {
            log_id,
            layout,
            minimum_reader,
            replaces,
        } = self;
        Manifest {
            log_id,
            layout,
            minimum_reader,
            replaces,
        }
    }
}

/// How to open a folder.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The log to create if the folder has none. If this is `None`, a folder without a log is an error.
    pub create: Option<NewLog>,
    /// The identity that the log must have, for a caller that has seen it before.
    pub expected_log_id: Option<LogId>,
    /// The size of redb's page cache in bytes.
    pub cache_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            create: None,
            expected_log_id: None,
            cache_bytes: CACHE_BYTES,
        }
    }
}

/// Why a folder could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has the folder open.
    #[error("the event store's folder is already in use by another process; stop that process first")]
    AlreadyInUse,
    /// The folder has no log, and the configuration does not permit creating one.
    #[error("the folder has no event log")]
    NoLog,
    /// The manifest exists, but the log was moved or lost.
    #[error("the folder has a manifest but no log.redb beside it; restore it, do not start afresh")]
    LogMissing,
    /// The folder has commits but no manifest.
    #[error("the folder has a log with commits but no manifest; restore it, do not start afresh")]
    ManifestMissing,
    /// The file is not a manifest, or was edited.
    #[error("the manifest of the event log cannot be read: {0}")]
    ManifestUnreadable(String),
    /// The log requires a newer program.
    #[error(
        "the log has format {format} and requires reader version {minimum_reader}; this program supports {}: a newer \
         release used the log; continue with that release",
        ReaderVersion::CURRENT
    )]
    OtherVersion {
        /// The log's format.
        format: u32,
        /// The log's minimum reader version.
        minimum_reader: ReaderVersion,
    },
    /// It is another log than the caller expects, or the manifest and the database are of two logs.
    #[error("this is log {found}, not {expected}")]
    OtherLog {
        /// The expected identity.
        expected: LogId,
        /// The log's identity.
        found: LogId,
    },
    /// The tables contradict each other.
    #[error("the log is damaged: {0}")]
    Damaged(&'static str),
    /// A file operation failed.
    #[error("the event store's folder cannot be used")]
    Io(#[from] std::io::Error),
    /// A database operation failed.
    #[error("the log's database cannot be opened")]
    Database(#[from] redb::Error),
}

macro_rules! through_redb_error {
    ($($kind:ident),*) => {$(
        impl From<redb::$kind> for OpenError {
            fn from(error: redb::$kind) -> Self {
                Self::Database(error.into())
            }
        }
    )*};
}
through_redb_error!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// The parts of an open log.
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    pub(crate) database: Database,
    pub(crate) health: Arc<FileHealth>,
    pub(crate) snapshot: Snapshot,
    pub(crate) tails: Tails,
    pub(crate) recent: Recent,
    pub(crate) checkpoints: Checkpoints,
    /// Dropped last, which unlocks the folder.
    pub(crate) lock: File,
}

pub(crate) type Wrap<'a> = &'a dyn Fn(Box<dyn StorageBackend>) -> Box<dyn StorageBackend>;

pub(crate) fn open(folder: &Path, config: &Config, wrap: Wrap<'_>) -> Result<Opened, OpenError> {
    if config.create.is_some() {
        fs::create_dir_all(folder)?;
    } else if !folder.is_dir() {
        return Err(OpenError::NoLog);
    }
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::AlreadyInUse),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let (known, path) = (Manifest::read(folder)?, folder.join("log.redb"));
    let exists = path.try_exists()?;
    if known.is_some() && !exists {
        return Err(OpenError::LogMissing);
    }
    let manifest = match (known, config.create) {
        (Some(manifest), _) => manifest,
        (None, Some(new)) => new.manifest(),
        (None, None) if exists => return Err(OpenError::ManifestMissing),
        (None, None) => return Err(OpenError::NoLog),
    };
    if let Some(expected) = config.expected_log_id.filter(|expected| *expected != manifest.log_id) {
        return Err(OpenError::OtherLog {
            expected,
            found: manifest.log_id,
        });
    }
    let health = Arc::new(FileHealth::default());
    if known.is_none() {
        citycode_database_file::prepare(&path)?;
    }
    let file = File::options().read(true).write(true).open(&path)?;
    let inner = wrap(Box::new(redb::backends::FileBackend::new(file)?));
    let guarded = GuardedFile::new(inner, Arc::clone(&health));
    let database = Database::builder()
        .set_cache_size(config.cache_bytes)
        .create_with_backend(guarded)?;
    if known.is_none() {
        // A crash before the manifest is written leaves a log without commits, which the next opening creates again.
        create_tables(&database, &manifest)?;
        manifest.write(folder)?;
    }
    let (snapshot, tails, recent, checkpoints) = load(&database, &manifest)?;
    if let Some(reason) = health.failure() {
        return Err(OpenError::Io(std::io::Error::other(reason)));
    }
    Ok(Opened {
        manifest,
        database,
        health,
        snapshot,
        tails,
        recent,
        checkpoints,
        lock,
    })
}

fn create_tables(database: &Database, manifest: &Manifest) -> Result<(), OpenError> {
    let transaction = database.begin_write()?;
    {
        if transaction.open_table(COMMITS)?.first()?.is_some() {
            return Err(OpenError::ManifestMissing);
        }
        transaction.open_table(RECENT)?;
        transaction.open_table(TAILS)?;
        transaction.open_table(IDENTITY)?.insert(0, &manifest.log_id.0[..])?;
    }
    transaction.commit()?;
    Ok(())
}

fn load(database: &Database, manifest: &Manifest) -> Result<(Snapshot, Tails, Recent, Checkpoints), OpenError> {
    let layout = manifest.layout;
    let transaction = database.begin_read()?;
    let identity = transaction
        .open_table(IDENTITY)?
        .get(0)?
        .ok_or(OpenError::Damaged("it has no identity"))?;
    let found = identity
        .value()
        .try_into()
        .map(LogId)
        .map_err(|_| OpenError::Damaged("its identity is malformed"))?;
    if found != manifest.log_id {
        return Err(OpenError::OtherLog {
            expected: manifest.log_id,
            found,
        });
    }
    let mut snapshot = Snapshot::take(database, LogPosition::start(layout.partitions()), layout)?;
    snapshot.find_heads()?;
    let mut tails = Tails::new(layout);
    let stored = transaction.open_table(TAILS)?;
    let mut written_at = Vec::new();
    for partition in layout.all_partitions() {
        let row = stored.get(partition.0)?;
        let commits = row.map_or(Some(0), |row| tails.load_row(partition, row.value()));
        written_at.push(commits.ok_or(OpenError::Damaged("the stored tails have another layout"))?);
    }
    let checkpoints = Checkpoints::new(written_at);
    let mut recent = Recent::default();
    for row in transaction.open_table(RECENT)?.iter()? {
        let (number, row) = row?;
        let entries: Vec<RecentEntry> = RecentEntry::read_row(row.value()).collect();
        for entry in &entries {
            if !layout.contains(entry.bucket) || !snapshot.heads.includes(entry.position()) {
                return Err(OpenError::Damaged("an entry of the dedup window is past the head"));
            }
            tails.raise(entry.bucket, entry.sequence.0);
        }
        recent.insert(number.value(), entries);
    }
    // The window must contain every commit since the oldest stored tails, or a tail would be wrong.
    if checkpoints.oldest().saturating_add(recent.commits()) < snapshot.heads.commits() {
        return Err(OpenError::Damaged("the stored tails are older than the dedup window"));
    }
    Ok((snapshot, tails, recent, checkpoints))
}
