//! The signing keys: public halves folded from the log, private halves in a folder of their own.
//!
//! A key's file is durable before the log hears of the key, so that a crash between leaves an unused file and never
//! a key that nobody can sign with.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use citycode_domain::event::Event;
use citycode_domain::ids::KeyId;
use citycode_domain::time::Timestamp;
use citycode_event_store::Position;
use citycode_holder_log::SystemFold;
use citycode_service_kit::entropy::{Draw, Entropy};
use citycode_service_kit::files::{self, FileError};
use citycode_token::{IdCheckKey, Keyring, SigningKey};
use parking_lot::RwLock;
use zeroize::Zeroizing;

use crate::ListNames;

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

    /// Makes a signing key; its file is durable when this returns.
    fn make_signing_key(&self, entropy: &dyn Entropy) -> Result<SigningKey, KeyFolderError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.array());
        let key = SigningKey::from_seed(*seed);
        files::create_private(
            &self.folder.join(format!("signing-{}.key", key.key_id())),
            seed.as_slice(),
        )?;
        Ok(key)
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
        Ok(Self {
            folder,
            private: RwLock::new(private),
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

    /// Makes a key that the log does not know yet.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub(crate) fn make(&self, entropy: &dyn Entropy) -> Result<Arc<SigningKey>, KeyFolderError> {
        let key = Arc::new(self.folder.make_signing_key(entropy)?);
        self.private.write().insert(key.key_id(), Arc::clone(&key));
        Ok(key)
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
