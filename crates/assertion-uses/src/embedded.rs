//! The register of one process: a redb file.
//!
//! ```text
//! table uses-1       name (16 bytes)                → expiry (i64, Unix seconds), request (32 bytes)
//! table expiry-1     (expiry, name)                 → nothing
//! table since-1      "takes_from", "forgotten_to"   → i64, Unix seconds
//! table check-1      "key"                          → 16 bytes that say under which key names and requests stand
//! ```
//!
//! A file that is made beside a log that stood before takes no assertion of the time before it: an earlier process may
//! have taken it. So file and key can be removed while the process is stopped, at the price of asking some people again.

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
/// Assertions made before are not taken.
const TAKES_FROM: &str = "takes_from";
/// The latest expiry among forgotten uses: whoever comes with an earlier one comes after a clock was set back.
const FORGOTTEN_TO: &str = "forgotten_to";
/// Uses that stand at most, some 120 bytes each: 650 a second for five minutes. Beyond, new ones are refused rather than
/// old ones forgotten.
const MOST: u64 = 200_000;
/// Expired uses that one registration forgets at most, so that none takes long.
const FORGOTTEN_AT_ONCE: usize = 64;

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
    /// Opens the file, or makes it: then it takes no assertions made before `takes_from`, in Unix seconds. One that stands
    /// under another key is made anew.
    ///
    /// # Errors
    /// The file cannot be read or made, or is none of ours.
    pub fn open(path: &Path, key: UsesKey, takes_from: Option<i64>) -> Result<Self, Unavailable> {
        Self::with_room(path, key, takes_from, MOST)
    }

    /// As [`EmbeddedAssertionUses::open`], with room for so many uses at a time.
    ///
    /// # Errors
    /// As [`EmbeddedAssertionUses::open`].
    pub fn with_room(path: &Path, key: UsesKey, takes_from: Option<i64>, most: u64) -> Result<Self, Unavailable> {
        let database = Database::create(path).map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        {
            let check = key.check(&[0; 16]);
            let mut checks = transaction.open_table(CHECK).map_err(failed)?;
            let before = checks.insert(KEY, check).map_err(failed)?.map(|before| before.value());
            if before != Some(check) {
                // What stands under another key is found by nobody.
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
        // It flushes the disk.
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
            let told = |name| Ok(since.get(name).map_err(failed)?.map(|value| value.value()));
            let (takes_from, forgotten_to) = (told(TAKES_FROM)?, told(FORGOTTEN_TO)?);
            let is_known = |bound: Option<i64>, time: i64| bound.is_none_or(|bound| bound <= time);
            if !is_known(takes_from, used.made_at) || !is_known(forgotten_to, used.expires_at) {
                return Ok(Used::TooOld);
            }
            for _ in 0..FORGOTTEN_AT_ONCE {
                let first = expiry.first().map_err(failed)?.map(|(key, _)| key.value());
                let Some((expired_at, expired)) = first.filter(|(expires_at, _)| *expires_at <= now) else {
                    break;
                };
                expiry.remove((expired_at, expired)).map_err(failed)?;
                uses.remove(expired).map_err(failed)?;
                // Not included: it is not taken at its own expiry any more.
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
        // A crash before this leaves an assertion that was not used, one after it a use that its repeat finds.
        transaction.commit().map_err(failed)?;
        Ok(Used::Now)
    }
}

fn failed(error: impl std::fmt::Display) -> Unavailable {
    Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
