//! Sealing: AES-256-GCM (NIST SP 800-38D); a random 96-bit nonce precedes the ciphertext and the 128-bit tag
//! follows it.
//!
//! One holder key seals a few texts and one page key at most some millions: far below the 2^32 messages that
//! random nonces permit.

use core::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of the tag in bytes.
const TAG_LEN: usize = 16;

/// A holder's key. It is destroyed with the person, which makes everything sealed under it unreadable.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct HolderKey([u8; 32]);

/// The seal could not be opened: other bytes, another key, or another context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the seal does not open under this key and context")]
pub struct OpenError;

impl HolderKey {
    /// Builds a key from 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `plain` for `context` (what it is and where it belongs), with a nonce drawn by the caller.
    #[must_use]
    pub fn seal(&self, context: &[u8], nonce: [u8; 12], plain: &[u8]) -> Vec<u8> {
        seal(&self.0, context, nonce, plain)
    }

    /// A digest of possibly personal bytes. Once the key is destroyed, nobody can find the bytes by trying
    /// candidates (HMAC-SHA-256, RFC 2104).
    #[must_use]
    pub fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), bytes);
        tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
    }

    /// Opens bytes sealed by [`HolderKey::seal`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        open(&self.0, context, sealed)
    }
}

impl fmt::Debug for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HolderKey(…)")
    }
}

pub(crate) fn seal(key: &[u8; 32], context: &[u8], nonce: [u8; 12], plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_LEN);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key)
        .seal_in_place_separate_tag(nonce, Aad::from(context), &mut sealed[NONCE_LEN..])
        .expect("bodies are far below 64 GiB");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

pub(crate) fn open(key: &[u8; 32], context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenError)?;
    let mut body = Zeroizing::new(body.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher(key)
        .open_in_place(nonce, Aad::from(context), &mut body)
        .map_err(|_| OpenError)?
        .len();
    body.truncate(length);
    Ok(body)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key"))
}
