//! The vault's engine on NATS JetStream, for any number of processes.
//!
//! People are packed into pages, because each subject costs a server some 430 bytes of memory: there are two
//! tables of pages, with one message per page. A keyed hash of the ID number, or of the holder, selects the
//! page.
//!
//! ```text
//! stream  KV_CC_VAULT, in an account of its own
//! subject $KV.CC_VAULT.i.<hhhh>   index page:  entries tag:32 holder:16 salt:32   tag = HMAC(tag key, ID number)
//!         $KV.CC_VAULT.p.<hhhh>   people page: entries holder:16 length:u16 record     length 0: erased
//!         $KV.CC_VAULT.i.keys     the tag key
//!         $KV.CC_VAULT.p.keys     the key that holders are hashed with to find their page
//!         $KV.CC_VAULT.r.keys     the reasons key: HMAC(reasons key, salt) seals officers' reasons about a person
//!         $KV.CC_VAULT.p.mark     up to where in each partition of the log erasures were applied; a log that replaced
//!                                 the vault's lost one has an entry of its own
//! message version:u8(2)  wrapping key's id:8  wrapped page key:60  sealed entries
//!         version:u8(1)  wrapped page key:60  sealed entries             of format 1, read and never written
//! ```
//! A page is sealed under a key of its own, which precedes it, wrapped by its table's key, and is new at each
//! write of the page: so an erasure has no step that a crash could leave out. Every write expects the page's
//! last revision. The server's secure erase then overwrites the superseded version on the servers' disks, and a
//! person counts as erased only after that was acknowledged.
//!
//! The tables have separate keys (`keys.rs`): services that only look up holders (verifiers, revocation
//! services) have the index key and cannot read personal data. The key under which revocation seals officers'
//! reasons is destroyed with the person's index entry.
//!
//! What a crash leaves: between the two writes of a new person, an index entry without a record, which the next
//! call for that person completes; between the two writes of an erasure, a record to which no ID number leads,
//! which the repeated erasure removes; after a write, a superseded version, which the page's next erasure and
//! each opening of the vault remove; between the steps of correcting a name (`rename.rs`), a staged name, which
//! a follower of the log applies; during a rotation, pages under either key, and the next rotation continues.
//! The servers' replication log retains published messages for some more minutes, sealed (decision 8).

mod backup;
mod keys;
mod manifest;
mod open;
mod page_id;
mod pages;
mod rename;
mod rotate;
mod take_over;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_jetstream::Connection;
use citycode_jetstream::api::{self, ApiError};
use data_encoding::HEXLOWER;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use crate::names::NameStep;
use crate::person::{Person, PersonFile};
use crate::seal::HolderKey;
use crate::{FillRandom, Found, NameApplied, Vault, VaultError};
pub use backup::{BackupError, back_up, bring_back, is_at_or_after};
pub use keys::{VaultKey, VaultKeys, index_key, revocation_key};
pub use manifest::{NewVault, Origin};
pub use open::{ExistingVault, OpenError, existing_vault, provision};
use page_id::{PageId, PageName, Table};
use pages::{Entries, Page, Pages};
pub use take_over::TakenOver;

const STREAM: &str = "KV_CC_VAULT";
/// The record of an erased holder. It stays permanently, so that a process that read the index before the
/// erasure and now completes the person cannot recreate a record to which nothing leads. The log reveals the
/// erasure anyway.
const ERASED: &[u8] = &[];
/// How often a lookup is repeated because the holder that it found was erased in the meantime.
const MAX_ERASED_MEANWHILE: u32 = 8;
/// Limit of concurrent changes and overwrites of pages: the server processes them one after the other, so more
/// would be no faster, and each takes as long as all together.
const CHANGES_AT_ONCE: usize = 32;
/// First pause between two attempts; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Long enough for an election, which takes seconds.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The location of the vault and what it must be.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// The servers, and the credentials of this client.
    pub connection: Connection,
    /// The number of replicas: 3, or 1 for a single server.
    pub replicas: u8,
    /// The log to which the vault must belong, if the caller knows it.
    pub expected_log_id: Option<[u8; 16]>,
    /// The log whose positions the mark of erasures states, if it was created in place of the vault's lost log.
    pub replaced_by: Option<[u8; 16]>,
}

