//! The vault's engine on NATS JetStream, for any number of processes.
//!
//! People are packed in pages, since each subject costs a server some 430 bytes of memory: two tables of pages, one
//! message a page. Which page is a keyed hash of the ID number, or of the holder.
//!
//! ```text
//! stream  KV_CC_VAULT, in an account of its own
//! subject $KV.CC_VAULT.i.<hhhh>   index page:  entries tag:32 holder:16 salt:32   tag = HMAC(tag key, ID number)
//!         $KV.CC_VAULT.p.<hhhh>   people page: entries holder:16 length:u16 record     length 0: was erased
//!         $KV.CC_VAULT.i.keys     the tag key
//!         $KV.CC_VAULT.p.keys     the key that holders are hashed with to find their page
//!         $KV.CC_VAULT.r.keys     the reasons key: HMAC(reasons key, salt) seals officers' reasons about a person
//!         $KV.CC_VAULT.p.mark     one entry: up to where in each partition of the log erasures were applied
//! message version:u8(2)  wrapping key's id:8  wrapped page key:60  sealed entries
//!         version:u8(1)  wrapped page key:60  sealed entries             of format 1, read and never written
//! ```
//! A page is sealed under a key of its own that stands in front of it, wrapped by its table's key, and is new each time
//! the page is written: so erasing somebody needs no step that a crash could leave out. Every write expects the page's
//! last revision; the version that it supersedes is then overwritten on the servers' disks by the server's secure
//! erase, and a person counts as erased only once that was acknowledged.
//!
//! The tables have keys apart (`keys.rs`): who only looks holders up (verifiers, revocation services) has the index's and
//! opens nothing of the people. What revocation seals officers' reasons under goes with the person's index entry.
//!
//! What a crash leaves: between the two writes of a new person an index entry without a record, which the next call
//! for that person completes; between the two writes of an erasure a record that no ID number leads to, which the
//! repeat of the erasure removes; after a write a superseded version, which the page's next erasure, and each opening
//! of the vault, removes; between the steps of correcting a name (`rename.rs`) a staged
//! name, which whoever follows the log applies; amid a rotation pages under either key, and the next rotation goes on. The servers' replication
//! keeps what was published for some minutes more, sealed: see docs/decisions.

mod backup;
mod keys;
mod manifest;
mod open;
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
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use crate::names::NameStep;
use crate::person::{Person, PersonFile};
use crate::seal::HolderKey;
use crate::{FillRandom, Found, NameApplied, Vault, VaultError};
pub use backup::{BackupError, back_up, bring_back, is_at_or_after};
pub use keys::{VaultKey, VaultKeys, index_key, revocation_key};
pub use manifest::{NewVault, Origin};
pub use open::{OpenError, Standing, provision, standing};
use pages::{Entries, Page, PageId, PageName, Pages, Table};
pub use take_over::TakenOver;

const STREAM: &str = "KV_CC_VAULT";
/// In a record's place: this holder was erased. It stays for good, so that who read the index before the erasure and
/// now comes to complete the person cannot bring back what nothing would lead to. The log tells as much.
const ERASED: &[u8] = &[];
/// How often a person is looked for anew because the one found was erased meanwhile.
const MAX_ERASED_MEANWHILE: u32 = 8;
/// Changes of pages and overwritings that are under way at once: the server takes them one after the other, so more are
/// no faster, and each takes as long as all.
const CHANGES_AT_ONCE: usize = 32;
/// First pause between two attempts; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// An election takes seconds.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Where the vault is and what it must be.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// Where the servers are, and who this client is to them.
    pub connection: Connection,
    /// How many servers keep a copy: 3, or 1 for a server that stands alone.
    pub replicas: u8,
    /// The log whose people it must hold, for a caller that knows it.
    pub expected_log_id: Option<[u8; 16]>,
}

/// The vault of a city. Every method may be called at the same time, by any number of processes.
pub struct JetStreamVault {
    pages: Pages,
    /// What ID numbers are hashed with.
    tags: hmac::Key,
    /// What holders are hashed with to find their page; none where the people's key was not given.
    places: Option<hmac::Key>,
    /// What officers' reasons are sealed with; none where it was not given.
    reasons: Option<hmac::Key>,
    origin: Origin,
    random: FillRandom,
    /// Room for changes under way: each is as slow as all of them are many.
    changes: Semaphore,
    /// How often a change met servers that did not answer for as long as it may take: who waited meanwhile is told too.
    silences: AtomicU64,
}

