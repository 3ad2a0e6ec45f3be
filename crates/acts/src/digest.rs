//! The digest of what a request means, by which a repeated command id is told from a reused one.
//!
//! It stands in the log. So it is made of the method, holder numbers and words of the policy only: never of an ID
//! number or a name, which somebody with every key could try out (R28).

use citycode_domain::ids::HolderId;

/// Collects the parts of a request's meaning. Order and presence of parts count.
#[derive(Clone)]
pub struct RequestMeaning(blake3::Hasher);

impl RequestMeaning {
    /// Starts with the method's name, e.g. `issue`.
    #[must_use]
    pub fn of(method: &str) -> Self {
        let mut meaning = Self(blake3::Hasher::new_derive_key("citycode request meaning v1"));
        meaning.add(method.as_bytes());
        meaning
    }

    /// Adds a word of the policy or of the contract.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.add(word.as_bytes());
        self
    }

    /// Adds a holder, or that there is none.
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
    fn parts_do_not_run_together() {
        let one = RequestMeaning::of("issue").word("ab").word("c").finish();
        let other = RequestMeaning::of("issue").word("a").word("bc").finish();
        assert_ne!(one, other);
        assert_ne!(
            RequestMeaning::of("issue").holder(None).finish(),
            RequestMeaning::of("issue").finish()
        );
    }
}
