//! Pages: read from the leader, sealed under a new key at each write, and written by compare-and-swap.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::HeaderMap;
use citycode_jetstream::Client;
use citycode_jetstream::api::{self, ApiError, StoredMessage};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use zeroize::Zeroizing;

use super::STREAM;
use super::keys::{KEY_ID_BYTES, KeyRing, WrapKey};
use super::manifest::{MAX_PAGE_BYTES, Manifest};
use super::page_id::{ALL_SUBJECTS, PageId, PageName, Table};
use crate::seal::{open, seal};
use crate::{FillRandom, VaultError};

const VERSION: u8 = 2;
/// Without the wrapping key's id.
const FIRST_VERSION: u8 = 1;
/// How long a server that lags may take to receive an entry, if the leader may not be queried.
const LAG: Duration = Duration::from_millis(50);
/// Response times are rounded up to this if they must not reveal whether anything was found: many times the
/// difference in the servers' work, and too short for a person to notice.
const ANSWER_TICK: Duration = Duration::from_millis(5);
/// Nonce, key and tag.
const WRAPPED_BYTES: usize = 12 + 32 + 16;

/// A page at a revision; revision 0 if it was never written.
pub(super) struct Page {
    pub(super) entries: Entries,
    pub(super) revision: u64,
    /// The id of the key under which it is sealed; `None` if it was never written, or by format 1.
    pub(super) under: Option<[u8; KEY_ID_BYTES]>,
}

/// The entries of a page, each a key and a value. Wiped when dropped.
#[derive(Default)]
pub(super) struct Entries(Vec<Entry>);

type Entry = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

