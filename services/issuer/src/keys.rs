//! The signing keys: public halves folded from the log, private halves in a folder of their own.
//!
//! A key's file is durable before the log hears of the key, so that a crash between leaves an unused file and never
//! a key that nobody can sign with. It is called [`NEXT_KEY`] until the log has the key, and there is one at most: an
//! attempt that the log did not take, and a restart, announce the same key again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use citycode_domain::event::Event;
use citycode_domain::ids::KeyId;
use citycode_domain::time::Timestamp;
use citycode_event_store::Position;
use citycode_log_folds::SystemFold;
use citycode_service_kit::entropy::{Draw, Entropy};
use citycode_service_kit::files::{self, FileError};
use citycode_token::{IdCheckKey, Keyring, SigningKey};
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use crate::ListNames;

/// The file of the signing key that is announced next. Every other one is called `signing-ID.key`.
const NEXT_KEY: &str = "signing-next.key";

/// The folder of private keys, mode 0700, files 0600.
pub struct KeyFolder {
    folder: PathBuf,
}

/// Why private keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFolderError {
    /// A file cannot be read or written, or others may read it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder cannot be listed.
    #[error("the folder of keys cannot be read: {0}")]
    Folder(#[from] std::io::Error),
}

impl KeyFolder {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub fn open(folder: &Path) -> Result<Self, KeyFolderError> {
        files::create_private_dir(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// A secret of 32 bytes by name. Where there is none it is made from `first`, given only for a new city; without that
    /// a missing one is refused.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub fn secret(&self, name: &str, first: Option<&dyn Entropy>) -> Result<Zeroizing<[u8; 32]>, KeyFolderError> {
        Ok(files::secret(&self.folder.join(name), first)?)
    }

    /// The ID-check key of the current epoch (R19), as [`Self::secret`].
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub fn id_check_key(&self, first: Option<&dyn Entropy>) -> Result<IdCheckKey, KeyFolderError> {
        Ok(IdCheckKey::from_bytes(*self.secret("id-check.key", first)?))
    }

    /// The key under which status lists are named (R29), as [`Self::secret`]. A folder of a release that named no lists has
    /// none; one that is made anew gives other names, and no name twice.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub fn list_names(&self, first: Option<&dyn Entropy>) -> Result<ListNames, KeyFolderError> {
        Ok(ListNames::new(self.secret("list-names.key", first)?))
    }

    /// Makes the signing key that is announced next; its file is durable when this returns.
    fn make_next(&self, entropy: &dyn Entropy) -> Result<SigningKey, KeyFolderError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.array());
        files::create_private(&self.folder.join(NEXT_KEY), seed.as_slice())?;
        Ok(SigningKey::from_seed(*seed))
    }

    /// The signing key that was to be announced when the process before this one ended.
    fn next(&self) -> Result<Option<SigningKey>, KeyFolderError> {
        let path = self.folder.join(NEXT_KEY);
        if !path.try_exists()? {
            return Ok(None);
        }
        Ok(Some(SigningKey::from_seed(*files::read_secret(&path)?)))
    }

    /// Names the file of the next key for good: the log has the key. A crash before leaves it under the name of the next
    /// key, under which it is loaded as well; then this is done again.
    fn keep_next(&self, key_id: KeyId) -> Result<(), KeyFolderError> {
        let path = self.folder.join(format!("signing-{key_id}.key"));
        std::fs::rename(self.folder.join(NEXT_KEY), path)?;
        Ok(files::sync_folder(&self.folder)?)
    }

    /// Throws the next key away, which the log cannot take.
    fn drop_next(&self) -> Result<(), KeyFolderError> {
        std::fs::remove_file(self.folder.join(NEXT_KEY))?;
        Ok(files::sync_folder(&self.folder)?)
    }

    fn signing_keys(&self) -> Result<HashMap<KeyId, SigningKey>, KeyFolderError> {
        let mut keys = HashMap::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("signing-") && name.ends_with(".key") {
                let key = SigningKey::from_seed(*files::read_secret(&path)?);
                keys.insert(key.key_id(), key);
            }
        }
        Ok(keys)
    }
}

