//! The digest of a request's meaning, which distinguishes a repeated command from a reused command id.
//!
//! The digest is stored in the log. It therefore covers only the method, holder ids and words of the policy: never an
//! ID number or a name, which an attacker who has every key could recover by guessing (R28).

use citycode_domain::ids::HolderId;

/// Builds the digest from the parts of a request's meaning. The order and the presence of parts matter.
#[derive(Clone)]
pub struct RequestDigest(blake3::Hasher);

impl RequestDigest {
    /// Starts with the method's name, e.g. `issue`.
    #[must_use]
    pub fn of(method: &str) -> Self {
        let mut meaning = Self(blake3::Hasher::new_derive_key("citycode request meaning v1"));
        meaning.add(method.as_bytes());
        meaning
    }

    /// Adds a word of the policy or of the API.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.add(word.as_bytes());
        self
    }

    /// Adds a holder, or the fact that there is none.
    #[must_use]
    pub fn holder(mut self, holder: Option<HolderId>) -> Self {
        match holder {
            Some(holder) => self.add(&holder.0),
            None => self.add(b""),
        }
        self
    }

    /// Adds bytes that are not personal (a public key), or a keyed digest of bytes that are.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.add(bytes);
        self
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundaries_of_parts_change_the_digest() {
        let one = RequestDigest::of("issue").word("ab").word("c").finish();
        let other = RequestDigest::of("issue").word("a").word("bc").finish();
        assert_ne!(one, other);
        assert_ne!(
            RequestDigest::of("issue").holder(None).finish(),
            RequestDigest::of("issue").finish()
        );
    }
}
