//! Opening and making the vault, and what is refused before anything is read.

use std::sync::atomic::AtomicU64;

use aws_lc_rs::hmac;
use citycode_jetstream::api::{self, ApiError};
use citycode_jetstream::{Client, ConnectError, SettingMismatch};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::keys::{KeyRing, VaultKey, VaultKeys};
use super::manifest::{Manifest, NewVault, Origin, settings};
use super::pages::{Entries, Page, PageId, PageName, Pages, Table};
use super::{CHANGES_AT_ONCE, FIRST_PAUSE, JetStreamVault, LONGEST_PAUSE, STREAM, VaultConfig};
use crate::{FillRandom, VaultError};

/// The entry of a page of keys.
const KEY_ENTRY: &[u8] = b"key";

/// Why a vault could not be opened or made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No server took the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No vault stands there.
    #[error(
        "the part `vault` is missing: the servers have none. Bring back the one that was (`citycode vault bring-back`); \
         a new city's is made by `citycode provision`"
    )]
    NoVault,
    /// The stream's metadata is no manifest of a vault, or that of a newer one.
    #[error("the vault's manifest cannot be read: {0}")]
    Manifest(String),
    /// It holds the people of another log.
    #[error(
        "the part `vault` belongs to another event log than the servers have: bring back the vault of this log, or the log \
         of that vault (docs/operations/city.md)"
    )]
    OtherLog,
    /// It stands under another key.
    #[error("the key is not the vault's")]
    OtherKey,
    /// An issuer has not put its keys into it yet.
    #[error("the vault has no keys yet; an issuer puts them in at its start")]
    NoKeys,
    /// Its keys could not be put in in time, nor read as somebody else put them in.
    #[error("the vault's keys could not be put in yet: {0}")]
    KeysNotWritten(ApiError),
    /// Its keys are gone, and pages under them are not.
    #[error("the vault's page of keys is gone; restore the vault, do not start afresh")]
    KeysLost,
    /// Its pages could not be read.
    #[error(transparent)]
    Pages(VaultError),
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

/// Makes the vault if there is none. Safe to run at every start and by many at once; one that stands is checked and never
/// changed. Its keys are put in by the first issuer that opens it: who provisions needs none.
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

/// A vault that stands on the servers, as its stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The log whose people it holds.
    pub log_id: [u8; 16],
    /// What it was made for.
    pub origin: Origin,
    /// Nothing was ever written into it, or all of it was removed.
    pub is_empty: bool,
}

/// What stands there; none where there is no vault. Needs no key.
///
/// # Errors
/// [`OpenError`].
pub async fn standing(config: &VaultConfig) -> Result<Option<Standing>, OpenError> {
    let client = connect(config).await?;
    match api::stream_info(&client, STREAM).await {
        Ok(info) => {
            let manifest = Manifest::from_metadata(&info.metadata()).map_err(OpenError::Manifest)?;
            Ok(Some(Standing {
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

/// What stands there, if it is the vault that is asked for.
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
    /// Opens the vault with the keys that this service was given. Where it has none of its own yet, one who has the
    /// master key puts them in, and others are told to wait.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: &VaultConfig, keys: &VaultKeys, random: FillRandom) -> Result<Self, OpenError> {
        let client = connect(config).await?;
        let manifest = check(&client, config).await?;
        let ring = KeyRing::new(keys, &manifest.vault_id);
        // Of format 1 and not rotated since: it says itself whose it is.
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
            random,
            changes: Semaphore::new(CHANGES_AT_ONCE),
            silences: AtomicU64::new(0),
        })
    }
}

/// The key that stands in a table's page of keys; put there if there is none yet. Where somebody else is about to put one
/// in, or the servers cannot take it now, it looks again until [`api::API_TIMEOUT`] is over: then the last reason.
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
            if let Some(key) = look_for_keys(pages, table, first_format, random, &mut last).await? {
                return Ok(key);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    let looked = tokio::time::timeout(api::API_TIMEOUT, looking).await;
    looked.unwrap_or(Err(last))
}

/// One look at a page of keys. None where another may come to more: something stands there now, this one's or another's,
/// which is read and is whose it is; or `last` says why.
async fn look_for_keys(
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
        // Somebody may have put keys and a page in since this one looked.
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
        // Another's write is on its way to the disks, an election, a full disk, or nobody knows.
        Err(error) => {
            *last = OpenError::KeysNotWritten(error);
            Ok(None)
        }
    }
}
