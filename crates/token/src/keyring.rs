//! The public keys that verify tokens, with their validity windows: an immutable snapshot, folded from the log.

use std::sync::Arc;

use citycode_domain::event::Event;
use citycode_domain::ids::KeyId;
use citycode_domain::time::Timestamp;
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};

/// Limit of keys in a keyring: one rotation a week for 19 years. It bounds the memory that a hostile log can
/// cause.
const MAX_KEYS: usize = 1_000;

/// One key. Windows are half-open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyEntry {
    /// The key's id in tokens.
    pub key_id: KeyId,
    /// Ed25519 public key; its soundness was checked when it was added.
    public_key: VerifyingKey,
    /// A token issued before this instant is refused.
    pub signs_from: Timestamp,
    /// A token issued at or after this instant is refused; `None` while the key is in use.
    pub signs_until: Option<Timestamp>,
    /// From this instant on the key verifies nothing; `None` while the key is in use.
    pub verifies_until: Option<Timestamp>,
    /// Whether the key may have been stolen (R25).
    pub compromised: bool,
}

impl KeyEntry {
    /// The public key in the encoding of RFC 8032.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key.to_bytes()
    }

    pub(crate) fn verifying_key(&self) -> &VerifyingKey {
        &self.public_key
    }

    /// Whether the key may verify, at `now`, a token issued at `issued_at`.
    #[must_use]
    pub fn covers(&self, issued_at: Timestamp, now: Timestamp) -> bool {
        self.signs_from <= issued_at
            && self.signs_until.is_none_or(|until| issued_at < until)
            && self.verifies_until.is_none_or(|until| now < until)
    }
}

/// Why an event about keys was rejected. Each of these means that the log, or its reader, cannot be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyringError {
    /// The key is not a point of the curve, of small order, or not canonically encoded.
    #[error("key {0} is weak or not an Ed25519 public key")]
    UnsoundKey(KeyId),
    /// The id is not the prefix of the key's hash.
    #[error("key {0} does not have the id that follows from its public key")]
    WrongKeyId(KeyId),
    /// Another key already has this id.
    #[error("key id {0} already belongs to another key")]
    KeyIdTaken(KeyId),
    /// An event about a key that was never added.
    #[error("key {0} was never added")]
    UnknownKey(KeyId),
    /// More keys than a keyring may hold.
    #[error("the keyring is full")]
    Full,
}

/// An immutable set of keys. Cloning increments a counter; a change creates a new set.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Sorted by key id.
    entries: Arc<Vec<KeyEntry>>,
}

/// The id of a public key: the first four bytes of its SHA-256.
#[must_use]
pub fn key_id_of(public_key: &[u8; 32]) -> KeyId {
    let digest = Sha256::digest(public_key);
    KeyId([digest[0], digest[1], digest[2], digest[3]])
}

impl Keyring {
    /// A keyring without keys: every token is refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, key_id: KeyId) -> Option<&KeyEntry> {
        self.find(key_id).ok().map(|at| &self.entries[at])
    }

    /// Every key, in the order of ids.
    #[must_use]
    pub fn entries(&self) -> &[KeyEntry] {
        &self.entries
    }

    /// Whether this key is marked compromised; an unknown key is not.
    #[must_use]
    pub fn is_compromised(&self, key_id: KeyId) -> bool {
        self.get(key_id).is_some_and(|entry| entry.compromised)
    }

    /// Whether a token signed by this key at `issued_at` may still be accepted at `now`. A cache of verified
    /// tokens asks this instead of checking the signature again.
    #[must_use]
    pub fn covers(&self, key_id: KeyId, issued_at: Timestamp, now: Timestamp) -> bool {
        self.get(key_id).is_some_and(|entry| entry.covers(issued_at, now))
    }

    /// Whether both are the same snapshot, so that a cache of verified tokens stays valid.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// The keyring after an event. Events that are not about keys, and events that were applied before, return
    /// the same snapshot.
    ///
    /// # Errors
    /// [`KeyringError`] if the event violates the protocol of the log.
    pub fn apply(&self, event: &Event) -> Result<Self, KeyringError> {
        match event {
            Event::SigningKeyAdded(added) => self.add(added.key_id, &added.public_key, added.signs_from),
            Event::SigningKeyRetired(retired) => self.change(retired.key_id, |entry| {
                entry.signs_until = Some(retired.signs_until);
                entry.verifies_until = Some(retired.verifies_until);
            }),
            Event::SigningKeyCompromised(compromised) => {
                self.change(compromised.key_id, |entry| entry.compromised = true)
            }
            _ => Ok(self.clone()),
        }
    }

    fn add(&self, key_id: KeyId, public_key: &[u8; 32], signs_from: Timestamp) -> Result<Self, KeyringError> {
        let key = VerifyingKey::from_bytes(public_key)
            .ok()
            .filter(|key| !key.is_weak() && is_canonical_point(key))
            .ok_or(KeyringError::UnsoundKey(key_id))?;
        if key_id != key_id_of(public_key) {
            return Err(KeyringError::WrongKeyId(key_id));
        }
        match self.find(key_id) {
            Ok(at) if self.entries[at].public_key() == *public_key => Ok(self.clone()),
            Ok(_) => Err(KeyringError::KeyIdTaken(key_id)),
            Err(_) if self.entries.len() >= MAX_KEYS => Err(KeyringError::Full),
            Err(at) => {
                let mut entries = self.entries.to_vec();
                let entry = KeyEntry {
                    key_id,
                    public_key: key,
                    signs_from,
                    signs_until: None,
                    verifies_until: None,
                    compromised: false,
                };
                entries.insert(at, entry);
                Ok(Self {
                    entries: Arc::new(entries),
                })
            }
        }
    }

    fn change(&self, key_id: KeyId, change: impl FnOnce(&mut KeyEntry)) -> Result<Self, KeyringError> {
        let at = self.find(key_id).map_err(|_| KeyringError::UnknownKey(key_id))?;
        let mut changed = self.entries[at];
        change(&mut changed);
        if changed == self.entries[at] {
            return Ok(self.clone());
        }
        let mut entries = self.entries.to_vec();
        entries[at] = changed;
        Ok(Self {
            entries: Arc::new(entries),
        })
    }

    fn find(&self, key_id: KeyId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key_id, |entry| entry.key_id)
    }
}

/// Whether the key's bytes are the canonical encoding of its point (RFC 8032 §5.1.3).
pub(crate) fn is_canonical_point(key: &VerifyingKey) -> bool {
    key.to_edwards().compress().as_bytes() == key.as_bytes()
}
