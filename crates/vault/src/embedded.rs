//! The vault's engine for one process: a redb database and the file of page keys next to it.
//!
//! Rows are addressed by page and by a tag under the page's own key, so that the remains of an erased row in a
//! freed part of the database identify nobody: `(page, HMAC(page key, HMAC(index key, ID number)))` → sealed
//! holder id, and
//! `(page, HMAC(page key, holder id))` → sealed [`PersonFile`]. A third table contains each page's generation.

mod copy;
mod erase;
mod mark;
mod rows;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::log_binding::{self, BindingError, ForLog};
use crate::names::NameStep;
use crate::page_keys::PageKeys;
use crate::person::{Person, PersonFile};
use crate::seal::HolderKey;
use crate::{FillRandom, Found, NameApplied, Vault, VaultError};
pub use copy::{VaultCopy, copy_of};
use rows::Rows;

/// Limit of requests in the writer's queue; further callers wait.
const QUEUE: usize = 4096;

/// The vault of one process.
pub struct EmbeddedVault {
    core: Arc<Core>,
    writer: Writer,
}

/// The writer thread. Dropping this value lets the thread finish its queue and joins it, which blocks the
/// dropping thread, so that the folder can be opened again afterwards.
struct Writer {
    /// Taken when this value is dropped.
    jobs: Option<mpsc::Sender<writer::Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the vault's writer panicked");
        }
    }
}

pub(crate) struct Core {
    database: Database,
    keys: RwLock<PageKeys>,
    index_key: hmac::Key,
    random: FillRandom,
    committed: AtomicU64,
}

/// The file of page keys in a vault's folder.
const KEYS_FILE: &str = "vault.keys";
/// The database in a vault's folder.
const DATABASE_FILE: &str = "vault.redb";

