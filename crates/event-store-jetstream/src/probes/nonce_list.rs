//! Nonces, lists of nonces, and their encodings.
//!
//! ```text
//! probe      on cc.echo.v2.ROLE.INSTANCE:  reader 8 bytes | nonce 16 bytes
//! list       on cc.echoed.v2:              nonces of 16 bytes each, ascending, without duplicates, at most 1,312
//! digest     in a commit's header:         BLAKE3 of the list, derived for "citycode echo list v2", in base64url
//! ```

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;

/// A random value of one probe of one reader, secret until the probe is sent: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nonce(pub(super) [u8; NONCE_BYTES]);

/// Distinguishes the readers that share a credential.
pub(super) type ReaderId = [u8; READER_BYTES];

/// The digest of a list.
pub(super) type Digest = [u8; 32];

pub(super) const NONCE_BYTES: usize = 16;
pub(super) const READER_BYTES: usize = 8;
const DIGEST_CONTEXT: &str = "citycode echo list v2";

/// The message that a reader publishes.
pub(super) fn encode_probe(reader: &ReaderId, nonce: &Nonce) -> Bytes {
    [&reader[..], &nonce.0].concat().into()
}

/// Parses an untrusted probe.
pub(super) fn parse_probe(bytes: &[u8]) -> Option<(ReaderId, Nonce)> {
    let (reader, nonce) = bytes.split_first_chunk::<READER_BYTES>()?;
    Some((*reader, Nonce(nonce.try_into().ok()?)))
}

/// Nonces in ascending order without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NonceList(Vec<Nonce>);

impl NonceList {
    /// Parses an untrusted list of at most `max` nonces.
    pub(super) fn parse(bytes: &[u8], max: usize) -> Option<Self> {
        let (nonces, rest) = bytes.as_chunks::<NONCE_BYTES>();
        if !rest.is_empty() || nonces.is_empty() || nonces.len() > max {
            return None;
        }
        let nonces: Vec<Nonce> = nonces.iter().map(|nonce| Nonce(*nonce)).collect();
        nonces.is_sorted_by(|one, next| one < next).then_some(Self(nonces))
    }

    pub(super) fn contains(&self, nonce: &Nonce) -> bool {
        self.0.binary_search(nonce).is_ok()
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        self.0.iter().flat_map(|nonce| nonce.0).collect::<Vec<u8>>().into()
    }

    pub(super) fn digest(&self) -> Digest {
        *blake3::Hasher::new_derive_key(DIGEST_CONTEXT)
            .update(&self.to_bytes())
            .finalize()
            .as_bytes()
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

pub(super) fn digest_text(digest: &Digest) -> String {
    BASE64URL_NOPAD.encode(digest)
}

/// Parses the digest in a header.
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
    fn a_list_round_trips_and_has_one_digest_for_every_order_of_insertion() {
        let list: NonceList = [nonce(3), nonce(1), nonce(2), nonce(1)].into_iter().collect();
        assert_eq!(NonceList::parse(&list.to_bytes(), 3), Some(list.clone()));
        assert!(list.contains(&nonce(2)) && !list.contains(&nonce(4)));
        let other: NonceList = [nonce(1), nonce(2), nonce(3)].into_iter().collect();
        assert_eq!(list.digest(), other.digest());
        assert_eq!(parse_digest(&digest_text(&list.digest())), Some(list.digest()));
        assert_eq!(
            digest_text(&list.digest()),
            "JdD5h0v8KmhieiGzEyi9tFl4Ty0fUQ5RVIYkGuX0QQc"
        );
    }

    #[test]
    fn invalid_lists_probes_and_digests_are_refused() {
        let good = [[1; NONCE_BYTES], [2; NONCE_BYTES]].concat();
        assert!(NonceList::parse(&good, 2).is_some());
        let twice = [[1; NONCE_BYTES], [1; NONCE_BYTES]].concat();
        let backwards = [[2; NONCE_BYTES], [1; NONCE_BYTES]].concat();
        for bad in [&[][..], &good[..31], &twice, &backwards] {
            assert_eq!(NonceList::parse(bad, 2), None, "{bad:?}");
        }
        assert_eq!(NonceList::parse(&good, 1), None);
        let probe = encode_probe(&[7; 8], &nonce(9));
        assert_eq!(parse_probe(&probe), Some(([7; 8], nonce(9))));
        for bad in [&probe[..23], &probe[..8], &[], &[0; 25]] {
            assert_eq!(parse_probe(bad), None);
        }
        for bad in ["", "x", "JdD5h0v8KmhieiGzEyi9tFl4Ty0fUQ5RVIYkGuX0QQc="] {
            assert_eq!(parse_digest(bad), None);
        }
    }
}