impl Entries {
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let found = self.0.iter().find(|(known, _)| known.as_slice() == key);
        found.map(|(_, value)| value.as_slice())
    }

    /// Inserts an entry; the key must not exist.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.0
            .push((Zeroizing::new(key.to_vec()), Zeroizing::new(value.to_vec())));
    }

    /// Removes an entry; returns whether it existed.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let before = self.0.len();
        self.0.retain(|(known, _)| known.as_slice() != key);
        self.0.len() < before
    }

    /// Replaces each value for which `whole` returns one.
    pub(super) fn complete(
        &mut self,
        mut whole: impl FnMut(&[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError>,
    ) -> Result<(), VaultError> {
        for (_, value) in &mut self.0 {
            if let Some(whole) = whole(value)? {
                *value = whole;
            }
        }
        Ok(())
    }

    /// Encodes each entry as `key length:u8 key value length:u16 value`.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::new());
        for (key, value) in &self.0 {
            bytes.push(u8::try_from(key.len()).expect("keys are tags of 32 and ids of 16 bytes"));
            bytes.extend_from_slice(key);
            let length = u16::try_from(value.len()).expect("records are bounded at parsing");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut entries = Self(Vec::new());
        while let Some((&key_length, rest)) = bytes.split_first() {
            let (key, rest) = rest.split_at_checked(usize::from(key_length))?;
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            entries.insert(key, value);
            bytes = rest;
        }
        Some(entries)
    }
}

type PageLock = Arc<tokio::sync::Mutex<()>>;

pub(super) struct Pages {
    client: Client,
    vault_id: [u8; 16],
    count: u32,
    keys: KeyRing,
    random: FillRandom,
    /// One writer of this process at a time per page, because concurrent ones would only conflict.
    locks: Mutex<HashMap<PageId, PageLock>>,
    /// A sealed page that is not stored, for [`Pages::unseal_nothing`].
    nothing: OnceLock<Vec<u8>>,
}

#[derive(Deserialize)]
struct SubjectsInfo {
    state: SubjectsState,
}

#[derive(Deserialize)]
struct SubjectsState {
    #[serde(default)]
    subjects: Option<HashMap<String, u64>>,
}

impl Pages {
    pub(super) fn new(client: Client, manifest: &Manifest, keys: KeyRing, random: FillRandom) -> Self {
        Self {
            client,
            vault_id: manifest.vault_id,
            count: manifest.pages,
            keys,
            random,
            locks: Mutex::default(),
            nothing: OnceLock::new(),
        }
    }

    pub(super) fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The page of a keyed hash.
    pub(super) fn page(&self, table: Table, hash: &[u8; 32]) -> PageId {
        let number = u32::from(u16::from_be_bytes([hash[0], hash[1]])) & (self.count - 1);
        let number = u16::try_from(number).expect("masked to at most 16 bits");
        PageId {
            table,
            name: PageName::Number(number),
        }
    }

    /// Every possible page.
    pub(super) fn all(&self) -> impl Iterator<Item = PageId> {
        let last = u16::try_from(self.count - 1).expect("at most 65,536");
        let reasons = [(Table::Reasons, PageName::Keys)].into_iter();
        let tables = [Table::Index, Table::People].into_iter().flat_map(move |table| {
            let names = (0..=last).map(PageName::Number).chain([PageName::Keys]);
            names.map(move |name| (table, name))
        });
        let pages = tables.chain(reasons).chain([(Table::People, PageName::Mark)]);
        pages.map(|(table, name)| PageId { table, name })
    }

    pub(super) async fn lock(&self, id: PageId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut all = self.locks.lock();
            // Locks that are neither held nor waited for can be removed.
            if all.len() > 1_024 {
                all.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(all.entry(id).or_default())
        };
        lock.lock_owned().await
    }

    /// Returns an entry of the page from any server, which may lag. If that server does not have the entry, the
    /// leader is asked. If a server that lags still returns an erased person's holder, this has no effect,
    /// because commands are decided on the log, in which the holder is erased.
    ///
    /// A service with only the index key may not query the leader, because such requests do not name the page
    /// in their subject. It asks twice: an entry missing in both responses was created a moment ago or does not
    /// exist.
    pub(super) async fn entry(&self, id: PageId, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let value = |page: &Page| page.entries.get(key).map(|value| Zeroizing::new(value.to_vec()));
        let near = self.read_near(id).await;
        if let Ok(page) = &near
            && let Some(value) = value(page)
        {
            return Ok(Some(value));
        }
        let page = if self.keys.is_master() {
            self.read(id).await?
        } else {
            near?;
            tokio::time::sleep(LAG).await;
            self.read_near(id).await?
        };
        Ok(value(&page))
    }

    /// Like [`Pages::entry`], with the same requests, the same work and the same time whether or not the entry
    /// exists (R31).
    ///
    /// A service that may query the leader queries only the leader. Another one queries a near server twice,
    /// [`LAG`] apart, and uses the newer page. The result is delayed to a whole [`ANSWER_TICK`], because a
    /// server reports a missing page a little sooner than it returns one.
    pub(super) async fn entry_evenly(&self, id: PageId, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let page = if self.keys.is_master() {
            self.read(id).await?
        } else {
            let mut ticks = tokio::time::interval(ANSWER_TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks.tick().await;
            let second_at = tokio::time::sleep(LAG);
            let first = self.read_near(id).await;
            second_at.await;
            let second = self.read_near(id).await?;
            // The missed tick completes at once; the following ticks are aligned again.
            ticks.tick().await;
            ticks.tick().await;
            match first {
                Ok(first) if first.revision > second.revision => first,
                _ => second,
            }
        };
        if page.revision == 0 {
            self.unseal_nothing();
        }
        Ok(page.entries.get(key).map(|value| Zeroizing::new(value.to_vec())))
    }

    /// Does the work of opening a small page, for a page that was never written.
    fn unseal_nothing(&self) {
        let id = PageId {
            table: Table::Index,
            name: PageName::Number(0),
        };
        let sealed = self.nothing.get_or_init(|| {
            let mut entries = Entries::default();
            entries.insert(&[0; 32], &[0; 48]);
            let key = self.keys.newest(Table::Index);
            key.map(|key| self.seal(id, key, &entries.encode())).unwrap_or_default()
        });
        std::hint::black_box(self.unseal(id, sealed).is_ok());
    }

    /// Reads the page from the near server.
    pub(super) async fn read_near(&self, id: PageId) -> Result<Page, VaultError> {
        self.check_given(id.table)?;
        let message = if self.keys.is_master() {
            let body = json!({ "last_by_subj": id.subject() });
            api::get_from_any(&self.client, STREAM, &body).await
        } else {
            api::get_last_from_any(&self.client, STREAM, &id.subject()).await
        };
        self.opened(id, message.map_err(unavailable)?)
    }

    /// Reads the page from the leader.
    pub(super) async fn read(&self, id: PageId) -> Result<Page, VaultError> {
        self.check_given(id.table)?;
        let body = json!({ "last_by_subj": id.subject() });
        let message = api::get_from_leader(&self.client, STREAM, &body).await;
        self.opened(id, message.map_err(unavailable)?)
    }

    /// Checks that the existing vault is the one that was opened. A stream that was created again has none of
    /// the earlier pages, and pages written under the earlier keys could not be decrypted by anybody.
    pub(super) async fn check_identity(&self) -> Result<(), VaultError> {
        let info = api::stream_info(&self.client, STREAM).await.map_err(unavailable)?;
        match Manifest::from_metadata(&info.metadata()) {
            Ok(standing) if standing.vault_id == self.vault_id => Ok(()),
            _ => Err(VaultError::OtherVault),
        }
    }

    fn check_given(&self, table: Table) -> Result<(), VaultError> {
        match table {
            table if self.keys.has(table) => Ok(()),
            Table::Reasons => Err(VaultError::NotGiven("officers' reasons")),
            Table::People | Table::Index => Err(VaultError::NotGiven("people's pages")),
        }
    }

    fn opened(&self, id: PageId, message: Option<StoredMessage>) -> Result<Page, VaultError> {
        let Some(message) = message else {
            return Ok(Page {
                entries: Entries(Vec::new()),
                revision: 0,
                under: None,
            });
        };
        let (entries, under) = self.unseal(id, &message.payload)?;
        Ok(Page {
            entries,
            revision: message.sequence,
            under,
        })
    }

    /// Writes the page if it still has its revision, under the same key as before; with `newest`, during a
    /// rotation by this service, under the newest key.
    pub(super) async fn write(&self, id: PageId, page: &Page, newest: bool) -> Result<(), ApiError> {
        let plain = page.entries.encode();
        if plain.len() > MAX_PAGE_BYTES {
            return Err(ApiError::Refused {
                code: api::code::MESSAGE_TOO_LARGE,
                description: "a page of the vault is full: it was created with too few pages".into(),
            });
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", page.revision.to_string());
        let key = if newest {
            self.keys.newest(id.table)
        } else {
            self.keys.to_write(id.table, page.under.as_ref())
        };
        let key = key.ok_or_else(|| ApiError::Malformed("the page's key was not given to this service".into()))?;
        let bytes = self.seal(id, key, &plain);
        let answer = api::request_within(api::ATTEMPT, &self.client, id.subject(), Some(headers), bytes.into()).await?;
        api::parse::<Value>(&answer.payload).map(drop)
    }

    fn seal(&self, id: PageId, wrapping: &WrapKey, plain: &[u8]) -> Vec<u8> {
        let mut key = Zeroizing::new([0; 32]);
        (self.random)(key.as_mut_slice());
        let [wrap_nonce, nonce] = [(); 2].map(|()| {
            let mut nonce = [0; 12];
            (self.random)(&mut nonce);
            nonce
        });
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&wrapping.id);
        bytes.extend_from_slice(&seal(
            &wrapping.key,
            &self.context("key", id),
            wrap_nonce,
            key.as_slice(),
        ));
        bytes.extend_from_slice(&seal(&key, &self.context("page", id), nonce, plain));
        bytes
    }

    /// Decrypts a page; returns its entries and the id of its wrapping key.
    fn unseal(&self, id: PageId, bytes: &[u8]) -> Result<(Entries, Option<[u8; KEY_ID_BYTES]>), VaultError> {
        let damaged = || VaultError::Damaged("a page cannot be decrypted under its key".into());
        let (&version, rest) = bytes.split_first().ok_or_else(damaged)?;
        let (under, wrapping, rest) = match version {
            FIRST_VERSION => {
                let wrapping = self.keys.first_format();
                (None, wrapping.ok_or(VaultError::OtherKey)?, rest)
            }
            VERSION => {
                let (under, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or_else(damaged)?;
                let wrapping = self.keys.by_id(id.table, under).ok_or(VaultError::OtherKey)?;
                (Some(*under), &*wrapping.key, rest)
            }
            _ => return Err(damaged()),
        };
        let entries = || {
            let (wrapped, sealed) = rest.split_first_chunk::<WRAPPED_BYTES>()?;
            let key = open(wrapping, &self.context("key", id), wrapped).ok()?;
            let key = Zeroizing::new(<[u8; 32]>::try_from(key.as_slice()).ok()?);
            let plain = open(&key, &self.context("page", id), sealed).ok()?;
            Entries::decode(&plain)
        };
        Ok((entries().ok_or_else(damaged)?, under))
    }

    /// The associated data of a seal: what is sealed and where it belongs.
    fn context(&self, what: &str, id: PageId) -> Vec<u8> {
        let mut context = format!("citycode-vault-{what}-v1 {} ", id.subject()).into_bytes();
        context.extend_from_slice(&self.vault_id);
        context
    }

    /// Overwrites a superseded version; if this fails, a later sweep does it.
    pub(super) async fn overwrite_superseded(&self, superseded: Option<u64>) {
        if let Some(revision) = superseded.filter(|revision| *revision > 0)
            && let Err(error) = self.overwrite(revision).await
        {
            tracing::warn!(%error, "a superseded page of the vault was not overwritten; the next sweep does it");
        }
    }

    /// Overwrites every version of a page but its last; complete when it returns.
    pub(super) async fn overwrite_all_but_last(&self, id: PageId) -> Result<(), VaultError> {
        let last = self.revision(json!({ "last_by_subj": id.subject() })).await?;
        loop {
            let first = self.revision(json!({ "seq": 1, "next_by_subj": id.subject() })).await?;
            match first {
                Some(first) if Some(first) < last => self.overwrite(first).await.map_err(unavailable)?,
                _ => return Ok(()),
            }
        }
    }

    async fn revision(&self, which: Value) -> Result<Option<u64>, VaultError> {
        let message = api::get_from_leader(&self.client, STREAM, &which)
            .await
            .map_err(unavailable)?;
        Ok(message.map(|message| message.sequence))
    }

    /// Makes the servers overwrite the message's bytes on every disk.
    async fn overwrite(&self, revision: u64) -> Result<(), ApiError> {
        api::erase(&self.client, STREAM, revision).await
    }

    /// Overwrites every superseded version of every page.
    pub(super) async fn sweep(&self) -> Result<(), VaultError> {
        for id in self.versions().await?.into_iter().filter(|(_, versions)| *versions > 1) {
            self.overwrite_all_but_last(id.0).await?;
        }
        Ok(())
    }

    /// Like [`Pages::versions`], after checking that it is still the same vault.
    pub(super) async fn versions_of_same_vault(&self) -> Result<Vec<(PageId, u64)>, VaultError> {
        self.check_identity().await?;
        self.versions().await
    }

    /// Every page that was ever written, and how many versions of it the leader has.
    pub(super) async fn versions(&self) -> Result<Vec<(PageId, u64)>, VaultError> {
        // A server returns a limited number of subjects per response.
        let (mut offset, mut pages) = (0, Vec::new());
        loop {
            let body = json!({ "subjects_filter": ALL_SUBJECTS, "offset": offset });
            let info: Result<SubjectsInfo, ApiError> =
                api::ask(&self.client, &format!("STREAM.INFO.{STREAM}"), &body).await;
            let subjects = info.map_err(unavailable)?.state.subjects.unwrap_or_default();
            offset += subjects.len();
            if subjects.is_empty() {
                return Ok(pages);
            }
            let known = subjects.iter();
            pages.extend(known.filter_map(|(subject, versions)| Some((PageId::from_subject(subject)?, *versions))));
        }
    }
}

fn unavailable(error: ApiError) -> VaultError {
    VaultError::Unavailable(error.to_string())
}
