//! The signing keys: public keys folded from the log, private keys in a folder.
//!
//! A key's file is durable before its event is appended, so that a crash in between leaves an unused file and never a
//! key without its private half. The file is called [`NEXT_KEY`] until the event is in the log, and there is at most
//! one: a failed append and a restart announce the same key again.

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

/// The length of its file.
const SEED_BYTES: u64 = 32;

/// The folder of private keys, mode 0700, files 0600.
pub struct KeyFolder {
    folder: PathBuf,
}

/// Why private keys cannot be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum KeyFolderError {
    /// A file cannot be read or written, or other users may read it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder cannot be listed.
    #[error("the folder of keys cannot be read: {0}")]
    Folder(#[from] std::io::Error),
}

impl KeyFolder {
    /// Opens the folder, or creates it.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub fn open(folder: &Path) -> Result<Self, KeyFolderError> {
        files::create_private_dir(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// A secret of 32 bytes by name. A missing one is created from `first`, which is passed only for a new city;
    /// without it a missing secret is an error.
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

    /// The key under which status lists are named (R29), as [`Self::secret`]. Folders of releases before it have
    /// none; a newly created key yields other names, and no name twice.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub fn list_names(&self, first: Option<&dyn Entropy>) -> Result<ListNames, KeyFolderError> {
        Ok(ListNames::new(self.secret("list-names.key", first)?))
    }

    /// Creates the signing key that is announced next; its file is durable when this returns.
    fn create_next(&self, entropy: &dyn Entropy) -> Result<SigningKey, KeyFolderError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.array());
        files::create_private(&self.folder.join(NEXT_KEY), seed.as_slice())?;
        Ok(SigningKey::from_seed(*seed))
    }

    /// The signing key that the previous process had not announced when it ended.
    fn next(&self) -> Result<Option<SigningKey>, KeyFolderError> {
        let path = self.folder.join(NEXT_KEY);
        if !path.try_exists()? {
            return Ok(None);
        }
        Ok(Some(SigningKey::from_seed(*files::read_secret(&path)?)))
    }

    /// Removes a part of the next key, which a crash of an earlier release left. The log does not have that key, because
    /// its file was whole before it was announced.
    fn remove_torn_next(&self) -> Result<(), KeyFolderError> {
        let path = self.folder.join(NEXT_KEY);
        match std::fs::metadata(&path) {
            Ok(file) if file.len() < SEED_BYTES => {
                tracing::warn!(file = %path.display(), "a signing key that a crash left incomplete is replaced");
                self.remove_next()
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the file of the next key its final name, because the log has the key. After a crash before this, the
    /// file is loaded under its old name and this is repeated.
    fn rename_next(&self, key_id: KeyId) -> Result<(), KeyFolderError> {
        let path = self.folder.join(format!("signing-{key_id}.key"));
        std::fs::rename(self.folder.join(NEXT_KEY), path)?;
        Ok(files::sync_folder(&self.folder)?)
    }

    /// Deletes the next key, which cannot be added to the log.
    fn remove_next(&self) -> Result<(), KeyFolderError> {
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
    /// The key in [`NEXT_KEY`]. The lock is held while that file is created or renamed.
    next: Mutex<Option<Arc<SigningKey>>>,
    keyring: ArcSwap<Keyring>,
}

impl SigningKeys {
    /// Loads the private keys of a folder. The keyring is folded from the log.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub fn load(folder: KeyFolder) -> Result<Self, KeyFolderError> {
        folder.remove_torn_next()?;
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

    /// The public keys that were folded so far.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// Replaces the keyring by that of a snapshot.
    pub fn restore(&self, keyring: Keyring) {
        self.keyring.store(Arc::new(keyring));
    }

    /// The key that signs a code issued at `now`: the newest of this issuer's own keys that may sign then and is not
    /// compromised. Other issuers sign with their own keys.
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

    /// Whether this issuer has an active key: neither retired, for example by a rotation at another issuer, nor
    /// compromised.
    #[must_use]
    pub fn has_active_key(&self) -> bool {
        let keyring = self.keyring.load();
        let private = self.private.read();
        let mut entries = keyring.entries().iter();
        entries.any(|entry| !entry.compromised && entry.signs_until.is_none() && private.contains_key(&entry.key_id))
    }

    /// The key to announce: one that is not in the log, and the same one until it is.
    ///
    /// # Errors
    /// [`KeyFolderError`].
    pub(crate) fn to_announce(&self, entropy: &dyn Entropy) -> Result<Arc<SigningKey>, KeyFolderError> {
        let mut next = self.next.lock();
        self.finalize(&mut next)?;
        if let Some(key) = &*next {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.folder.create_next(entropy)?);
        self.private.write().insert(key.key_id(), Arc::clone(&key));
        *next = Some(Arc::clone(&key));
        Ok(key)
    }

    /// Gives the file of the next key its final name, if the log has the key.
    ///
    /// # Errors
    /// [`KeyFolderError`]; the next call retries then.
    pub(crate) fn finalize_announced(&self) -> Result<(), KeyFolderError> {
        self.finalize(&mut self.next.lock())
    }

    fn finalize(&self, next: &mut Option<Arc<SigningKey>>) -> Result<(), KeyFolderError> {
        let keyring = self.keyring.load();
        let Some(key) = next else { return Ok(()) };
        match keyring.get(key.key_id()) {
            None => return Ok(()),
            Some(entry) if entry.public_key() == key.public_key() => self.folder.rename_next(key.key_id())?,
            // Another issuer's key has the same id, once in four billion: it cannot be added, and it has signed
            // nothing.
            Some(_) => {
                self.folder.remove_next()?;
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
