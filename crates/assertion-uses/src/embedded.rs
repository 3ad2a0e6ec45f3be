//! The register of assertion uses of one process, in a redb file.
//!
//! ```text
//! table uses-1       name (16 bytes)                → expiry (i64, Unix seconds), request (32 bytes)
//! table expiry-1     (expiry, name)                 → nothing
//! table since-1      "takes_from", "forgotten_to"   → i64, Unix seconds
//! table check-1      "key"                          → 16 bytes that identify the key of names and requests
//! ```
//!
//! A file that is created next to an existing log accepts no assertions from before its creation, because an
//! earlier process may have accepted them. So file and key can be removed while the process is stopped; some
//! people then have to authenticate again.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{Database, ReadableTable as _, TableDefinition};

use crate::{AssertionUse, AssertionUses, Unavailable, Used, UsesKey};

const USES: TableDefinition<'_, [u8; 16], (i64, [u8; 32])> = TableDefinition::new("uses-1");
const EXPIRY: TableDefinition<'_, (i64, [u8; 16]), ()> = TableDefinition::new("expiry-1");
const SINCE: TableDefinition<'_, &str, i64> = TableDefinition::new("since-1");
const CHECK: TableDefinition<'_, &str, [u8; 16]> = TableDefinition::new("check-1");
const KEY: &str = "key";
/// Assertions made before this time are not accepted.
const TAKES_FROM: &str = "takes_from";
/// The latest expiry of all removed uses. An assertion with an earlier expiry can only arrive after a clock was
/// set back.
const FORGOTTEN_TO: &str = "forgotten_to";
/// Limit of uses, some 120 bytes each: 650 per second for five minutes. Beyond it new uses are refused, and old
/// ones are kept.
const MAX_USES: u64 = 200_000;
/// Limit of expired uses that one registration removes, so that no registration takes long.
const MAX_REMOVED_AT_ONCE: usize = 64;

/// The register of one process.
pub struct EmbeddedAssertionUses {
    store: Arc<Store>,
}

struct Store {
    database: Database,
    key: UsesKey,
    most: u64,
}

impl EmbeddedAssertionUses {
    /// Opens the file, or creates it; a new file accepts no assertions made before `takes_from`, in Unix
    /// seconds. A file written under another key is reset.
    ///
    /// # Errors
    /// The file cannot be read or created, or has another format.
    pub fn open(path: &Path, key: UsesKey, takes_from: Option<i64>) -> Result<Self, Unavailable> {
        Self::with_capacity(path, key, takes_from, MAX_USES)
    }

    /// Like [`EmbeddedAssertionUses::open`], with a limit of `most` uses at a time.
    ///
    /// # Errors
    /// As [`EmbeddedAssertionUses::open`].
    pub fn with_capacity(path: &Path, key: UsesKey, takes_from: Option<i64>, most: u64) -> Result<Self, Unavailable> {
        let database = citycode_database_file::create(path).map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        {
            let check = key.check(&[0; 16]);
            let mut checks = transaction.open_table(CHECK).map_err(failed)?;
            let before = checks.insert(KEY, check).map_err(failed)?.map(|before| before.value());
            if before != Some(check) {
                // Entries under another key can never be found again.
                transaction.delete_table(USES).map_err(failed)?;
                transaction.delete_table(EXPIRY).map_err(failed)?;
                let mut since = transaction.open_table(SINCE).map_err(failed)?;
                since
                    .insert(TAKES_FROM, takes_from.unwrap_or(i64::MIN))
                    .map_err(failed)?;
            }
            transaction.open_table(USES).map_err(failed)?;
            transaction.open_table(EXPIRY).map_err(failed)?;
            transaction.open_table(SINCE).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        let store = Arc::new(Store { database, key, most });
        Ok(Self { store })
    }
}

#[async_trait]
impl AssertionUses for EmbeddedAssertionUses {
    async fn register(&self, used: AssertionUse, now: i64) -> Result<Used, Unavailable> {
        let store = Arc::clone(&self.store);
        // The commit waits for the disk.
        let registered = tokio::task::spawn_blocking(move || store.register(&used, now)).await;
        registered.map_err(failed)?
    }
}

impl Store {
    fn register(&self, used: &AssertionUse, now: i64) -> Result<Used, Unavailable> {
        let (name, request) = (self.key.name(used), self.key.request(used));
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut uses = transaction.open_table(USES).map_err(failed)?;
            if let Some(known) = uses.get(name).map_err(failed)? {
                let same = known.value().1 == request;
                return Ok(if same { Used::Before } else { Used::ForAnother });
            }
            let mut expiry = transaction.open_table(EXPIRY).map_err(failed)?;
            let mut since = transaction.open_table(SINCE).map_err(failed)?;
            let stored = |name| Ok(since.get(name).map_err(failed)?.map(|value| value.value()));
            let (takes_from, forgotten_to) = (stored(TAKES_FROM)?, stored(FORGOTTEN_TO)?);
            let is_known = |bound: Option<i64>, time: i64| bound.is_none_or(|bound| bound <= time);
            if !is_known(takes_from, used.made_at) || !is_known(forgotten_to, used.expires_at) {
                return Ok(Used::TooOld);
            }
            for _ in 0..MAX_REMOVED_AT_ONCE {
                let first = expiry.first().map_err(failed)?.map(|(key, _)| key.value());
                let Some((expired_at, expired)) = first.filter(|(expires_at, _)| *expires_at <= now) else {
                    break;
                };
                expiry.remove((expired_at, expired)).map_err(failed)?;
                uses.remove(expired).map_err(failed)?;
                // The expiry is exclusive, hence the + 1.
                since
                    .insert(FORGOTTEN_TO, expired_at.saturating_add(1))
                    .map_err(failed)?;
            }
            if redb::ReadableTableMetadata::len(&uses).map_err(failed)? >= self.most {
                return Err(Unavailable("too many assertions are used at once".to_owned()));
            }
            uses.insert(name, (used.expires_at, request)).map_err(failed)?;
            expiry.insert((used.expires_at, name), ()).map_err(failed)?;
        }
        // A crash before this commit leaves the assertion unused; a crash after it leaves a use that its repeat
        // finds.
        transaction.commit().map_err(failed)?;
        Ok(Used::Now)
    }
}

fn failed(error: impl std::fmt::Display) -> Unavailable {
    Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
