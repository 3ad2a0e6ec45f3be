//! The vault's engine on NATS JetStream, for any number of processes.
//!
//! People are packed in pages, since each subject costs a server some 430 bytes of memory: two tables of pages, one
//! message a page. Which page is a keyed hash of the ID number, or of the holder.
//!
//! ```text
//! stream  KV_CC_VAULT, in an account of its own
//! subject $KV.CC_VAULT.i.<hhhh>   index page:  entries tag:32 holder:16         tag = HMAC(index key, ID number)
//!         $KV.CC_VAULT.p.<hhhh>   people page: entries holder:16 length:u16 record     length 0: was erased
//! message version:u8(1)  wrapped page key:60  sealed entries
//! ```
//! A page is sealed under a key of its own that stands in front of it, wrapped by the master key, and is new each time
//! the page is written: so erasing somebody needs no step that a crash could leave out. Every write expects the page's
//! last revision; the version that it supersedes is then overwritten on the servers' disks by the server's secure
//! erase, and a person counts as erased only once that was acknowledged.
//!
//! What a crash leaves: between the two writes of a new person an index entry without a record, which the next call
//! for that person completes; between the two writes of an erasure a record that no ID number leads to, which the
//! repeat of the erasure removes; after a write a superseded version, which the page's next erasure, and each opening
//! of the vault, removes. The servers' replication keeps what was published for some minutes more, sealed: see
//! docs/decisions.

mod manifest;
mod pages;

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::HolderId;
use citycode_jetstream::Client;
use citycode_jetstream::api::{self, ApiError};
use citycode_jetstream::{ConnectError, Connection, SettingMismatch};
use zeroize::Zeroizing;

use crate::person::{Person, PersonFile};
use crate::seal::HolderKey;
use crate::{FillRandom, Found, Vault, VaultError};
pub use manifest::NewVault;
use manifest::{Manifest, settings};
use pages::{Entries, PageId, Pages, Table};

const STREAM: &str = "KV_CC_VAULT";
/// In a record's place: this holder was erased. It stays for good, so that who read the index before the erasure and
/// now comes to complete the person cannot bring back what nothing would lead to. The log tells as much.
const ERASED: &[u8] = &[];
/// How often a person is looked for anew because the one found was erased meanwhile.
const MAX_ERASED_MEANWHILE: u32 = 8;
/// How often a page is read again and changed again after somebody else's change, or an answer that did not come.
const MAX_ATTEMPTS: u32 = 40;
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

/// Why a vault could not be opened or made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No server took the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No vault stands there.
    #[error("the servers have no vault; `provision` makes one")]
    NoVault,
    /// The stream's metadata is no manifest of a vault, or that of a newer one.
    #[error("the vault's manifest cannot be read: {0}")]
    Manifest(String),
    /// It holds the people of another log.
    #[error("the vault belongs to another event log")]
    OtherLog,
    /// It was made under another master key.
    #[error("the master key is not the vault's")]
    OtherMaster,
    /// The stream is set up so that people could be lost, or stay readable.
    #[error("the vault is not set up as it needs to be: {}", citycode_jetstream::settings::list(.0))]
    WrongSettings(Vec<SettingMismatch>),
    /// A question was not answered.
    #[error("the servers cannot be asked about the vault: {0}")]
    Unanswered(ApiError),
}

