//! The journal of effects: what every commit of the log did to the status of codes, in a few bytes each.
//!
//! It answers questions about all codes at a moment ("how many were valid then") without reading the log: it has a tenth
//! of the log's bytes, needs no decryption of envelopes, and is read one partition after the other. It is part of the
//! [index](super) and written in the same transactions, so it is neither behind nor ahead of the index's position,
//! whenever the process dies.
//!
//! ```text
//! table effects-1   partition:u16 first sequence:u64 → block
//! block     = check:8 record*        check: the first bytes of BLAKE3 over the key and the records
//! record    = 0 sequence time                            the commit of the records that follow
//!           / 1 + standing  list:4 index kind:1 expiry   a code was issued
//!           / 4 + change    list:4 index                 its status changed
//!           / 12            list:4 index count           places without a known code were revoked
//! standing  = 0 green / 1 yellow / 2 red
//! change    = 0 superseded / 1 reported lost / 2 revoked / 3 on hold / 4 hold lifted / 5 + standing
//! sequence, time, expiry, index, count: LEB128. A sequence is the distance from the previous commit of the block, a time
//!   the zigzag-coded distance in seconds; the first are distances from 0. An expiry is the zigzag-coded distance from the
//!   time of its commit.
//! ```

use citycode_domain::event::Event;
use citycode_domain::ids::{CodeKind, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::{Partition, Position};
use citycode_projection::status::{Effect, StatusChange, effects_of};
use redb::{ReadTransaction, ReadableDatabase as _, TableDefinition, WriteTransaction};

use super::{IndexError, IndexReader, failed};

/// Key of a block: its partition, and the sequence of its first commit.
type BlockKey = (u16, u64);

pub(super) const EFFECTS: TableDefinition<'_, BlockKey, &[u8]> = TableDefinition::new("effects-1");
/// A block that has reached this size is finished. Every write replaces the unfinished block of each partition, so a
/// larger block would make single commits more expensive; smaller ones make reading slower.
const BLOCK_BYTES: usize = 2_048;
const CHECK_BYTES: usize = 8;

const COMMIT: u8 = 0;
const ISSUE: u8 = 1;
const CHANGE: u8 = 4;
const VOID: u8 = 12;

/// What a commit did to one place of a status list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PlaceEffect {
    /// A code was issued there.
    Issue {
        /// Its kind.
        kind: CodeKind,
        /// Its expiry, exclusive.
        expires_at: Timestamp,
        /// The holder's standing.
        standing: Standing,
    },
    /// The status of the code there changed.
    Change(StatusChange),
    /// This many places from there on were revoked, as far as they have no code.
    Void(u32),
}

/// One effect with the commit that had it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordedEffect {
    /// The sequence of the commit in its partition.
    pub(crate) sequence: u64,
    /// When it was decided.
    pub(crate) decided_at: Timestamp,
    /// The place.
    pub(crate) place: StatusRef,
    /// The effect.
    pub(crate) effect: PlaceEffect,
}

/// The blocks that are not in the file yet, and the unfinished block of each partition.
///
/// Memory: [`BLOCK_BYTES`] for each partition, and what one transaction writes.
#[derive(Default)]
pub(super) struct Journal {
    unfinished: Vec<Block>,
    finished: Vec<Block>,
}

struct Block {
    partition: u16,
    first: u64,
    /// Empty for a block that has not begun.
    records: Vec<u8>,
    last: u64,
    time: i64,
    is_written: bool,
}

impl Block {
    const fn begin(partition: u16) -> Self {
        Self {
            partition,
            first: 0,
            records: Vec::new(),
            last: 0,
            time: 0,
            is_written: true,
        }
    }

    fn push_commit(&mut self, sequence: u64, decided_at: i64) {
        if self.records.is_empty() {
            self.first = sequence;
        }
        self.records.push(COMMIT);
        push_number(&mut self.records, sequence.wrapping_sub(self.last));
        push_signed(&mut self.records, decided_at.wrapping_sub(self.time));
        (self.last, self.time) = (sequence, decided_at);
        self.is_written = false;
    }
}

impl Journal {
    /// Adds what an event of a commit did.
    pub(super) fn push(&mut self, position: Position, decided_at: i64, event: &Event) {
        let (partition, sequence) = position.parts();
        let mut begun = false;
        recorded_effects(position, decided_at, event, |recorded| {
            let block = self.block(partition, sequence, decided_at, &mut begun);
            push_effect(&mut block.records, recorded);
        });
        self.finish_full(partition);
    }