/// The vault of a city. Any number of processes may call every method concurrently.
pub struct JetStreamVault {
    pages: Pages,
    /// The key with which ID numbers are hashed.
    tags: hmac::Key,
    /// The key with which holders are hashed to find their page; `None` without the key of the people table.
    places: Option<hmac::Key>,
    /// The key under which officers' reasons are sealed; `None` if this service does not have it.
    reasons: Option<hmac::Key>,
    origin: Origin,
    /// The entry of the mark of erasures.
    mark_entry: Vec<u8>,
    random: FillRandom,
    /// Permits for concurrent changes; see [`CHANGES_AT_ONCE`].
    changes: Semaphore,
    /// Number of changes that timed out; changes that waited in the meantime then fail too.
    timeouts: AtomicU64,
}

impl JetStreamVault {
    /// Overwrites superseded versions of pages that a crash left on the servers' disks. It reads the list of
    /// versions of every page; one call at startup is enough, by one service that may delete.
    ///
    /// # Errors
    /// [`VaultError`]; repeating the call continues.
    pub async fn sweep(&self) -> Result<(), VaultError> {
        self.pages.sweep().await
    }

    /// Checks that the servers still contain the vault that was opened.
    ///
    /// # Errors
    /// [`VaultError::OtherVault`] if it was created again in the meantime; [`VaultError::Unavailable`].
    pub async fn check_identity(&self) -> Result<(), VaultError> {
        self.pages.check_identity().await
    }

    /// The purpose for which the vault was created.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    fn id_tag(&self, id_number: &[u8; 18]) -> [u8; 32] {
        let tag = hmac::sign(&self.tags, id_number);
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    fn index_page(&self, tag: &[u8; 32]) -> PageId {
        self.pages.page(Table::Index, tag)
    }

    /// Readers of the log know holder ids, but not the page of a holder, hence the keyed hash.
    fn people_page(&self, holder: HolderId) -> Result<PageId, VaultError> {
        let places = self.places.as_ref().ok_or(VaultError::NotGiven("people's pages"))?;
        let hash = hmac::sign(places, &holder.0);
        let hash = hash.as_ref().first_chunk().expect("HMAC-SHA-256 has 32 bytes");
        Ok(self.pages.page(Table::People, hash))
    }

