//! Creating and opening the vault, and the checks before anything is read.

use std::sync::atomic::AtomicU64;

use aws_lc_rs::hmac;
use citycode_jetstream::api::{self, ApiError};
use citycode_jetstream::{Client, ConnectError, SettingMismatch};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::keys::{KeyRing, VaultKey, VaultKeys};
use super::manifest::{Manifest, NewVault, Origin, settings};
use super::page_id::{PageId, PageName, Table};
use super::pages::{Entries, Page, Pages};
use super::{CHANGES_AT_ONCE, FIRST_PAUSE, JetStreamVault, LONGEST_PAUSE, STREAM, VaultConfig, mark_entry};
use crate::{FillRandom, VaultError};

/// The entry in a page of keys.
const KEY_ENTRY: &[u8] = b"key";

/// Why a vault could not be opened or created. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The stream does not exist.
    #[error(
        "the part `vault` is missing: the servers have none. Restore the existing one (`citycode vault bring-back`); \
         `citycode provision` creates the vault of a new city"
    )]
    NoVault,
    /// The stream's metadata is not a manifest of a vault, or has a newer format.
    #[error("the vault's manifest cannot be read: {0}")]
    Manifest(String),
    /// The vault belongs to another log.
    #[error(
        "the part `vault` belongs to another event log than the servers have: restore the vault of this log, or the log \
         of that vault (docs/operations/city.md)"
    )]
    OtherLog,
    /// The vault is sealed under another key.
    #[error("the key is not the vault's")]
    OtherKey,
    /// No issuer has created the vault's keys yet.
    #[error("the vault has no keys yet; an issuer creates them at startup")]
    NoKeys,
    /// The keys could not be created in time, nor read as another issuer created them.
    #[error("the vault's keys could not be created yet: {0}")]
    KeysNotWritten(ApiError),
    /// The page of keys is gone, but pages under those keys exist.
    #[error("the vault's page of keys is missing; restore the vault, do not create a new one")]
    KeysLost,
    /// A page could not be read.
    #[error(transparent)]
    Pages(VaultError),
    /// The stream's settings allow people to be lost, or to stay readable.
    #[error("the vault's stream has wrong settings: {}", citycode_jetstream::settings::list(.0))]
    WrongSettings(Vec<SettingMismatch>),
    /// A request was not answered.
    #[error("the vault cannot be queried: {0}")]
    Unanswered(ApiError),
}

impl OpenError {
    /// Whether the error is transient: servers that are starting, or a vault that is about to be created.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Seed),
            Self::NoVault | Self::NoKeys | Self::KeysNotWritten(_) | Self::Pages(VaultError::Unavailable(_)) => true,
            Self::Unanswered(error) => error.may_pass(),
            _ => false,
        }
    }
}

impl From<VaultError> for OpenError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::OtherKey => Self::OtherKey,
            error => Self::Pages(error),
        }
    }
}

/// Creates the vault if there is none. It is safe to run at every start and concurrently; an existing vault is
/// checked and never changed. The first issuer that opens it creates its keys, so provisioning needs no key.
///
/// # Errors
/// [`OpenError`].
pub async fn provision(config: &VaultConfig, new: &NewVault) -> Result<(), OpenError> {
    let client = connect(config).await?;
    if let Err(error) = api::stream_info(&client, STREAM).await {
        if !error.has_code(api::code::STREAM_NOT_FOUND) {
            return Err(OpenError::Unanswered(error));
        }
        let request = Manifest::new(new).request(config.replicas);
        let made = api::create_stream(&client, STREAM, &request).await;
        made.map_err(OpenError::Unanswered)?;
    }
    check(&client, config).await.map(drop)
}

/// The facts in the stream of an existing vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExistingVault {
    /// The log of the people in it.
    pub log_id: [u8; 16],
    /// The purpose for which it was created.
    pub origin: Origin,
    /// Whether nothing was ever written into it, or everything was removed.
    pub is_empty: bool,
}

/// Reads the facts of an existing vault; `None` if there is no vault. It needs no key.
///
/// # Errors
/// [`OpenError`].
pub async fn existing_vault(config: &VaultConfig) -> Result<Option<ExistingVault>, OpenError> {
    let client = connect(config).await?;
    match api::stream_info(&client, STREAM).await {
        Ok(info) => {
            let manifest = Manifest::from_metadata(&info.metadata()).map_err(OpenError::Manifest)?;
            Ok(Some(ExistingVault {
                log_id: manifest.log_id,
                origin: manifest.origin,
                is_empty: info.state.first_seq > info.state.last_seq || info.state.last_seq == 0,
            }))
        }
        Err(error) if error.has_code(api::code::STREAM_NOT_FOUND) => Ok(None),
        Err(error) => Err(OpenError::Unanswered(error)),
    }
}