    /// The unfinished block of a partition, with the commit named in it.
    fn block(&mut self, partition: u16, sequence: u64, decided_at: i64, begun: &mut bool) -> &mut Block {
        let wanted = usize::from(partition);
        while self.unfinished.len() <= wanted {
            let next = u16::try_from(self.unfinished.len()).unwrap_or(u16::MAX);
            self.unfinished.push(Block::begin(next));
        }
        let block = &mut self.unfinished[wanted];
        if !std::mem::replace(begun, true) {
            block.push_commit(sequence, decided_at);
        }
        block
    }

    fn finish_full(&mut self, partition: u16) {
        if let Some(block) = self.unfinished.get_mut(usize::from(partition))
            && block.records.len() >= BLOCK_BYTES
        {
            let full = std::mem::replace(block, Block::begin(partition));
            self.finished.push(full);
        }
    }

    /// Writes what is not in the file yet.
    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), IndexError> {
        let mut table = transaction.open_table(EFFECTS).map_err(failed)?;
        let unfinished = self.unfinished.iter().filter(|block| !block.is_written);
        for block in self.finished.iter().chain(unfinished) {
            let key = (block.partition, block.first);
            let mut bytes = Vec::with_capacity(CHECK_BYTES + block.records.len());
            bytes.extend_from_slice(&check(key, &block.records));
            bytes.extend_from_slice(&block.records);
            table.insert(key, bytes.as_slice()).map_err(failed)?;
        }
        Ok(())
    }

    /// The transaction was committed.
    pub(super) fn written(&mut self) {
        self.finished.clear();
        for block in &mut self.unfinished {
            block.is_written = true;
        }
    }
}

impl IndexReader {
    /// Calls `each` with every effect of a partition, in the order of the log.
    ///
    /// Memory: one block. As long as it reads, the index keeps the pages that it replaces meanwhile.
    ///
    /// # Errors
    /// [`IndexError`], also if a block is damaged; the index must then be deleted, and is rebuilt from the log.
    pub(crate) fn effects_in(
        &self,
        partition: Partition,
        mut each: impl FnMut(&RecordedEffect),
    ) -> Result<(), IndexError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        effects_of_partition(&transaction, partition, &mut each)
    }
}

/// Calls `each` with every effect of a partition as of a transaction.
pub(super) fn effects_of_partition(
    transaction: &ReadTransaction,
    partition: Partition,
    each: &mut impl FnMut(&RecordedEffect),
) -> Result<(), IndexError> {
    let table = transaction.open_table(EFFECTS).map_err(failed)?;
    let range = (partition.0, 0)..=(partition.0, u64::MAX);
    for entry in table.range(range).map_err(failed)? {
        let (key, block) = entry.map_err(failed)?;
        let whole = read_block(key.value(), block.value(), each);
        whole
            .ok_or_else(|| failed("a block of its journal is damaged; delete the index, it is rebuilt from the log"))?;
    }
    Ok(())
}

/// Calls `each` with what an event of a commit did.
pub(super) fn recorded_effects(
    position: Position,
    decided_at: i64,
    event: &Event,
    mut each: impl FnMut(&RecordedEffect),
) {
    let (_, sequence) = position.parts();
    let mut recorded = |place, effect| {
        each(&RecordedEffect {
            sequence,
            decided_at: Timestamp(decided_at),
            place,
            effect,
        });
    };
    if let Event::IndexRangeRevoked(range) = event {
        let place = StatusRef {
            list: range.list,
            index: range.first_index,
        };
        recorded(place, PlaceEffect::Void(range.count));
    }
    effects_of(event, |code, effect| match (effect, event) {
        (Effect::Issue { standing, .. }, Event::CodeIssued(issued)) => {
            let effect = PlaceEffect::Issue {
                kind: issued.code.slot.kind,
                expires_at: issued.expires_at,
                standing,
            };
            recorded(issued.code.status, effect);
        }
        // Only an issue has the effect of one.
        (Effect::Issue { .. }, _) => {}
        (Effect::Change(change), _) => recorded(code.status, PlaceEffect::Change(change)),
    });
}