/// The signing keys of one issuer.
pub struct SigningKeys {
    folder: KeyFolder,
    private: RwLock<HashMap<KeyId, Arc<SigningKey>>>,
    /// The one in [`NEXT_KEY`]. The lock is held while that file is made or renamed.
    next: Mutex<Option<Arc<SigningKey>>>,
    keyring: ArcSwap<Keyring>,
}

impl SigningKeys {
    /// Loads the private keys of a folder. The keyring comes from folding the log.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub fn load(folder: KeyFolder) -> Result<Self, KeyFolderError> {
        let private = folder
            .signing_keys()?
            .into_iter()
            .map(|(id, key)| (id, Arc::new(key)))
            .collect();
        let next = folder.next()?.map(Arc::new);
        Ok(Self {
            folder,
            private: RwLock::new(private),
            next: Mutex::new(next),
            keyring: ArcSwap::from_pointee(Keyring::new()),
        })
    }

    /// The public keys as folded so far.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// Starts from a keyring that was folded before (a snapshot).
    pub fn restore(&self, keyring: Keyring) {
        self.keyring.store(Arc::new(keyring));
    }

    /// The key that signs a code issued at `now`: of those whose private half is here the newest whose window is open
    /// and that is not compromised. Other issuers sign with keys of their own.
    #[must_use]
    pub fn signing_at(&self, now: Timestamp) -> Option<Arc<SigningKey>> {
        let keyring = self.keyring.load();
        let private = self.private.read();
        let open = keyring
            .entries()
            .iter()
            .filter(|entry| !entry.compromised && entry.covers(now, now) && private.contains_key(&entry.key_id));
        let newest = open.max_by_key(|entry| (entry.signs_from, entry.key_id))?;
        private.get(&newest.key_id).cloned()
    }

    /// Whether a key stands here that will go on signing: neither retired, as by a rotation that another issuer was
    /// asked for, nor compromised.
    #[must_use]
    pub fn has_lasting(&self) -> bool {
        let keyring = self.keyring.load();
        let private = self.private.read();
        let mut entries = keyring.entries().iter();
        entries.any(|entry| !entry.compromised && entry.signs_until.is_none() && private.contains_key(&entry.key_id))
    }

    /// The key to announce: one that the log does not have, and the same one until the log has it.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub(crate) fn to_announce(&self, entropy: &dyn Entropy) -> Result<Arc<SigningKey>, KeyFolderError> {
        let mut next = self.next.lock();
        self.settle(&mut next)?;
        if let Some(key) = &*next {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.folder.make_next(entropy)?);
        self.private.write().insert(key.key_id(), Arc::clone(&key));
        *next = Some(Arc::clone(&key));
        Ok(key)
    }

    /// Names the file of the next key for good, once the log has the key.
    ///
    /// # Errors
    /// [`KeyFolderError`]; it is done by the next call then.
    pub(crate) fn settle_announced(&self) -> Result<(), KeyFolderError> {
        self.settle(&mut self.next.lock())
    }

    fn settle(&self, next: &mut Option<Arc<SigningKey>>) -> Result<(), KeyFolderError> {
        let keyring = self.keyring.load();
        let Some(key) = next else { return Ok(()) };
        match keyring.get(key.key_id()) {
            None => return Ok(()),
            Some(entry) if entry.public_key() == key.public_key() => self.folder.keep_next(key.key_id())?,
            // The id of another issuer's key, once in four billion: the log would not take it, and nothing was signed.
            Some(_) => {
                self.folder.drop_next()?;
                self.private.write().remove(&key.key_id());
            }
        }
        *next = None;
        Ok(())
    }
}

impl SystemFold for SigningKeys {
    fn fold_system(&self, event: &Event, _position: Position) -> Result<(), String> {
        let keyring = self.keyring.load();
        let next = keyring.apply(event).map_err(|error| error.to_string())?;
        if !next.is_same(&keyring) {
            self.keyring.store(Arc::new(next));
        }
        Ok(())
    }
}
