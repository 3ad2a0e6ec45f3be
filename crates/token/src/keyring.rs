//! The public keys that check tokens, each with its windows: an immutable snapshot, folded from the log.

use std::sync::Arc;

use citycode_domain::event::Event;
use citycode_domain::ids::KeyId;
use citycode_domain::time::Timestamp;
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};

/// The most keys a keyring may hold: a rotation a week for 19 years. A bound on what a hostile log can make us keep.
const MAX_KEYS: usize = 1_000;

/// One key. Windows are half-open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyEntry {
    /// Its name in tokens.
    pub key_id: KeyId,
    /// Ed25519, sound: it was checked when loaded.
    public_key: VerifyingKey,
    /// A token issued before this instant refuses.
    pub signs_from: Timestamp,
    /// A token issued from this instant on refuses; none while the key is in use.
    pub signs_until: Option<Timestamp>,
    /// From this instant on it verifies nothing; none while the key is in use.
    pub verifies_until: Option<Timestamp>,
    /// It may be in other hands (R25).
    pub compromised: bool,
}

impl KeyEntry {
    /// The public key, as RFC 8032 writes it.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key.to_bytes()
    }

    pub(crate) fn verifying_key(&self) -> &VerifyingKey {
        &self.public_key
    }

    /// Whether a token issued at `issued_at` may rest on this key at `now`.
    #[must_use]
    pub fn covers(&self, issued_at: Timestamp, now: Timestamp) -> bool {
        self.signs_from <= issued_at
            && self.signs_until.is_none_or(|until| issued_at < until)
            && self.verifies_until.is_none_or(|until| now < until)
    }
}

/// Why an event about keys was not taken. Every one means that the log, or its reader, is not to be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyringError {
    /// Not a point of the curve, of small order, or not in the one spelling that signatures are bound to.
    #[error("key {0} is weak or no Ed25519 public key")]
    UnsoundKey(KeyId),
    /// The id is not the start of the key's hash.
    #[error("key {0} does not carry the id that its public key gives it")]
    WrongKeyId(KeyId),
    /// Another key has this id already.
    #[error("key id {0} is taken by another key")]
    KeyIdTaken(KeyId),
    /// An event about a key that was never added.
    #[error("key {0} was never added")]
    UnknownKey(KeyId),
    /// More keys than a keyring may hold.
    #[error("the keyring is full")]
    Full,
}

/// The keys at one moment. Cloning costs a counter; changing makes a new one.
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

    /// Every key, in the order of their ids.
    #[must_use]
    pub fn entries(&self) -> &[KeyEntry] {
        &self.entries
    }

    /// Whether this key is marked compromised; an unknown one is not.
    #[must_use]
    pub fn is_compromised(&self, key_id: KeyId) -> bool {
        self.get(key_id).is_some_and(|entry| entry.compromised)
    }

    /// Whether a token signed by this key at `issued_at` may still be taken at `now`: what a memory of tokens seen
    /// asks instead of checking the signature again.
    #[must_use]
    pub fn covers(&self, key_id: KeyId, issued_at: Timestamp, now: Timestamp) -> bool {
        self.get(key_id).is_some_and(|entry| entry.covers(issued_at, now))
    }

    /// Whether the two are the very same snapshot, so that a memory of tokens seen need not be emptied.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// The keyring after an event. Events not about keys, and events applied before, give the same snapshot back.
    ///
    /// # Errors
    /// [`KeyringError`] where the event cannot have been written by an honest writer.
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

/// Whether the key's bytes are the one canonical spelling of its point (RFC 8032 §5.1.3).
pub(crate) fn is_canonical_point(key: &VerifyingKey) -> bool {
    key.to_edwards().compress().as_bytes() == key.as_bytes()
}
