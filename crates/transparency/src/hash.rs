//! SHA-256 as RFC 6962 section 2.1 uses it: `0x00` precedes a leaf, `0x01` precedes an inner node.

use std::fmt;

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

use crate::base64;

/// Length of a hash in bytes.
pub const HASH_LENGTH: usize = 32;

/// A hash of a leaf, of a node, or of a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; HASH_LENGTH]);

impl Hash {
    /// The root of a tree without leaves: SHA-256 of the empty string (RFC 6962 section 2.1).
    pub const EMPTY_TREE: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// Standard base64 with padding, as every C2SP text format writes hashes.
    #[must_use]
    pub fn to_base64(&self) -> String {
        base64::encode(&self.0)
    }

    /// Parses the only base64 text of a hash; `None` for any other text.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        // 44 characters are 32 bytes; the check also bounds what is decoded.
        if text.len() != 44 {
            return None;
        }
        let bytes = base64::decode(text)?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.to_base64())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// The leaf hash of an entry: `SHA-256(0x00 ‖ entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

/// The longest message of two blocks: one byte and the length in bits follow it.
const MAX_SHORT: usize = 2 * 64 - 9;

/// SHA-256 of the concatenated parts.
///
/// Short messages are most of what a leaf hashes. They are laid out here, because the buffering of the general hasher
/// costs them a third more.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > MAX_SHORT {
        let mut hasher = Sha256::new();
        parts.iter().for_each(|part| hasher.update(part));
        return Hash(hasher.finalize().into());
    }
    let mut message = [0; 128];
    let mut end = 0;
    for part in parts {
        message[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    message[end] = 0x80;
    let size = if end < 64 - 8 { 64 } else { 128 };
    // FIPS 180-4 section 5.1.1: the length in bits ends the last block.
    let bits = u64::try_from(8 * end).expect("a short message");
    message[size - 8..size].copy_from_slice(&bits.to_be_bytes());
    let (blocks, _) = message[..size].as_chunks();
    compress(blocks)
}

/// The initial state of SHA-256 (FIPS 180-4 section 5.3.3).
const INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
/// The second block of every inner node except its first byte: the padding of a message of 65 bytes, 520 bits.
const NODE_PADDING: [u8; 64] = {
    let mut block = [0; 64];
    block[1] = 0x80;
    block[62] = 0x02;
    block[63] = 0x08;
    block
};

/// The hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)`.
///
/// A tree of n leaves has n − 1 nodes, so this is where a tree spends its time. The two blocks are laid out here
/// because the buffering of the general hasher costs a third more for messages this short.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut blocks = [[0; 64], NODE_PADDING];
    blocks[0][0] = 0x01;
    blocks[0][1..33].copy_from_slice(&left.0);
    blocks[0][33..].copy_from_slice(&right.0[..31]);
    blocks[1][0] = right.0[31];
    compress(&blocks)
}

/// The hash of a message that is padded to whole blocks.
fn compress(blocks: &[[u8; 64]]) -> Hash {
    let mut state = INITIAL_STATE;
    compress256(&mut state, blocks);
    let mut hash = [0; HASH_LENGTH];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    Hash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_the_hash_that_the_general_hasher_computes() {
        let mut left = leaf_hash(b"left");
        for byte in 0..=255 {
            let right = leaf_hash(&[byte]);
            let expected = Hash(Sha256::digest([&[1], &left.0[..], &right.0].concat()).into());
            assert_eq!(node_hash(&left, &right), expected);
            left = expected;
        }
    }

    #[test]
    fn messages_of_every_length_are_hashed_as_by_the_general_hasher() {
        let message = [0xa5; 200];
        for length in 0..=message.len() {
            let (first, second) = message[..length].split_at(length / 3);
            let expected = Hash(Sha256::digest(&message[..length]).into());
            assert_eq!(sha256(&[first, second]), expected, "{length} bytes");
        }
    }

    #[test]
    fn the_empty_tree_is_the_hash_of_the_empty_string() {
        assert_eq!(sha256(&[]), Hash::EMPTY_TREE);
    }

    #[test]
    fn only_the_canonical_base64_of_32_bytes_is_a_hash() {
        let text = leaf_hash(b"x").to_base64();
        assert_eq!(Hash::from_base64(&text), Some(leaf_hash(b"x")));
        // The last character before the padding carries two bits that must be zero.
        let mut other = text.clone().into_bytes();
        other[42] ^= 1;
        for wrong in [
            String::from_utf8(other).unwrap(),
            text.trim_end_matches('=').to_owned(),
            format!("{text}\n"),
            "Ä".repeat(22),
            // Two texts with padding between them, which have 32 bytes together.
            format!("AAA={}", "A".repeat(40)),
        ] {
            assert_eq!(Hash::from_base64(&wrong), None, "{wrong}");
        }
    }
}
