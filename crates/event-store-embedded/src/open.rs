//! Opening a folder: the lock, the manifest, the database, and what is held in memory.

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

/// redb's page cache unless told otherwise: the right edges of all partitions and a chunk or two of history.
const CACHE_BYTES: usize = 128 * 1024 * 1024;

/// A log to make where there is none yet.
#[derive(Debug, Clone, Copy)]
pub struct NewLog {
    /// Its identity: 16 random bytes.
    pub log_id: LogId,
    /// Its numbers, fixed for ever.
    pub layout: Layout,
    /// The reader version that it demands: [`ReaderVersion::CURRENT`] unless it is the copy of an earlier release's.
    pub minimum_reader: ReaderVersion,
}

impl NewLog {
    /// A log of this release: it demands [`ReaderVersion::CURRENT`].
    #[must_use]
    pub fn new(log_id: LogId, layout: Layout) -> Self {
        Self {
            log_id,
            layout,
            minimum_reader: ReaderVersion::CURRENT,
        }
    }

    fn manifest(self) -> Manifest {
        let Self {
            log_id,
            layout,
            minimum_reader,
        } = self;
        Manifest {
            log_id,
            layout,
            minimum_reader,
        }
    }
}

/// How to open a folder.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// What to make if the folder has no log; without it a folder without a log is an error.
    pub create: Option<NewLog>,
    /// The identity that the log must have, for a caller that has seen it before.
    pub expected_log_id: Option<LogId>,
    /// Memory for redb's page cache, in bytes.
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
    #[error("the event store's folder is already in use by another process; stop that one first")]
    AlreadyInUse,
    /// The folder has no log, and none was to be made.
    #[error("the folder has no event log")]
    NoLog,
    /// The manifest is there, the log is not: it was moved or lost.
    #[error("the folder has a manifest but no log.redb beside it; restore it, do not start afresh")]
    LogMissing,
    /// There are commits but no manifest.
    #[error("the folder has a log with commits but no manifest; restore it, do not start afresh")]
    ManifestMissing,
    /// The manifest is not one, or was changed by hand.
    #[error("the manifest of the event log cannot be read: {0}")]
    ManifestUnreadable(String),
    /// The log needs a newer program.
    #[error(
        "the log has format {format} and wants a reader of version {minimum_reader}; this one is {}: a newer release \
         used it; go on with that release",
        ReaderVersion::CURRENT
    )]
    OtherVersion {
        /// The log's format.
        format: u32,
        /// What it wants at least.
        minimum_reader: ReaderVersion,
    },
    /// It is another log than the caller knows, or manifest and database are of two logs.
    #[error("this is log {found}, not {expected}")]
    OtherLog {
        /// The identity that was expected.
        expected: LogId,
        /// The one that was found.
        found: LogId,
    },
    /// Tables contradict each other.
    #[error("the log is damaged: {0}")]
    Damaged(&'static str),
    /// The file system refused.
    #[error("the event store's folder cannot be used")]
    Io(#[from] std::io::Error),
    /// redb refused.
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

/// Everything that an open log is made of.
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    pub(crate) database: Database,
    pub(crate) health: Arc<FileHealth>,
    pub(crate) snapshot: Snapshot,
    pub(crate) tails: Tails,
    pub(crate) recent: Recent,
    pub(crate) checkpoints: Checkpoints,
    /// Dropped last, which gives the folder free.
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
    let there = path.try_exists()?;
    if known.is_some() && !there {
        return Err(OpenError::LogMissing);
    }
    let manifest = match (known, config.create) {
        (Some(manifest), _) => manifest,
        (None, Some(new)) => new.manifest(),
        (None, None) if there => return Err(OpenError::ManifestMissing),
        (None, None) => return Err(OpenError::NoLog),
    };
    if let Some(expected) = config.expected_log_id.filter(|expected| *expected != manifest.log_id) {
        return Err(OpenError::OtherLog {
            expected,
            found: manifest.log_id,
        });
    }
    let health = Arc::new(FileHealth::default());
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)?;
    let inner = wrap(Box::new(redb::backends::FileBackend::new(file)?));
    let guarded = GuardedFile::new(inner, Arc::clone(&health));
    let database = Database::builder()
        .set_cache_size(config.cache_bytes)
        .create_with_backend(guarded)?;
    if known.is_none() {
        // A crash before the manifest stands leaves a log without commits, which the next opening makes anew.
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
                return Err(OpenError::Damaged("a message id leads past the head"));
            }
            tails.raise(entry.bucket, entry.sequence.0);
        }
        recent.insert(number.value(), entries);
    }
    // Every commit since the oldest stored tails must stand in the window, or a tail would be missed.
    if checkpoints.oldest().saturating_add(recent.commits()) < snapshot.heads.commits() {
        return Err(OpenError::Damaged(
            "the stored tails are older than the window of message ids",
        ));
    }
    Ok((snapshot, tails, recent, checkpoints))
}
