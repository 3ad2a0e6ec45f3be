//! Tokens seen before: their signature need not be checked again.
//!
//! Two generations of a lock-free map: when the young one is full it becomes the old one, and what is asked for
//! again moves over. What is remembered is that a signature held; expiry and the key's window are looked at every
//! time, and any change of the keyring begins an empty memory. Proofs are never remembered.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use citycode_token::{Keyring, VerifiedClaims};
use papaya::HashMap;

/// BLAKE3 of what was scanned: the canonical text of a plain token, the token's bytes of a presentation.
pub(crate) type SeenKey = [u8; 32];
type Map = HashMap<SeenKey, VerifiedClaims, BuildHasherDefault<FirstBytes>>;

/// The hash of a key that is a hash already: its first eight bytes. Only keys of tokens whose signature held are put
/// into the map, so nobody outside can choose keys that collide.
#[derive(Default)]
pub(crate) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of the key, the same for all.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Tokens in one generation: two hold what a busy quarter of a city shows in a day, at some 300 bytes each.
const GENERATION: usize = 500_000;

/// A keyring and what was verified under it.
pub(crate) struct Seen {
    pub(crate) keyring: Keyring,
    young: Arc<Map>,
    old: Arc<Map>,
    count: AtomicUsize,
}

impl Seen {
    fn new(keyring: Keyring, old: Arc<Map>) -> Self {
        Self {
            keyring,
            young: Arc::new(Map::default()),
            old,
            count: AtomicUsize::new(0),
        }
    }

    /// The claims, if this was seen; no lock, no allocation.
    pub(crate) fn get(&self, key: &SeenKey) -> Option<VerifiedClaims> {
        if let Some(claims) = self.young.pin().get(key) {
            return Some(*claims);
        }
        let found = self.old.pin().get(key).copied();
        if let Some(claims) = found {
            self.insert(*key, claims);
        }
        found
    }

    fn insert(&self, key: SeenKey, claims: VerifiedClaims) {
        if self.young.pin().insert(key, claims).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The memory of one verifier.
pub(crate) struct Memory(ArcSwap<Seen>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(ArcSwap::from_pointee(Seen::new(
            Keyring::new(),
            Arc::new(Map::default()),
        )))
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Seen>> {
        self.0.load()
    }

    /// Remembers what was verified under `seen`'s keyring. If the keyring has changed since, nobody reads it again.
    pub(crate) fn remember(&self, seen: &Arc<Seen>, key: SeenKey, claims: VerifiedClaims) {
        seen.insert(key, claims);
        if seen.count.load(Ordering::Relaxed) >= GENERATION {
            let next = Arc::new(Seen::new(seen.keyring.clone(), Arc::clone(&seen.young)));
            // Whoever comes second finds the generation turned already.
            self.0.compare_and_swap(seen, next);
        }
    }

    /// Forgets everything: the keyring is another.
    pub(crate) fn change_keyring(&self, keyring: Keyring) {
        self.0.store(Arc::new(Seen::new(keyring, Arc::new(Map::default()))));
    }
}