impl OpenError {
    /// Whether trying again may help: servers that are not up yet, or a vault that is about to be made.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Seed),
            Self::NoVault => true,
            Self::Unanswered(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// The vault of a city. Every method may be called at the same time, by any number of processes.
pub struct JetStreamVault {
    pages: Pages,
    index_key: hmac::Key,
    random: FillRandom,
}

/// Makes the vault if there is none. Safe to run at every start and by many at once; one that stands is checked as by
/// opening and never changed.
///
/// # Errors
/// [`OpenError`].
pub async fn provision(config: &VaultConfig, new: &NewVault, master: &Zeroizing<[u8; 32]>) -> Result<(), OpenError> {
    let client = connect(config).await?;
    if let Err(error) = api::stream_info(&client, STREAM).await {
        if !error.has_code(api::code::STREAM_NOT_FOUND) {
            return Err(OpenError::Unanswered(error));
        }
        let manifest = Manifest::new(new, master);
        let request = manifest.request(config.replicas);
        let made: Result<serde_json::Value, _> = api::ask(&client, &format!("STREAM.CREATE.{STREAM}"), &request).await;
        match made {
            Ok(_) => {}
            // Somebody was faster; what they made is looked at below.
            Err(error) if error.has_code(api::code::STREAM_NAME_IN_USE) => {}
            Err(error) => return Err(OpenError::Unanswered(error)),
        }
    }
    check(&client, config, master).await.map(drop)
}

async fn connect(config: &VaultConfig) -> Result<Client, OpenError> {
    Ok(citycode_jetstream::connect(&config.connection, |_| ()).await?)
}

/// What stands there, if it is the vault that is asked for.
async fn check(client: &Client, config: &VaultConfig, master: &[u8; 32]) -> Result<Manifest, OpenError> {
    let info = api::stream_info(client, STREAM).await.map_err(|error| {
        if error.has_code(api::code::STREAM_NOT_FOUND) {
            OpenError::NoVault
        } else {
            OpenError::Unanswered(error)
        }
    })?;
    let manifest = Manifest::from_metadata(&info.metadata()).map_err(OpenError::Manifest)?;
    if config
        .expected_log_id
        .is_some_and(|expected| expected != manifest.log_id)
    {
        return Err(OpenError::OtherLog);
    }
    let mismatches = citycode_jetstream::settings::compare(&settings(config.replicas), &info.config);
    if !mismatches.is_empty() {
        return Err(OpenError::WrongSettings(mismatches));
    }
    if !manifest.is_under(master) {
        return Err(OpenError::OtherMaster);
    }
    Ok(manifest)
}

impl JetStreamVault {
    /// Opens the vault. `master` opens everything in it and stands elsewhere.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        config: &VaultConfig,
        master: &Zeroizing<[u8; 32]>,
        random: FillRandom,
    ) -> Result<Self, OpenError> {
        let client = connect(config).await?;
        let manifest = check(&client, config, master).await?;
        Ok(Self {
            pages: Pages::new(client, &manifest, master, random.clone()),
            index_key: derived(master, b"citycode-vault-index-v1"),
            random,
        })
    }

    /// Overwrites superseded versions of pages that a crash left on the servers' disks. Reads what every page has;
    /// once at a start is enough, by one service that may delete.
    ///
    /// # Errors
    /// [`VaultError`]; doing it again goes on.
    pub async fn sweep(&self) -> Result<(), VaultError> {
        self.pages.sweep().await
    }

    fn id_tag(&self, id_number: &IdNumber) -> [u8; 32] {
        let tag = hmac::sign(&self.index_key, id_number.as_bytes());
        tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
    }

    fn index_page(&self, tag: &[u8; 32]) -> PageId {
        self.pages.page(Table::Index, tag)
    }

    /// A holder id is known to readers of the log; which page it lies on is not.
    fn people_page(&self, holder: HolderId) -> PageId {
        let hash = hmac::sign(&self.index_key, &holder.0);
        let hash = hash.as_ref().first_chunk().expect("HMAC-SHA-256 gives 32 bytes");
        self.pages.page(Table::People, hash)
    }

    async fn person(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        let record = self.pages.entry(self.people_page(holder), &holder.0).await?;
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
            entries.insert(tag, &candidate.0);
            let holder = candidate;
            (true, Ok(Found { holder, created: true }))
        };
        let (found, superseded) = self.change(self.index_page(tag), take).await?;
        self.pages.forget(superseded).await;
        found
    }

