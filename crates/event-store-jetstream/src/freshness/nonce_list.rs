//! Nonces, lists of them, and what readers publish.
//!
//! ```text
//! question   on cc.echo.v2.ROLE.INSTANCE:  reader 8 bytes | nonce 16 bytes
//! list       on cc.echoed.v2:              nonces of 16 bytes each, ascending, no two alike, at most 1,312
//! digest     in a commit's header:         BLAKE3 of the list, derived for "citycode echo list v2", in base64url
//! ```

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;

/// Unique to one question of one reader, and known to nobody before it is sent: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nonce(pub(super) [u8; NONCE_BYTES]);

/// Tells the readers that share a credential apart.
pub(super) type ReaderId = [u8; READER_BYTES];

/// The digest of a list.
pub(super) type Digest = [u8; 32];

pub(super) const NONCE_BYTES: usize = 16;
pub(super) const READER_BYTES: usize = 8;
const DIGEST_CONTEXT: &str = "citycode echo list v2";

/// What a reader publishes.
pub(super) fn encode_probe(reader: &ReaderId, nonce: &Nonce) -> Bytes {
    [&reader[..], &nonce.0].concat().into()
}

/// A question as a stranger may have sent it.
pub(super) fn parse_probe(bytes: &[u8]) -> Option<(ReaderId, Nonce)> {
    let (reader, nonce) = bytes.split_first_chunk::<READER_BYTES>()?;
    Some((*reader, Nonce(nonce.try_into().ok()?)))
}

/// Nonces in ascending order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NonceList(Vec<Nonce>);

impl NonceList {
    /// A list as a stranger may have sent it: at most `most` nonces.
    pub(super) fn parse(bytes: &[u8], most: usize) -> Option<Self> {
        let (nonces, rest) = bytes.as_chunks::<NONCE_BYTES>();
        if !rest.is_empty() || nonces.is_empty() || nonces.len() > most {
            return None;
        }
        let nonces: Vec<Nonce> = nonces.iter().map(|nonce| Nonce(*nonce)).collect();
        nonces.is_sorted_by(|one, next| one < next).then_some(Self(nonces))
    }

    pub(super) fn has(&self, nonce: &Nonce) -> bool {
        self.0.binary_search(nonce).is_ok()
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        self.0.iter().flat_map(|nonce| nonce.0).collect::<Vec<u8>>().into()
    }

    pub(super) fn digest(&self) -> Digest {
        digest_of(&self.to_bytes())
    }
}

impl FromIterator<Nonce> for NonceList {
    fn from_iter<I: IntoIterator<Item = Nonce>>(nonces: I) -> Self {
        let mut nonces: Vec<Nonce> = nonces.into_iter().collect();
        nonces.sort_unstable();
        nonces.dedup();
        Self(nonces)
    }
}

pub(super) fn digest_of(list: &[u8]) -> Digest {
    *blake3::Hasher::new_derive_key(DIGEST_CONTEXT)
        .update(list)
        .finalize()
        .as_bytes()
}

pub(super) fn digest_text(digest: &Digest) -> String {
    BASE64URL_NOPAD.encode(digest)
}

/// A digest as it stands in a header.
pub(super) fn parse_digest(text: &str) -> Option<Digest> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(number: u8) -> Nonce {
        Nonce([number; NONCE_BYTES])
    }

    #[test]
    fn a_list_reads_back_and_has_one_digest_whatever_order_it_was_made_in() {
        let list: NonceList = [nonce(3), nonce(1), nonce(2), nonce(1)].into_iter().collect();
        assert_eq!(NonceList::parse(&list.to_bytes(), 3), Some(list.clone()));
        assert!(list.has(&nonce(2)) && !list.has(&nonce(4)));
        let other: NonceList = [nonce(1), nonce(2), nonce(3)].into_iter().collect();
        assert_eq!(list.digest(), other.digest());
        assert_eq!(parse_digest(&digest_text(&list.digest())), Some(list.digest()));
        assert_eq!(
            digest_text(&list.digest()),
            "JdD5h0v8KmhieiGzEyi9tFl4Ty0fUQ5RVIYkGuX0QQc"
        );
    }

    #[test]
    fn what_is_no_list_and_no_question_is_refused() {
        let good = [[1; NONCE_BYTES], [2; NONCE_BYTES]].concat();
        assert!(NonceList::parse(&good, 2).is_some());
        let twice = [[1; NONCE_BYTES], [1; NONCE_BYTES]].concat();
        let backwards = [[2; NONCE_BYTES], [1; NONCE_BYTES]].concat();
        for bad in [&[][..], &good[..31], &twice, &backwards] {
            assert_eq!(NonceList::parse(bad, 2), None, "{bad:?}");
        }
        assert_eq!(NonceList::parse(&good, 1), None);
        let asked = encode_probe(&[7; 8], &nonce(9));
        assert_eq!(parse_probe(&asked), Some(([7; 8], nonce(9))));
        for bad in [&asked[..23], &asked[..8], &[], &[0; 25]] {
            assert_eq!(parse_probe(bad), None);
        }
        for bad in ["", "x", "JdD5h0v8KmhieiGzEyi9tFl4Ty0fUQ5RVIYkGuX0QQc="] {
            assert_eq!(parse_digest(bad), None);
        }
    }
}
