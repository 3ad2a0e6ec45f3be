//! Lists of entries, in blocks of 4,096 indices.
//!
//! A block has 228 cache lines of 18 entries each: 18 × 28 = 504 of 512 bits, so a lookup reads one line. The
//! table of blocks is a radix tree of two levels, 256 × 256. Each slot is filled once and never moved, so that
//! readers need no lock; an unused part costs one pointer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::entry::{ENTRY_BITS, Entry, TWO_BIT_INVALID};

/// The number of indices of a block, which an issuer leases at once.
pub const BLOCK_LEN: u32 = 4_096;
/// Limit of indices of one list. An issuer starts another list beyond it.
pub const MAX_LIST_LEN: u32 = BLOCK_LEN * MAX_BLOCKS;
/// Limit of blocks of one list: two levels of [`FAN_OUT`].
pub(super) const MAX_BLOCKS: u32 = 65_536;

const FAN_OUT: usize = 256;
const WORDS_PER_LINE: usize = 16;
const ENTRIES_PER_LINE: u32 = 18;
const LINES: usize = 228;
const ENTRY_MASK: u64 = (1 << ENTRY_BITS) - 1;
/// Bytes of a block, in memory and in a snapshot file.
pub(super) const BLOCK_BYTES: usize = LINES * WORDS_PER_LINE * 4;

const _: () = assert!(LINES as u32 * ENTRIES_PER_LINE >= BLOCK_LEN);
const _: () = assert!(ENTRIES_PER_LINE * ENTRY_BITS <= WORDS_PER_LINE as u32 * 32);

#[repr(align(64))]
struct Line([AtomicU32; WORDS_PER_LINE]);

/// 4,096 entries. Loads and stores are relaxed: the partition's sequence lock orders them.
pub(super) struct Block([Line; LINES]);

impl Block {
    pub(super) fn empty() -> Box<Self> {
        Box::new(Self(
            [const { Line([const { AtomicU32::new(0) }; WORDS_PER_LINE]) }; LINES],
        ))
    }

    fn locate(&self, place: u32) -> (&AtomicU32, &AtomicU32, u32) {
        let place = place % BLOCK_LEN;
        let line = &self.0[(place / ENTRIES_PER_LINE) as usize].0;
        let bit = (place % ENTRIES_PER_LINE) * ENTRY_BITS;
        let word = (bit / 32) as usize;
        (&line[word], &line[word + 1], bit % 32)
    }

    /// The entry at an index of the block (modulo its length).
    pub(super) fn load(&self, place: u32) -> Entry {
        let (low, high, shift) = self.locate(place);
        let both = u64::from(low.load(Ordering::Relaxed)) | (u64::from(high.load(Ordering::Relaxed)) << 32);
        Entry(((both >> shift) & ENTRY_MASK) as u32)
    }

    /// Stores an entry. Only the single writer may call this, because neighbouring entries share words.
    pub(super) fn store(&self, place: u32, entry: Entry) {
        let (low, high, shift) = self.locate(place);
        let both = u64::from(low.load(Ordering::Relaxed)) | (u64::from(high.load(Ordering::Relaxed)) << 32);
        let both = (both & !(ENTRY_MASK << shift)) | (u64::from(entry.0) << shift);
        low.store(both as u32, Ordering::Relaxed);
        high.store((both >> 32) as u32, Ordering::Relaxed);
    }

    /// Copies the block's words, little-endian, in the format of snapshot files.
    pub(super) fn copy_to(&self, bytes: &mut [u8; BLOCK_BYTES]) {
        let words = self.0.iter().flat_map(|line| &line.0);
        for (word, out) in words.zip(bytes.as_chunks_mut::<4>().0) {
            *out = word.load(Ordering::Relaxed).to_le_bytes();
        }
    }

    /// Builds a block from those bytes. Any bytes are a valid block.
    pub(super) fn from_bytes(bytes: &[u8; BLOCK_BYTES]) -> Box<Self> {
        let mut block = Self::empty();
        let words = block.0.iter_mut().flat_map(|line| &mut line.0);
        for (word, word_bytes) in words.zip(bytes.as_chunks::<4>().0) {
            *word.get_mut() = u32::from_le_bytes(*word_bytes);
        }
        block
    }

