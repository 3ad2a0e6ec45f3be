//! The cache of verified tokens, whose signature need not be verified again.
//!
//! It is a lock-free map of two generations: when the young one is full it becomes the old one, and entries that are
//! used again move to the young one. Only the validity of the signature is cached; expiry and the key's window are
//! checked at every scan, and every change of the keyring empties the cache. Proofs of presentations are never
//! cached.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use citycode_token::{Keyring, VerifiedClaims};
use papaya::HashMap;

/// BLAKE3 of the scanned token: of the canonical text of a plain token, or of the token's bytes in a presentation.
pub(crate) type SeenKey = [u8; 32];
type Map = HashMap<SeenKey, VerifiedClaims, BuildHasherDefault<FirstBytes>>;

/// The hash of a key, which is a hash itself: its first eight bytes. The map contains only keys of tokens with a valid
/// signature, so an attacker cannot choose colliding keys.
#[derive(Default)]
pub(crate) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of the key is constant and not hashed.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Tokens in one generation, at some 300 bytes each: two generations cover the tokens that a busy quarter of a city
/// scans in a day.
const GENERATION: usize = 500_000;

/// A keyring and the tokens that were verified under it.
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

    /// The claims of a cached token, without a lock or an allocation (unless the entry moves to the young generation).
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

/// The cache of one verifier.
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

    /// Caches a token that was verified under `seen`'s keyring. If the keyring has changed since, the entry is
    /// dropped with the old generation.
    pub(crate) fn remember(&self, seen: &Arc<Seen>, key: SeenKey, claims: VerifiedClaims) {
        seen.insert(key, claims);
        if seen.count.load(Ordering::Relaxed) >= GENERATION {
            let next = Arc::new(Seen::new(seen.keyring.clone(), Arc::clone(&seen.young)));
            // If two threads race, the second compare-and-swap fails and its generation is dropped.
            self.0.compare_and_swap(seen, next);
        }
    }

    /// Empties the cache, because the keyring has changed.
    pub(crate) fn change_keyring(&self, keyring: Keyring) {
        self.0.store(Arc::new(Seen::new(keyring, Arc::new(Map::default()))));
    }
}