fn check(key: BlockKey, records: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0.to_le_bytes());
    hasher.update(&key.1.to_le_bytes());
    hasher.update(records);
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// `None` if the block is damaged; some of its effects may have been passed on then.
fn read_block(key: BlockKey, block: &[u8], each: &mut impl FnMut(&RecordedEffect)) -> Option<()> {
    let (said, records) = block.split_first_chunk::<CHECK_BYTES>()?;
    if *said != check(key, records) {
        return None;
    }
    let (mut rest, mut sequence, mut time) = (records, 0_u64, 0_i64);
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        if *tag == COMMIT {
            sequence = sequence.wrapping_add(take_number(&mut rest)?);
            time = time.wrapping_add(take_signed(&mut rest)?);
            continue;
        }
        let place = take_place(&mut rest)?;
        let effect = match *tag {
            VOID => PlaceEffect::Void(u32::try_from(take_number(&mut rest)?).ok()?),
            CHANGE..VOID => PlaceEffect::Change(StatusChange::ALL[usize::from(*tag - CHANGE)]),
            ISSUE..CHANGE => {
                let (kind, after) = rest.split_first()?;
                rest = after;
                PlaceEffect::Issue {
                    kind: CodeKind::new(*kind)?,
                    expires_at: Timestamp(time.wrapping_add(take_signed(&mut rest)?)),
                    standing: Standing::ALL[usize::from(*tag - ISSUE)],
                }
            }
            _ => return None,
        };
        each(&RecordedEffect {
            sequence,
            decided_at: Timestamp(time),
            place,
            effect,
        });
    }
    Some(())
}

fn push_effect(out: &mut Vec<u8>, recorded: &RecordedEffect) {
    match recorded.effect {
        PlaceEffect::Issue {
            kind,
            expires_at,
            standing,
        } => {
            push_place(out, ISSUE + standing.number(), recorded.place);
            out.push(kind.number());
            push_signed(out, expires_at.0.wrapping_sub(recorded.decided_at.0));
        }
        PlaceEffect::Change(change) => push_place(out, CHANGE + change.number(), recorded.place),
        PlaceEffect::Void(count) => {
            push_place(out, VOID, recorded.place);
            push_number(out, u64::from(count));
        }
    }
}

fn push_place(out: &mut Vec<u8>, tag: u8, place: StatusRef) {
    out.push(tag);
    out.extend_from_slice(&place.list.0.to_le_bytes());
    push_number(out, u64::from(place.index));
}

fn take_place(rest: &mut &[u8]) -> Option<StatusRef> {
    let (list, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(StatusRef {
        list: ListId(u32::from_le_bytes(*list)),
        index: u32::try_from(take_number(rest)?).ok()?,
    })
}

/// LEB128.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(0x80 | (number & 0x7F) as u8);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn push_signed(out: &mut Vec<u8>, number: i64) {
    push_number(out, number.cast_unsigned() << 1 ^ (number >> 63).cast_unsigned());
}

fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    let number = take_number(rest)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for number in [0, 1, -1, 63, 64, -64, -65, 1 << 40, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            push_signed(&mut bytes, number);
            let mut rest = bytes.as_slice();
            assert_eq!((take_signed(&mut rest), rest), (Some(number), &[][..]), "{number}");
            assert_eq!(take_signed(&mut &bytes[..bytes.len() - 1]), None, "{number} is cut off");
        }
    }

    #[test]
    fn a_changed_byte_of_a_block_is_found() {
        let mut block = Block::begin(3);
        block.push_commit(17, 1_661_904_000);
        let place = StatusRef {
            list: ListId(0x0302_0010),
            index: 70_000,
        };
        push_place(&mut block.records, CHANGE + 3, place);
        let key = (3, block.first);
        let mut bytes = check(key, &block.records).to_vec();
        bytes.extend_from_slice(&block.records);
        let mut seen = Vec::new();
        assert_eq!(read_block(key, &bytes, &mut |effect| seen.push(*effect)), Some(()));
        let effect = PlaceEffect::Change(StatusChange::Suspend);
        let decided_at = Timestamp(1_661_904_000);
        let sequence = 17;
        assert_eq!(
            seen,
            [RecordedEffect {
                sequence,
                decided_at,
                place,
                effect
            }]
        );
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(read_block(key, &changed, &mut |_| {}), None, "byte {at}");
        }
        assert_eq!(
            read_block((3, 18), &bytes, &mut |_| {}),
            None,
            "the block of another place"
        );
    }
}