/// Why the vault of a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenForLogError {
    /// A file of the vault is missing, or the vault belongs to another log.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The two files are copies of different times: the rows of some pages are sealed under keys that do not
    /// exist.
    #[error("{older} is older than {newer}: {pages} of its pages are sealed under keys that do not exist")]
    Torn {
        /// The file that is older.
        older: &'static str,
        /// The file that is newer.
        newer: &'static str,
        /// Number of pages that cannot be opened.
        pages: usize,
    },
    /// The vault cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl EmbeddedVault {
    /// Opens the vault of a log in a folder; `how` says whether it may be created. `master` decrypts everything
    /// and is stored elsewhere.
    ///
    /// An erasure that a crash interrupted is completed before this returns.
    ///
    /// # Errors
    /// [`OpenForLogError`]; nothing was created.
    pub fn open_for_log(
        folder: &Path,
        master: &Zeroizing<[u8; 32]>,
        random: FillRandom,
        log_id: &[u8; 16],
        how: ForLog,
    ) -> Result<Self, OpenForLogError> {
        let (keys, database) = (folder.join(KEYS_FILE), folder.join(DATABASE_FILE));
        if how == ForLog::Make {
            std::fs::create_dir_all(folder).map_err(|error| VaultError::Unavailable(error.to_string()))?;
        } else {
            log_binding::require(&database)?;
        }
        // The keys are created before the database, so a database without keys has lost them.
        if how != ForLog::Make || database.exists() {
            log_binding::require(&keys)?;
        }
        let keys = PageKeys::open(&keys, master, &random)?;
        let database = log_binding::open(&database, log_id, how)?;
        check_same_time(&keys, &database)?;
        if how == ForLog::Rebind {
            mark::forget(&database)?;
        }
        Ok(Self::over(keys, database, master, random)?)
    }

    /// Opens the vault in a folder, or creates it, whatever log it belongs to. For tests and benchmarks.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] under another master key; [`VaultError::Unavailable`] if files fail.
    pub fn open(folder: &Path, master: &Zeroizing<[u8; 32]>, random: FillRandom) -> Result<Self, VaultError> {
        std::fs::create_dir_all(folder).map_err(|error| VaultError::Unavailable(error.to_string()))?;
        let keys = PageKeys::open(&folder.join(KEYS_FILE), master, &random)?;
        let database = citycode_database_file::create(&folder.join(DATABASE_FILE)).map_err(rows::unavailable)?;
        Self::over(keys, database, master, random)
    }

    fn over(
        keys: PageKeys,
        database: Database,
        master: &Zeroizing<[u8; 32]>,
        random: FillRandom,
    ) -> Result<Self, VaultError> {
        let index_key = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, master.as_slice()),
            b"citycode-vault-index-v1",
        );
        let index_key = hmac::Key::new(hmac::HMAC_SHA256, index_key.as_ref());
        let core = Arc::new(Core {
            database,
            keys: RwLock::new(keys),
            index_key,
            random,
            committed: AtomicU64::new(0),
        });
        core.check_master()?;
        core.finish_interrupted()?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Arc::clone(&core);
        let thread = std::thread::Builder::new()
            .name("vault-writer".into())
            .spawn(move || writer::run(&writer, queue))
            .map_err(|error| VaultError::Unavailable(error.to_string()))?;
        let writer = Writer {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        Ok(Self { core, writer })
    }

    /// Every holder about whom the vault stores something, 16 bytes each. It blocks its thread while it opens
    /// every row.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn holders(&self) -> Result<Vec<HolderId>, VaultError> {
        // The keys are locked before the snapshot is taken: otherwise a page whose key is replaced in between
        // would be read from the old snapshot with the new keys.
        let keys = self.core.keys.read();
        let transaction = self.core.database.begin_read().map_err(rows::unavailable)?;
        Rows::reading(&transaction, &keys)?.holders()
    }

    /// Number of durable transactions that created people since the vault was opened; it shows how requests are
    /// batched.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.core.committed.load(Ordering::Relaxed)
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, VaultError>>) -> writer::Job,
    ) -> Result<T, VaultError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || VaultError::Unavailable("the writer stopped after a failed write".into());
        let jobs = self.writer.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(job(answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// Refuses a file of keys and a database of which one is an older copy, because an erasure between the two
/// replaced keys.
///
/// A key is added before rows are sealed under it and destroyed after that is durable, so a crash never causes
/// this state.
fn check_same_time(keys: &PageKeys, database: &Database) -> Result<(), OpenForLogError> {
    let transaction = database.begin_read().map_err(rows::unavailable)?;
    let tables = Rows::reading(&transaction, keys)?;
    let (mut pages, mut keys_older) = (0, false);
    for page in PageKeys::pages() {
        let generation = tables.generation(page)?;
        if !keys.has(page, generation) {
            pages += 1;
            keys_older |= keys.newest(page) < generation;
        }
    }
    let (older, newer) = if keys_older {
        (KEYS_FILE, DATABASE_FILE)
    } else {
        (DATABASE_FILE, KEYS_FILE)
    };
    match pages {
        0 => Ok(()),
        pages => Err(OpenForLogError::Torn { older, newer, pages }),
    }
}

impl EmbeddedVault {
    async fn rename(&self, holder: HolderId, step: NameStep) -> Result<NameApplied, VaultError> {
        self.ask(|answer| writer::Job::Rename { holder, step, answer }).await
    }
}

impl Core {
    pub(crate) fn id_tag(&self, id_number: &IdNumber) -> [u8; 32] {
        let tag = hmac::sign(&self.index_key, id_number.as_bytes());
        tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
    }

    fn find(&self, id_tag: &[u8; 32]) -> Result<Option<HolderId>, VaultError> {
        // The keys are locked before the snapshot is taken, as in [`EmbeddedVault::holders`].
        let keys = self.keys.read();
        let transaction = self.database.begin_read().map_err(rows::unavailable)?;
        Rows::reading(&transaction, &keys)?.find(id_tag)
    }

    fn find_evenly(&self, id_tag: &[u8; 32]) -> Result<Option<HolderId>, VaultError> {
        let keys = self.keys.read();
        let transaction = self.database.begin_read().map_err(rows::unavailable)?;
        let rows = Rows::reading(&transaction, &keys)?;
        let found = rows.find(id_tag)?;
        if found.is_none() {
            rows.open_nothing(id_tag)?;
        }
        Ok(found)
    }

    fn open_person(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        let keys = self.keys.read();
        let transaction = self.database.begin_read().map_err(rows::unavailable)?;
        Rows::reading(&transaction, &keys)?.open(holder)
    }
}

#[async_trait]
impl Vault for EmbeddedVault {
    async fn find(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        self.core.find(&self.core.id_tag(id_number))
    }

    async fn find_evenly(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        self.core.find_evenly(&self.core.id_tag(id_number))
    }

    async fn find_or_create(
        &self,
        id_number: &IdNumber,
        candidate: HolderId,
        person: Person,
    ) -> Result<Found, VaultError> {
        let id_tag = self.core.id_tag(id_number);
        if let Some(holder) = self.core.find(&id_tag)? {
            return Ok(Found { holder, created: false });
        }
        let mut key = Zeroizing::new([0u8; 32]);
        (self.core.random)(key.as_mut_slice());
        let record = crate::person::encode(id_number, &person, &HolderKey::new(*key), &id_tag);
        self.ask(|answer| writer::Job::Create {
            id_tag,
            candidate,
            record,
            answer,
        })
        .await
    }

    async fn open(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        self.core.open_person(holder)
    }

    async fn stage_name(&self, holder: HolderId, change: NameChangeId, name: &PersonName) -> Result<bool, VaultError> {
        let staged = self.rename(holder, NameStep::Stage(change, name.clone())).await?;
        Ok(staged != NameApplied::NoPerson)
    }

    async fn apply_name(&self, holder: HolderId, change: NameChangeId) -> Result<NameApplied, VaultError> {
        self.rename(holder, NameStep::Apply(change)).await
    }

    async fn discard_name(&self, holder: HolderId, change: NameChangeId) -> Result<(), VaultError> {
        self.rename(holder, NameStep::Discard(change)).await.map(drop)
    }

    async fn erase(&self, holder: HolderId) -> Result<(), VaultError> {
        self.ask(|answer| writer::Job::Erase { holder, answer }).await
    }

    async fn erased_up_to(&self) -> Result<Option<Vec<u64>>, VaultError> {
        mark::read(&self.core.database)
    }

    async fn note_erased_up_to(&self, from: Option<&[u64]>, reached: &[u64]) -> Result<bool, VaultError> {
        mark::write(&self.core.database, from, reached)
    }
}
