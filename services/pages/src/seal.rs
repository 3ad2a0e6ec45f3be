//! Seals texts for the browser to keep: AES-256-GCM under keys that are derived from `session.key` (HKDF-SHA-256, RFC
//! 5869), one per purpose.
//!
//! ```text
//! sealed = base64url( nonce: 12 random bytes ‖ ciphertext ‖ tag: 16 bytes )      associated data: the purpose
//! ```
//! All portals of a city have the same key, so any of them opens what another one sealed; a cookie of another city
//! cannot be opened.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

const SALT: &[u8] = b"citycode-pages-v1";
const KEY_BYTES: usize = 32;
/// Longest accepted sealed text; browsers keep at most 4,096 bytes per cookie.
const MAX_SEALED_BYTES: usize = 4_096;

/// The keys of the pages.
pub(crate) struct Seal {
    sealing: LessSafeKey,
    /// Makes pseudonyms and form tokens.
    naming: hmac::Key,
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

impl Seal {
    pub(crate) fn new(session_key: &[u8; KEY_BYTES]) -> Self {
        let derived = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            let secret = Salt::new(HKDF_SHA256, SALT).extract(session_key);
            let purpose = [purpose];
            secret
                .expand(&purpose, Length)
                .and_then(|derived| derived.fill(&mut *key))
                .expect("32 bytes are within the limit of HKDF");
            key
        };
        let sealing = UnboundKey::new(&AES_256_GCM, &*derived(b"seal")).expect("the key has 32 bytes");
        Self {
            sealing: LessSafeKey::new(sealing),
            naming: hmac::Key::new(hmac::HMAC_SHA256, &*derived(b"name")),
        }
    }

    /// Seals `text` for `purpose`: only [`Seal::open`] with the same purpose opens it.
    pub(crate) fn seal(&self, purpose: &str, text: &[u8], entropy: &dyn Entropy) -> String {
        let nonce: [u8; NONCE_LEN] = entropy.array();
        let mut bytes = text.to_vec();
        self.sealing
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut bytes,
            )
            .expect("texts of pages are far below the limit of AES-GCM");
        let mut whole = nonce.to_vec();
        whole.append(&mut bytes);
        BASE64URL_NOPAD.encode(&whole)
    }

    /// Opens a sealed text; `None` if it was not sealed for this purpose under this key.
    pub(crate) fn open(&self, purpose: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        if sealed.len() > MAX_SEALED_BYTES {
            return None;
        }
        let mut whole = BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
        if whole.len() < NONCE_LEN {
            return None;
        }
        let mut text = whole.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&whole).ok()?;
        let length = self
            .sealing
            .open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut text)
            .ok()?
            .len();
        text.truncate(length);
        Some(Zeroizing::new(text))
    }

    /// A pseudonym: 16 bytes that only this key leads to. `purpose` separates pseudonyms of different uses.
    pub(crate) fn name(&self, purpose: &str, of: &[u8]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.naming);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(of);
        let tag = context.sign();
        let mut name = [0; 16];
        name.copy_from_slice(&tag.as_ref()[..16]);
        name
    }
}

#[cfg(test)]
mod tests {
    use citycode_service_kit::entropy::SeededEntropy;

    use super::*;

    #[test]
    fn only_the_same_key_and_purpose_open_a_sealed_text() {
        let entropy = SeededEntropy::new(1);
        let (own, other) = (Seal::new(&[1; 32]), Seal::new(&[2; 32]));
        let sealed = own.seal("my", b"secret", &entropy);
        assert_eq!(
            own.open("my", &sealed).as_deref().map(Vec::as_slice),
            Some(&b"secret"[..])
        );
        assert_eq!(own.open("ops", &sealed), None);
        assert_eq!(other.open("my", &sealed), None);
        assert_ne!(
            sealed,
            own.seal("my", b"secret", &entropy),
            "a nonce is never used twice"
        );
    }

    #[test]
    fn a_changed_or_truncated_text_is_refused() {
        let seal = Seal::new(&[1; 32]);
        let sealed = seal.seal("my", b"secret", &SeededEntropy::new(1));
        for length in 0..sealed.len() {
            assert_eq!(seal.open("my", &sealed[..length]), None, "{length} characters");
        }
        let changed = sealed.replacen(|c: char| c != 'A', "A", 1);
        assert_eq!(seal.open("my", &changed), None);
        assert_eq!(seal.open("my", &"A".repeat(MAX_SEALED_BYTES + 1)), None);
        assert_eq!(seal.open("my", "not base64!"), None);
    }
}