    fn random_key(&self) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0u8; 32]);
        (self.random)(key.as_mut_slice());
        key
    }

    async fn person(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        let record = self.pages.entry(self.people_page(holder)?, &holder.0).await?;
        let Some(record) = record.filter(|record| record.as_slice() != ERASED) else {
            return Ok(None);
        };
        let damaged = || VaultError::Damaged("a record has an unknown format".into());
        crate::person::decode(&record).map(Some).ok_or_else(damaged)
    }

    /// Returns the holder of a tag in the index, or inserts `candidate` if there is none or only `dead`, who
    /// was erased.
    async fn find_or_insert_index(
        &self,
        tag: &[u8; 32],
        candidate: HolderId,
        dead: Option<HolderId>,
    ) -> Result<Found, VaultError> {
        // A write whose response was lost may be found in the page: then this call created the holder.
        let mut tried = false;
        let salt = self.random_key();
        let take = |entries: &mut Entries| {
            let known = match entries.get(tag).map(holder_in).transpose() {
                Ok(known) => known.filter(|known| Some(*known) != dead),
                Err(error) => return (false, Err(error)),
            };
            if let Some(holder) = known {
                let created = tried && holder == candidate;
                return (false, Ok(Found { holder, created }));
            }
            tried = true;
            entries.remove(tag);
            let entry = [candidate.0.as_slice(), salt.as_slice()];
            entries.insert(tag, &Zeroizing::new(entry.concat()));
            let holder = candidate;
            (true, Ok(Found { holder, created: true }))
        };
        let (found, superseded) = self.change(self.index_page(tag), take).await?;
        self.overwrite_superseded(superseded).await;
        found
    }

    /// Inserts the person's record if there is none; returns false if the holder was erased.
    async fn complete(
        &self,
        found: Found,
        record: impl FnOnce() -> Zeroizing<Vec<u8>> + Send,
    ) -> Result<bool, VaultError> {
        let page = self.people_page(found.holder)?;
        if !found.created
            && let Some(record) = self.pages.read(page).await?.entries.get(&found.holder.0)
        {
            return Ok(record != ERASED);
        }
        // The holder is new, or its creator stopped before this step: the next call completes it, once.
        let record = record();
        let complete = |entries: &mut Entries| match entries.get(&found.holder.0) {
            Some(record) => (false, record != ERASED),
            None => {
                entries.insert(&found.holder.0, &record);
                (true, true)
            }
        };
        let (there, superseded) = self.change(page, complete).await?;
        self.overwrite_superseded(superseded).await;
        Ok(there)
    }

    /// Changes a page, with retries, and returns the result of `change`, which also decides whether to write.
    /// It is called again on newer entries after a conflict.
    async fn change<T>(
        &self,
        id: PageId,
        change: impl FnMut(&mut Entries) -> (bool, T) + Send,
    ) -> Result<(T, Option<u64>), VaultError> {
        let mut change = change;
        self.change_page(id, false, |page| change(&mut page.entries)).await
    }

    /// Like [`Self::change`], but `change` receives the whole page; `newest` writes it under the newest key.
    ///
    /// Concurrent changes of a page wait for each other while servers answer. If servers do not answer, all of
    /// them fail at once and not one after the other.
    async fn change_page<T>(
        &self,
        id: PageId,
        newest: bool,
        mut change: impl FnMut(&mut Page) -> (bool, T) + Send,
    ) -> Result<(T, Option<u64>), VaultError> {
        let timeouts = self.timeouts.load(Ordering::Acquire);
        let _lock = self.pages.lock(id).await;
        let _permit = self.permit().await;
        let mut why = "no answer in time".to_owned();
        if self.timeouts.load(Ordering::Acquire) != timeouts {
            return Err(VaultError::Unavailable(why));
        }
        let changing = async {
            let mut pause = FIRST_PAUSE;
            loop {
                if let Some(changed) = self.attempt(id, newest, &mut change, &mut why).await? {
                    return Ok(changed);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        let changed = tokio::time::timeout(api::API_TIMEOUT, changing).await;
        changed.unwrap_or_else(|_| {
            self.timeouts.fetch_add(1, Ordering::AcqRel);
            Err(VaultError::Unavailable(why))
        })
    }

    /// Like [`Pages::overwrite_superseded`], with a permit, because the server processes both changes and
    /// overwrites one after the other.
    async fn overwrite_superseded(&self, superseded: Option<u64>) {
        let _permit = self.permit().await;
        self.pages.overwrite_superseded(superseded).await;
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.changes.acquire().await.expect("it is never closed")
    }

    /// One attempt at a change of a page; `None` if another attempt may succeed, with the reason in `why`.
    async fn attempt<T>(
        &self,
        id: PageId,
        newest: bool,
        change: &mut (impl FnMut(&mut Page) -> (bool, T) + Send),
        why: &mut String,
    ) -> Result<Option<(T, Option<u64>)>, VaultError> {
        let mut page = match self.pages.read(id).await {
            Ok(page) => page,
            Err(VaultError::Unavailable(reason)) => {
                *why = reason;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (write, result) = change(&mut page);
        if !write {
            return Ok(Some((result, None)));
        }
        if page.revision == 0 {
            match self.pages.check_identity().await {
                Ok(()) => {}
                Err(VaultError::Unavailable(reason)) => {
                    *why = reason;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        // A crash after this leaves the superseded version, sealed: see the module documentation.
        match self.pages.write(id, &page, newest).await {
            Ok(()) => Ok(Some((result, Some(page.revision)))),
            Err(ApiError::Refused { code, description }) if is_permanent(code) => {
                Err(VaultError::Unavailable(description))
            }
            // Refused, or the outcome is unknown: the next attempt reads the current page and changes that. A
            // write that arrives late expects a superseded revision, or is this very change.
            Err(error) => {
                *why = error.to_string();
                Ok(None)
            }
        }
    }
}

/// Refusals that another attempt will not resolve soon.
fn is_permanent(code: u64) -> bool {
    [
        api::code::INSUFFICIENT_RESOURCES,
        api::code::STORAGE_RESOURCES_EXCEEDED,
        api::code::MESSAGE_TOO_LARGE,
        api::code::STREAM_NOT_FOUND,
        api::code::JETSTREAM_NOT_ENABLED,
    ]
    .contains(&code)
}

#[async_trait]
impl Vault for JetStreamVault {
    async fn find(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        let tag = self.id_tag(id_number.as_bytes());
        let holder = self.pages.entry(self.index_page(&tag), &tag).await?;
        holder.map(|holder| holder_in(&holder)).transpose()
    }

    async fn find_evenly(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        let tag = self.id_tag(id_number.as_bytes());
        let holder = self.pages.entry_evenly(self.index_page(&tag), &tag).await?;
        holder.map(|holder| holder_in(&holder)).transpose()
    }

    async fn find_or_create(
        &self,
        id_number: &IdNumber,
        candidate: HolderId,
        person: Person,
    ) -> Result<Found, VaultError> {
        let tag = self.id_tag(id_number.as_bytes());
        let (mut candidate, mut dead) = (candidate, None);
        for _ in 0..MAX_ERASED_MEANWHILE {
            // The index is written first: it decides between concurrent callers, and reveals nothing about the
            // person.
            let found = self.find_or_insert_index(&tag, candidate, dead).await?;
            let record = || {
                let key = HolderKey::new(*self.random_key());
                crate::person::encode(id_number, &person, &key, &tag)
            };
            if self.complete(found, record).await? {
                return Ok(found);
            }
            // The holder was erased since the index was read and must not be used again.
            dead = Some(found.holder);
            if found.holder == candidate {
                (self.random)(&mut candidate.0);
            }
        }
        Err(VaultError::Unavailable(
            "the person is being erased concurrently".into(),
        ))
    }

    async fn open(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        self.person(holder).await
    }

    async fn stage_name(&self, holder: HolderId, change: NameChangeId, name: &PersonName) -> Result<bool, VaultError> {
        let staged = self.rename(holder, &NameStep::Stage(change, name.clone())).await?;
        Ok(staged != NameApplied::NoPerson)
    }

    async fn apply_name(&self, holder: HolderId, change: NameChangeId) -> Result<NameApplied, VaultError> {
        self.rename(holder, &NameStep::Apply(change)).await
    }

    async fn discard_name(&self, holder: HolderId, change: NameChangeId) -> Result<(), VaultError> {
        self.rename(holder, &NameStep::Discard(change)).await.map(drop)
    }

    async fn erase(&self, holder: HolderId) -> Result<(), VaultError> {
        let people = self.people_page(holder)?;
        if let Some(person) = self.person(holder).await? {
            let tag = person.id_tag;
            let index = self.index_page(&tag);
            // The ID number may already lead to a new holder, who is not affected.
            let unmap = |entries: &mut Entries| {
                let mapped = entries.get(&tag).is_some_and(|mapped| mapped.starts_with(&holder.0));
                if mapped {
                    entries.remove(&tag);
                }
                (mapped, ())
            };
            self.change(index, unmap).await?;
            self.pages.overwrite_all_but_last(index).await?;
            // A crash here leaves a record to which no ID number leads; the repeated erasure continues below.
            let remove = |entries: &mut Entries| {
                let there = entries.get(&holder.0).is_some_and(|record| record != ERASED);
                if there {
                    entries.remove(&holder.0);
                    entries.insert(&holder.0, ERASED);
                }
                (there, ())
            };
            self.change(people, remove).await?;
        }
        self.pages.overwrite_all_but_last(people).await
    }

    async fn reason_key(&self, id_number: &IdNumber) -> Result<Option<HolderKey>, VaultError> {
        let reasons = self.reasons.as_ref();
        let reasons = reasons.ok_or(VaultError::NotGiven("officers' reasons"))?;
        let tag = self.id_tag(id_number.as_bytes());
        let Some(entry) = self.pages.entry(self.index_page(&tag), &tag).await? else {
            return Ok(None);
        };
        let holder = holder_in(&entry)?;
        let salt = &entry[holder.0.len()..];
        if salt.is_empty() {
            // An entry of format 1 has no salt until the next rotation; until then the master key is needed.
            return Ok(self.person(holder).await?.map(|person| person.key));
        }
        let key = hmac::sign(reasons, salt);
        let key = key.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes");
        Ok(Some(HolderKey::new(key)))
    }

    async fn erased_up_to(&self) -> Result<Option<Vec<u64>>, VaultError> {
        let page = self.pages.read(MARK).await?;
        let mark = page.entries.get(&self.mark_entry).map(sequences_in);
        mark.transpose()
    }

    async fn note_erased_up_to(&self, from: Option<&[u64]>, reached: &[u64]) -> Result<bool, VaultError> {
        let bytes: Vec<u8> = reached.iter().flat_map(|sequence| sequence.to_be_bytes()).collect();
        let note = |entries: &mut Entries| {
            let stands = entries.get(&self.mark_entry).map(sequences_in).transpose();
            match stands {
                // Either this very mark, whose response was lost, or the value that the caller read.
                Ok(stands) if stands.as_deref() == Some(reached) => (false, Ok(true)),
                Ok(stands) if stands.as_deref() == from => {
                    entries.remove(&self.mark_entry);
                    entries.insert(&self.mark_entry, &bytes);
                    (true, Ok(true))
                }
                Ok(_) => (false, Ok(false)),
                Err(error) => (false, Err(error)),
            }
        };
        let (noted, superseded) = self.change(MARK, note).await?;
        self.overwrite_superseded(superseded).await;
        noted
    }
}

/// The page of the mark of erasures.
const MARK: PageId = PageId {
    table: Table::People,
    name: PageName::Mark,
};
const MARK_ENTRY: &[u8] = b"erased up to";

/// The entry of the mark in positions of the vault's own log, or of the log that replaced it. The mark of a lost log says
/// nothing about its replacement, which starts without one.
fn mark_entry(replaced_by: Option<[u8; 16]>) -> Vec<u8> {
    let log = replaced_by.map_or_else(String::new, |log_id| format!(" in {}", HEXLOWER.encode(&log_id)));
    [MARK_ENTRY, log.as_bytes()].concat()
}

fn sequences_in(bytes: &[u8]) -> Result<Vec<u64>, VaultError> {
    let (sequences, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(VaultError::Damaged("the mark of erasures has an unknown format".into()));
    }
    Ok(sequences.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect())
}

/// The holder of an index entry: alone in format 1, followed by 32 random bytes since.
fn holder_in(bytes: &[u8]) -> Result<HolderId, VaultError> {
    match (bytes.first_chunk(), bytes.len()) {
        (Some(holder), 16 | 48) => Ok(HolderId(*holder)),
        _ => Err(VaultError::Damaged("an index entry has an unknown format".into())),
    }
}
