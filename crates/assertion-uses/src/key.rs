//! The key of the register's digests.

use std::fmt;

use zeroize::Zeroizing;

use crate::AssertionUse;

/// Domain separation of these hashes from each other and from any other use of the key.
const NAME: &[u8] = b"citycode assertion use name v1 ";
const REQUEST: &[u8] = b"citycode assertion use request v1 ";
const CHECK: &[u8] = b"citycode assertion uses check v1 ";

/// A key of 32 bytes, shared by all services of a city that accept assertions.
#[derive(Clone)]
pub struct UsesKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for UsesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsesKey(…)")
    }
}

impl UsesKey {
    /// Wraps the key.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// The name of the assertion in the register.
    pub(crate) fn name(&self, used: &AssertionUse) -> [u8; 16] {
        half(&self.digest(NAME, &used.assertion))
    }

    /// Distinguishes a repeat from another request. It is bound to the assertion, so that two uses do not
    /// reveal a common request.
    pub(crate) fn request(&self, used: &AssertionUse) -> [u8; 32] {
        self.digest(REQUEST, &[used.assertion, used.request].concat())
    }

    /// A value by which services verify that they have the same key.
    pub(crate) fn check(&self, log_id: &[u8; 16]) -> [u8; 16] {
        half(&self.digest(CHECK, log_id))
    }

    fn digest(&self, domain: &[u8], bytes: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(domain);
        hasher.update(bytes);
        *hasher.finalize().as_bytes()
    }
}

fn half(digest: &[u8; 32]) -> [u8; 16] {
    *digest.first_chunk().expect("a digest has 32 bytes")
}
