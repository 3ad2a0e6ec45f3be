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
use siphasher::sip128::SipHasher24;

/// SipHash-2-4 with 128 bits, under a random key of this process, of the scanned token: of the canonical text of a plain
/// token, or of the token's bytes in a presentation.
///
/// A scan whose key equals that of another token would be answered as that token. SipHash is a message authentication
/// code: without its key, which no answer depends on, an attacker finds such a text once in 2^108 tries against a million
/// cached tokens, and each try is a scan. It takes a fifth of the time of BLAKE3 on texts of this length.
pub(crate) type SeenKey = [u8; 16];
type Map = HashMap<SeenKey, VerifiedClaims, BuildHasherDefault<FirstBytes>>;

/// The hash of a key, which is a hash itself: its first eight bytes.
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
    /// The last commit that changed the keyring, as a sequence of its partition; 0 if there was none.
    pub(crate) keys_sequence: u64,
    young: Arc<Map>,
    old: Arc<Map>,
    count: AtomicUsize,
}

impl Seen {
    fn new(keyring: Keyring, keys_sequence: u64, old: Arc<Map>) -> Self {
        Self {
            keyring,
            keys_sequence,
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
pub(crate) struct Memory {
    seen: ArcSwap<Seen>,
    hasher: SipHasher24,
    /// Tokens in one generation.
    generation: usize,
}

impl Memory {
    /// An empty cache; `secret` is random for each process.
    pub(crate) fn new(secret: &[u8; 16]) -> Self {
        Self::with_generation(secret, GENERATION)
    }

    fn with_generation(secret: &[u8; 16], generation: usize) -> Self {
        let key = blake3::derive_key("citycode verifier: key of the cache of verified tokens", secret);
        Self {
            seen: ArcSwap::from_pointee(Seen::new(Keyring::new(), 0, Arc::new(Map::default()))),
            hasher: SipHasher24::new_with_key(key.first_chunk().expect("a derived key has 32 bytes")),
            generation,
        }
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Seen>> {
        self.seen.load()
    }

    /// The key of a token's canonical text, or of its bytes in a presentation.
    pub(crate) fn key_of(&self, token: &[u8]) -> SeenKey {
        self.hasher.hash(token).as_bytes()
    }

    /// Caches a token that was verified under `seen`'s keyring. If the keyring has changed since, the entry is
    /// dropped with the old generation.
    pub(crate) fn remember(&self, seen: &Arc<Seen>, key: SeenKey, claims: VerifiedClaims) {
        seen.insert(key, claims);
        if seen.count.load(Ordering::Relaxed) >= self.generation {
            let next = Arc::new(Seen::new(
                seen.keyring.clone(),
                seen.keys_sequence,
                Arc::clone(&seen.young),
            ));
            // If two threads race, the second compare-and-swap fails and its generation is dropped.
            self.seen.compare_and_swap(seen, next);
        }
    }

    /// Empties the cache, because a commit has changed the keyring.
    pub(crate) fn change_keyring(&self, keyring: Keyring, keys_sequence: u64) {
        self.seen
            .store(Arc::new(Seen::new(keyring, keys_sequence, Arc::new(Map::default()))));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use citycode_domain::event::{Event, SigningKeyAdded};
    use citycode_domain::ids::{CodeId, CodeKind, ListId, StatusRef};
    use citycode_domain::time::Timestamp;
    use citycode_token::{CodeClaimsToSign, SigningKey, sign_code, verify};

    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000);
    const BASE_URI: &str = "https://s.example/";

    fn keyring() -> Keyring {
        let key = SigningKey::from_seed([3; 32]);
        let added = Event::SigningKeyAdded(SigningKeyAdded {
            key_id: key.key_id(),
            public_key: key.public_key(),
            signs_from: NOW,
        });
        Keyring::new().apply(&added).expect("a sound key")
    }

    /// The verified claims of a code with this number.
    fn claims(number: u8) -> VerifiedClaims {
        let claims = CodeClaimsToSign {
            code_id: CodeId([number; 8]),
            kind: CodeKind::new(3).expect("3 is a kind"),
            issued_at: NOW,
            expires_at: NOW.plus_seconds(60),
            status: StatusRef {
                list: ListId(1),
                index: u32::from(number),
            },
            id_commitment: None,
            device_key: None,
        };
        let signed = sign_code(&claims, BASE_URI, &SigningKey::from_seed([3; 32])).expect("it can be signed");
        verify(&signed.text, &keyring(), BASE_URI, NOW).expect("it was just signed")
    }

    fn remember(memory: &Memory, number: u8) {
        memory.remember(&memory.load(), memory.key_of(&[number]), claims(number));
    }

    /// The numbers of the cached codes; a lookup moves a code to the young generation.
    fn cached(memory: &Memory, numbers: std::ops::Range<u8>) -> Vec<u8> {
        let seen = memory.load();
        numbers
            .filter(|number| {
                let found = seen.get(&memory.key_of(&[*number]));
                found.is_some_and(|claims| claims.code_id == CodeId([*number; 8]))
            })
            .collect()
    }

    #[test]
    fn tokens_that_are_not_used_for_a_generation_are_forgotten() {
        let memory = Memory::with_generation(&[1; 16], 4);
        (0..3).for_each(|number| remember(&memory, number));
        // The same token again does not fill the generation.
        remember(&memory, 2);
        assert_eq!(cached(&memory, 0..9), [0, 1, 2]);
        remember(&memory, 3);
        assert_eq!(cached(&memory, 0..1), [0], "used again after the generation was full");
        (4..7).for_each(|number| remember(&memory, number));
        assert_eq!(cached(&memory, 0..9), [0, 4, 5, 6]);
    }

    #[test]
    fn a_change_of_the_keyring_empties_the_cache() {
        let memory = Memory::new(&[1; 16]);
        remember(&memory, 1);
        let before = memory.load();
        memory.change_keyring(keyring(), 7);
        assert!(cached(&memory, 0..9).is_empty());
        let seen = memory.load();
        assert!(seen.keys_sequence == 7 && !seen.keyring.is_same(&before.keyring));
        // A token that was verified under the former keyring meanwhile.
        memory.remember(&before, memory.key_of(&[2]), claims(2));
        assert!(cached(&memory, 0..9).is_empty());
    }

    #[test]
    fn keys_of_tokens_differ_and_depend_on_the_secret() {
        let memory = Memory::new(&[1; 16]);
        let keys: BTreeSet<SeenKey> = (0..=u16::MAX)
            .map(|token| memory.key_of(&token.to_le_bytes()))
            .collect();
        assert_eq!(keys.len(), 65_536);
        assert_ne!(Memory::new(&[2; 16]).key_of(b"token"), memory.key_of(b"token"));
        // Otherwise a lookup would compare many entries of the map.
        let hasher = BuildHasherDefault::<FirstBytes>::default();
        let hashes: BTreeSet<u64> = keys.iter().map(|key| hasher.hash_one(key)).collect();
        assert_eq!(hashes.len(), 65_536);
    }
}