    /// Puts the person in where nobody did yet; false where the holder was erased.
    async fn complete(
        &self,
        found: Found,
        id_number: &IdNumber,
        person: &Person,
        tag: &[u8; 32],
    ) -> Result<bool, VaultError> {
        let page = self.people_page(found.holder);
        if !found.created
            && let Some(record) = self.pages.read(page).await?.entries.get(&found.holder.0)
        {
            return Ok(record != ERASED);
        }
        // New, or its maker went before this step: whoever comes completes it, once.
        let mut key = Zeroizing::new([0u8; 32]);
        (self.random)(key.as_mut_slice());
        let record = crate::person::encode(id_number, person, &HolderKey::new(*key), tag);
        let complete = |entries: &mut Entries| match entries.get(&found.holder.0) {
            Some(record) => (false, record != ERASED),
            None => {
                entries.insert(&found.holder.0, &record);
                (true, true)
            }
        };
        let (there, superseded) = self.change(page, complete).await?;
        self.pages.forget(superseded).await;
        Ok(there)
    }

    /// Changes a page until the change has taken, and says what `change` said then: whether to write at all, and a
    /// result. It is called again on newer entries after somebody else's change.
    async fn change<T>(
        &self,
        id: PageId,
        mut change: impl FnMut(&mut Entries) -> (bool, T) + Send,
    ) -> Result<(T, Option<u64>), VaultError> {
        let _turn = self.pages.turn(id).await;
        let mut pause = FIRST_PAUSE;
        let mut why = String::new();
        for _ in 0..MAX_ATTEMPTS {
            let mut page = match self.pages.read(id).await {
                Ok(page) => page,
                Err(VaultError::Unavailable(reason)) => {
                    why = reason;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (write, result) = change(&mut page.entries);
            if !write {
                return Ok((result, None));
            }
            // A crash after this leaves the superseded version behind, sealed: see the head of this module.
            match self.pages.write(id, &page).await {
                Ok(()) => return Ok((result, Some(page.revision))),
                // Refused, or nobody knows: what stands there now is read, and the change is made on that. A write
                // that comes late expects a revision that is gone by then, or is this very change.
                Err(ApiError::Refused { code, description }) if is_for_good(code) => {
                    return Err(VaultError::Unavailable(description));
                }
                Err(error) => why = error.to_string(),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(VaultError::Unavailable(why))
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

fn derived(master: &[u8; 32], purpose: &[u8]) -> hmac::Key {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, master), purpose);
    hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
}

#[async_trait]
impl Vault for JetStreamVault {
    async fn find(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        let tag = self.id_tag(id_number);
        let holder = self.pages.entry(self.index_page(&tag), &tag).await?;
        holder.map(|holder| holder_in(&holder)).transpose()
    }

    async fn find_or_create(
        &self,
        id_number: &IdNumber,
        candidate: HolderId,
        person: Person,
    ) -> Result<Found, VaultError> {
        let tag = self.id_tag(id_number);
        let (mut candidate, mut dead) = (candidate, None);
        for _ in 0..MAX_ERASED_MEANWHILE {
            // The index first: it decides who is faster, and says nothing of the person to anyone.
            let found = self.settle_index(&tag, candidate, dead).await?;
            if self.complete(found, id_number, &person, &tag).await? {
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

    async fn erase(&self, holder: HolderId) -> Result<(), VaultError> {
        let people = self.people_page(holder);
        if let Some(person) = self.person(holder).await? {
            let tag = person.id_tag;
            let index = self.index_page(&tag);
            // The ID number may lead to a new holder already; then that one stays.
            let unmap = |entries: &mut Entries| {
                let mapped = entries.get(&tag).is_some_and(|mapped| *mapped == holder.0);
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
}

fn holder_in(bytes: &[u8]) -> Result<HolderId, VaultError> {
    let damaged = |_| VaultError::Damaged("an index entry has another form".into());
    bytes.try_into().map(HolderId).map_err(damaged)
}
