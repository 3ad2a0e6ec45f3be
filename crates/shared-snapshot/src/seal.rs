//! Seals a snapshot in segments, so that both sides need only one segment in memory.
//!
//! ```text
//! segment    = AES-256-GCM(object key, nonce, aad, plain)     plain: 131,056 bytes, the last one fewer
//! object key = HMAC-SHA-256(the kind's key, "citycode-shared-snapshot-v1" salt)     a salt is drawn for each object
//! nonce      = 0:3 last:u8 number:u64                          big-endian; `last` is 1 for the last segment, else 0
//! aad        = projection:u8 log-id:16
//! ```
//! A segment with its tag is one chunk of the object store. Each object has its own key, so counted nonces never
//! repeat. The number and `last` in the nonce detect reordered segments and a truncated object. Sealing protects
//! confidentiality against readers of the bucket or of the servers' disks. It does not prove authenticity, because
//! every reader has the key; the signature does that.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use citycode_jetstream::object_store::CHUNK_BYTES;
use citycode_projection::snapshot::ProjectionKind;
use zeroize::{Zeroize, ZeroizeOnDrop};

const TAG_BYTES: usize = 16;
/// Plain bytes of a segment.
pub const SEGMENT_BYTES: usize = CHUNK_BYTES - TAG_BYTES;
const PURPOSE: &[u8] = b"citycode-shared-snapshot-v1";

/// The city's key for one kind of snapshots.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// A key from 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// A segment cannot be opened: it has other bytes, another key, another number or another log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a segment cannot be opened with this key")]
pub struct SealBroken;

/// Seals or opens the segments of one object in order.
pub(crate) struct Segments {
    key: LessSafeKey,
    aad: [u8; 17],
    next: u64,
    count: u64,
}

/// The number of segments of a file with this length; `None` for an empty file.
pub(crate) fn segments_of(plain_bytes: u64) -> Option<u64> {
    Some(plain_bytes.div_ceil(SEGMENT_BYTES as u64)).filter(|count| *count > 0)
}

impl Segments {
    pub(crate) fn new(key: &SealKey, salt: &[u8; 16], kind: ProjectionKind, log_id: &[u8; 16], count: u64) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key.0));
        context.update(PURPOSE);
        context.update(salt);
        let object_key = context.sign();
        let key = UnboundKey::new(&AES_256_GCM, object_key.as_ref()).expect("HMAC-SHA-256 gives 32 bytes");
        let mut aad = [kind as u8; 17];
        aad[1..].copy_from_slice(log_id);
        Self {
            key: LessSafeKey::new(key),
            aad,
            next: 0,
            count,
        }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        let number = self.next;
        self.next += 1;
        nonce[3] = u8::from(self.next == self.count);
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals the next segment in place and appends its tag.
    pub(crate) fn seal(&mut self, segment: &mut Vec<u8>) {
        let (nonce, aad) = (self.nonce(), Aad::from(self.aad));
        let sealed = self.key.seal_in_place_append_tag(nonce, aad, segment);
        sealed.expect("a segment is far below 64 GiB");
    }

    /// Opens the next segment in place.
    pub(crate) fn open<'a>(&mut self, segment: &'a mut [u8]) -> Result<&'a [u8], SealBroken> {
        if self.next == self.count {
            return Err(SealBroken);
        }
        let (nonce, aad) = (self.nonce(), Aad::from(self.aad));
        let opened = self.key.open_in_place(nonce, aad, segment);
        opened.map(|plain| &*plain).map_err(|_| SealBroken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(key: u8, kind: ProjectionKind, log: u8, count: u64) -> Segments {
        Segments::new(&SealKey::new([key; 32]), &[3; 16], kind, &[log; 16], count)
    }

    fn sealed(count: u64) -> Vec<Vec<u8>> {
        let mut sealing = segments(1, ProjectionKind::Status, 2, count);
        let sealed = (0..count).map(|number| {
            let mut segment = vec![number as u8; 100];
            sealing.seal(&mut segment);
            segment
        });
        sealed.collect()
    }

    #[test]
    fn segments_open_only_in_order_and_with_their_key_and_log() {
        let sealed = sealed(3);
        let opens = |mut opening: Segments, parts: &[usize]| {
            parts.iter().all(|part| {
                opening
                    .open(&mut sealed[*part].clone())
                    .is_ok_and(|plain| plain == [*part as u8; 100])
            })
        };
        let status = ProjectionKind::Status;
        assert!(opens(segments(1, status, 2, 3), &[0, 1, 2]));
        assert!(!opens(segments(9, status, 2, 3), &[0]));
        assert!(!opens(segments(1, ProjectionKind::Register, 2, 3), &[0]));
        assert!(!opens(segments(1, status, 9, 3), &[0]));
        assert!(!opens(segments(1, status, 2, 3), &[1]), "out of order");
        assert!(!opens(segments(1, status, 2, 2), &[0, 1]), "an early end");
        assert!(!opens(segments(1, status, 2, 3), &[0, 1, 2, 2]), "a late end");
    }

    #[test]
    fn a_changed_segment_does_not_open() {
        let sealed = sealed(1);
        for at in [0, 50, 99, 100, 115] {
            let mut changed = sealed[0].clone();
            changed[at] ^= 1;
            assert_eq!(
                segments(1, ProjectionKind::Status, 2, 1).open(&mut changed),
                Err(SealBroken)
            );
        }
    }

    #[test]
    fn a_file_is_divided_into_full_segments_and_a_rest() {
        let segment = SEGMENT_BYTES as u64;
        assert_eq!(segments_of(0), None);
        assert_eq!(segments_of(1), Some(1));
        assert_eq!(segments_of(segment), Some(1));
        assert_eq!(segments_of(segment + 1), Some(2));
    }
}