impl JetStreamVault {
    /// Overwrites superseded versions of pages that a crash left on the servers' disks. Reads what every page has;
    /// once at a start is enough, by one service that may delete.
    ///
    /// # Errors
    /// [`VaultError`]; doing it again goes on.
    pub async fn sweep(&self) -> Result<(), VaultError> {
        self.pages.sweep().await
    }

    /// Looks whether the vault that was opened still is the one that stands on the servers.
    ///
    /// # Errors
    /// [`VaultError::OtherVault`] where it was made anew meanwhile; [`VaultError::Unavailable`].
    pub async fn check_identity(&self) -> Result<(), VaultError> {
        self.pages.check_identity().await
    }

    /// What it was made for.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    fn id_tag(&self, id_number: &[u8; 18]) -> [u8; 32] {
        let tag = hmac::sign(&self.tags, id_number);
        tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
    }

    fn index_page(&self, tag: &[u8; 32]) -> PageId {
        self.pages.page(Table::Index, tag)
    }

    /// A holder id is known to readers of the log; which page it lies on is not.
    fn people_page(&self, holder: HolderId) -> Result<PageId, VaultError> {
        let places = self.places.as_ref().ok_or(VaultError::NotGiven("people's pages"))?;
        let hash = hmac::sign(places, &holder.0);
        let hash = hash.as_ref().first_chunk().expect("HMAC-SHA-256 gives 32 bytes");
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
        let damaged = || VaultError::Damaged("a record has another form".into());
        crate::person::decode(&record).map(Some).ok_or_else(damaged)
    }

    /// The holder of a tag: the one in the index, or `candidate` where there is none or only `dead`, who was erased.
    async fn settle_index(
        &self,
        tag: &[u8; 32],
        candidate: HolderId,
        dead: Option<HolderId>,
    ) -> Result<Found, VaultError> {
        // A write whose answer did not come may be found standing there: then it was this call that made the holder.
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
        self.forget(superseded).await;
        found
    }

    /// Puts the person in where nobody did yet; false where the holder was erased.
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
        // New, or its maker went before this step: whoever comes completes it, once.
        let record = record();
        let complete = |entries: &mut Entries| match entries.get(&found.holder.0) {
            Some(record) => (false, record != ERASED),
            None => {
                entries.insert(&found.holder.0, &record);
                (true, true)
            }
        };
        let (there, superseded) = self.change(page, complete).await?;
        self.forget(superseded).await;
        Ok(there)
    }

    /// Changes a page until the change has taken, and says what `change` said then: whether to write at all, and a
    /// result. It is called again on newer entries after somebody else's change.
    async fn change<T>(
        &self,
        id: PageId,
        change: impl FnMut(&mut Entries) -> (bool, T) + Send,
    ) -> Result<(T, Option<u64>), VaultError> {
        let mut change = change;
        self.change_page(id, false, |page| change(&mut page.entries)).await
    }

    /// As [`Self::change`], told of the whole page; `newest` writes it under the newest key.
    ///
    /// A crowd waits for its turns as long as servers answer, and is told at once, not one after the other, where they
    /// do not.
    async fn change_page<T>(
        &self,
        id: PageId,
        newest: bool,
        mut change: impl FnMut(&mut Page) -> (bool, T) + Send,
    ) -> Result<(T, Option<u64>), VaultError> {
        let silences = self.silences.load(Ordering::Acquire);
        let _turn = self.pages.turn(id).await;
        let _room = self.room().await;
        let mut why = "no answer in time".to_owned();
        if self.silences.load(Ordering::Acquire) != silences {
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
            self.silences.fetch_add(1, Ordering::AcqRel);
            Err(VaultError::Unavailable(why))
        })
    }

    /// As [`Pages::forget`], in its turn among changes: the server takes both one after the other.
    async fn forget(&self, superseded: Option<u64>) {
        let _room = self.room().await;
        self.pages.forget(superseded).await;
    }

    async fn room(&self) -> SemaphorePermit<'_> {
        self.changes.acquire().await.expect("it is never closed")
    }

    /// One attempt at a change of a page; none where another may succeed, and then it says in `why` what came between.
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
        // A crash after this leaves the superseded version behind, sealed: see the head of this module.
        match self.pages.write(id, &page, newest).await {
            Ok(()) => Ok(Some((result, Some(page.revision)))),
            Err(ApiError::Refused { code, description }) if is_for_good(code) => {
                Err(VaultError::Unavailable(description))
            }
            // Refused, or nobody knows: what stands there now is read, and the change is made on that. A write that
            // comes late expects a revision that is gone by then, or is this very change.
            Err(error) => {
                *why = error.to_string();
                Ok(None)
            }
        }
    }
}