    /// Appends 4,096 values of two bits, least significant first.
    pub(super) fn push_two_bits(&self, out: &mut Vec<u8>) {
        for quad in 0..BLOCK_LEN / 4 {
            let byte = (0..4).fold(0, |byte, place| {
                byte | (self.load(quad * 4 + place).two_bits() << (2 * place))
            });
            out.push(byte);
        }
    }
}

type Leaf = [OnceLock<Box<Block>>; FAN_OUT];

/// One status list.
pub(super) struct List {
    leaves: Box<[OnceLock<Box<Leaf>>; FAN_OUT]>,
}

impl List {
    pub(super) fn new() -> Self {
        Self {
            leaves: Box::new([const { OnceLock::new() }; FAN_OUT]),
        }
    }

    /// The block of an index, if any code was issued in it.
    pub(super) fn block(&self, index: u32) -> Option<&Block> {
        let number = (index / BLOCK_LEN) as usize;
        let leaf = self.leaves.get(number / FAN_OUT)?.get()?;
        leaf[number % FAN_OUT].get().map(Box::as_ref)
    }

    /// The entry at an index.
    pub(super) fn load(&self, index: u32) -> Entry {
        self.block(index).map_or(Entry::NEVER, |block| block.load(index))
    }

    /// The block of an index, created with `make` if it does not exist; `None` at or beyond [`MAX_LIST_LEN`].
    pub(super) fn block_or_insert(&self, index: u32, make: impl FnOnce() -> Box<Block>) -> Option<&Block> {
        let number = (index / BLOCK_LEN) as usize;
        let leaf = self
            .leaves
            .get(number / FAN_OUT)?
            .get_or_init(|| Box::new([const { OnceLock::new() }; FAN_OUT]));
        Some(leaf[number % FAN_OUT].get_or_init(make))
    }

    /// The existing blocks with their numbers, ascending.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u32, &Block)> {
        (0..MAX_BLOCKS / FAN_OUT as u32)
            .filter_map(|high| Some((high, self.leaves[high as usize].get()?)))
            .flat_map(|(high, leaf)| {
                (0..FAN_OUT as u32).filter_map(move |low| {
                    let block = leaf[low as usize].get()?;
                    Some((high * FAN_OUT as u32 + low, block.as_ref()))
                })
            })
    }

    /// Two bits per index up to the end of the last block; each block is read through `read`.
    pub(super) fn two_bits(&self, mut read: impl FnMut(&Block, &mut Vec<u8>)) -> Vec<u8> {
        const BYTES: usize = BLOCK_LEN as usize / 4;
        let invalid = [TWO_BIT_INVALID * 0b0101_0101; BYTES];
        let mut out = Vec::new();
        for (number, block) in self.blocks() {
            while out.len() < number as usize * BYTES {
                out.extend_from_slice(&invalid);
            }
            read(block, &mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_entries_are_independent() {
        let block = Block::empty();
        let value = |place: u32| Entry(place.wrapping_mul(0x9E37_79B1) & ENTRY_MASK as u32);
        for place in (0..BLOCK_LEN).rev() {
            block.store(place, value(place));
        }
        assert!((0..BLOCK_LEN).all(|place| block.load(place) == value(place)));
        let mut bytes = [0; BLOCK_BYTES];
        block.copy_to(&mut bytes);
        let copy = Block::from_bytes(&bytes);
        assert!((0..BLOCK_LEN).all(|place| copy.load(place) == value(place)));
    }

    #[test]
    fn a_list_ends_at_its_maximum_length() {
        let list = List::new();
        assert!(list.block_or_insert(MAX_LIST_LEN - 1, Block::empty).is_some());
        assert!(list.block_or_insert(MAX_LIST_LEN, Block::empty).is_none());
        assert_eq!(list.load(u32::MAX), Entry::NEVER);
        assert_eq!(
            list.blocks().map(|(number, _)| number).collect::<Vec<_>>(),
            [MAX_BLOCKS - 1]
        );
    }
}