pub(super) async fn connect(config: &VaultConfig) -> Result<Client, OpenError> {
    Ok(citycode_jetstream::connect(&config.connection, |_| ()).await?)
}

/// Reads the manifest and checks that it is the expected vault.
pub(super) async fn check(client: &Client, config: &VaultConfig) -> Result<Manifest, OpenError> {
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
    Ok(manifest)
}

impl JetStreamVault {
    /// Opens the vault with the keys of this service. If the vault has no page of keys yet, a service with the
    /// master key creates it, and others must wait.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: &VaultConfig, keys: &VaultKeys, random: FillRandom) -> Result<Self, OpenError> {
        let client = connect(config).await?;
        let manifest = check(&client, config).await?;
        let ring = KeyRing::new(keys, &manifest.vault_id);
        // A vault of format 1 that was not rotated since contains its own check.
        let first_format = match &keys.current {
            VaultKey::Master(master) => manifest.is_of_first_format_under(master),
            VaultKey::Revocation(_) | VaultKey::Index(_) => false,
        };
        let pages = Pages::new(client, &manifest, ring, random.clone());
        let tags = page_of_keys(&pages, Table::Index, first_format, &random).await?;
        let mut others = [None, None];
        for (key, table) in others.iter_mut().zip([Table::People, Table::Reasons]) {
            if pages.keys().has(table) {
                *key = Some(page_of_keys(&pages, table, first_format, &random).await?);
            }
        }
        let [places, reasons] = others;
        Ok(Self {
            pages,
            tags,
            places,
            reasons,
            origin: manifest.origin,
            mark_entry: mark_entry(config.replaced_by),
            random,
            changes: Semaphore::new(CHANGES_AT_ONCE),
            timeouts: AtomicU64::new(0),
        })
    }
}

/// Returns the key in a table's page of keys, which is created if there is none. If another service is creating
/// it, or the servers cannot store it now, it retries until [`api::API_TIMEOUT`] and then returns the last
/// reason.
async fn page_of_keys(
    pages: &Pages,
    table: Table,
    first_format: bool,
    random: &FillRandom,
) -> Result<hmac::Key, OpenError> {
    let mut last = OpenError::KeysNotWritten(ApiError::TimedOut);
    let looking = async {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(key) = try_page_of_keys(pages, table, first_format, random, &mut last).await? {
                return Ok(key);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    let looked = tokio::time::timeout(api::API_TIMEOUT, looking).await;
    looked.unwrap_or(Err(last))
}

/// One attempt at a page of keys. `None` if another attempt may succeed: a key was just written, by this
/// service or another one, and is read next; or `last` contains the reason.
async fn try_page_of_keys(
    pages: &Pages,
    table: Table,
    first_format: bool,
    random: &FillRandom,
    last: &mut OpenError,
) -> Result<Option<hmac::Key>, OpenError> {
    let id = PageId {
        table,
        name: PageName::Keys,
    };
    let page = if pages.keys().is_master() {
        pages.read(id).await
    } else {
        pages.read_near(id).await
    };
    let page = match page {
        Ok(page) => page,
        Err(error @ VaultError::Unavailable(_)) => {
            *last = error.into();
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(key) = page.entries.get(KEY_ENTRY) {
        return Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, key)));
    }
    if !pages.keys().is_master() {
        return Err(OpenError::NoKeys);
    }
    let written = match pages.versions_of_same_vault().await {
        Ok(written) => written,
        Err(error @ VaultError::Unavailable(_)) => {
            *last = error.into();
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let has_pages = written
        .iter()
        .any(|(id, _)| id.table == table && matches!(id.name, PageName::Number(_)));
    let key = match (first_format && table != Table::Reasons, has_pages) {
        (true, _) => pages.keys().first_format_tags.clone().ok_or(OpenError::OtherKey)?,
        (false, false) => {
            let mut key = Zeroizing::new([0; 32]);
            random(key.as_mut_slice());
            key
        }
        // Another service may have created keys and a page since the first read.
        (false, true) => {
            *last = OpenError::KeysLost;
            return Ok(None);
        }
    };
    let mut entries = Entries::default();
    entries.insert(KEY_ENTRY, &*key);
    let page = Page {
        entries,
        revision: 0,
        under: None,
    };
    match pages.write(id, &page, false).await {
        Ok(()) => Ok(None),
        Err(error) if error.has_code(api::code::WRONG_LAST_SEQUENCE) => Ok(None),
        Err(error @ ApiError::Malformed(_)) => Err(OpenError::Unanswered(error)),
        // The write of another service is in progress, there is an election or a full disk, or the outcome is
        // unknown.
        Err(error) => {
            *last = OpenError::KeysNotWritten(error);
            Ok(None)
        }
    }
}