/// Refusals that no other attempt mends soon.
fn is_for_good(code: u64) -> bool {
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
            // The index first: it decides who is faster, and says nothing of the person to anyone.
            let found = self.settle_index(&tag, candidate, dead).await?;
            let record = || {
                let key = HolderKey::new(*self.random_key());
                crate::person::encode(id_number, &person, &key, &tag)
            };
            if self.complete(found, record).await? {
                return Ok(found);
            }
            // Erased since the index was read: this holder is not to come back.
            dead = Some(found.holder);
            if found.holder == candidate {
                (self.random)(&mut candidate.0);
            }
        }
        Err(VaultError::Unavailable("the person is being erased meanwhile".into()))
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
            // The ID number may lead to a new holder already; then that one stays.
            let unmap = |entries: &mut Entries| {
                let mapped = entries.get(&tag).is_some_and(|mapped| mapped.starts_with(&holder.0));
                if mapped {
                    entries.remove(&tag);
                }
                (mapped, ())
            };
            self.change(index, unmap).await?;
            self.pages.forget_all_but_last(index).await?;
            // A crash here leaves a record that no ID number leads to; the repeat of the erasure goes on below.
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
        self.pages.forget_all_but_last(people).await
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
            // Of format 1: the next rotation puts one in; until then the master key is needed.
            return Ok(self.person(holder).await?.map(|person| person.key));
        }
        let key = hmac::sign(reasons, salt);
        let key = key.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes");
        Ok(Some(HolderKey::new(key)))
    }

    async fn erased_up_to(&self) -> Result<Option<Vec<u64>>, VaultError> {
        let page = self.pages.read(MARK).await?;
        let mark = page.entries.get(MARK_ENTRY).map(sequences_in);
        mark.transpose()
    }

    async fn note_erased_up_to(&self, from: Option<&[u64]>, reached: &[u64]) -> Result<bool, VaultError> {
        let bytes: Vec<u8> = reached.iter().flat_map(|sequence| sequence.to_be_bytes()).collect();
        let note = |entries: &mut Entries| {
            let stands = entries.get(MARK_ENTRY).map(sequences_in).transpose();
            match stands {
                // This very note, whose answer was lost; or what the caller read.
                Ok(stands) if stands.as_deref() == Some(reached) => (false, Ok(true)),
                Ok(stands) if stands.as_deref() == from => {
                    entries.remove(MARK_ENTRY);
                    entries.insert(MARK_ENTRY, &bytes);
                    (true, Ok(true))
                }
                Ok(_) => (false, Ok(false)),
                Err(error) => (false, Err(error)),
            }
        };
        let (noted, superseded) = self.change(MARK, note).await?;
        self.forget(superseded).await;
        noted
    }
}

/// Where the mark of erasures stands.
const MARK: PageId = PageId {
    table: Table::People,
    name: PageName::Mark,
};
const MARK_ENTRY: &[u8] = b"erased up to";

fn sequences_in(bytes: &[u8]) -> Result<Vec<u64>, VaultError> {
    let (sequences, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(VaultError::Damaged("the mark of erasures has another form".into()));
    }
    Ok(sequences.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect())
}

/// An index entry's holder: alone of format 1, with 32 random bytes behind it since.
fn holder_in(bytes: &[u8]) -> Result<HolderId, VaultError> {
    match (bytes.first_chunk(), bytes.len()) {
        (Some(holder), 16 | 48) => Ok(HolderId(*holder)),
        _ => Err(VaultError::Damaged("an index entry has another form".into())),
    }
}
