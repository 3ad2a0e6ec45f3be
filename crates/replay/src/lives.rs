//! The lives of all codes in some 90 bytes for each: a city has tens of millions.
//!
//! A code is a row of 64 bytes and a change of its status one of 16, in blocks that never move, so that growing needs no
//! second copy. The changes of a code are a ring: its row has the number of the last one, which has that of the first.
//! Two tables find a code's row by its id and by its place in a status list; each has the row's number only. Instants
//! are seconds since 2000 in 32 bits, and the few that do not fit are kept apart.

use std::hash::{BuildHasher as _, RandomState};

use citycode_domain::event::CodeIssued;
use citycode_domain::ids::{CodeId, CodeKind, KeyId, ListId, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_projection::status::StatusChange;
use hashbrown::{HashMap, HashTable};

use crate::life::{Changes, CodeLife, LifeChange};

/// Rows of a block.
const BLOCK: usize = 1 << 14;
/// Bits of a sequence in the log: more commits than a log has in a thousand years.
const SEQUENCE_BITS: u32 = 48;
/// 2000-01-01T00:00:00Z.
const YEAR_2000: i64 = 946_684_800;
/// The mark of an instant that is kept apart, or of a change that does not exist.
const NONE: u32 = u32::MAX;

/// The log has more than this crate can hold, which no honest writer reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// Rows in blocks that never move, except the first one, which grows with a timeline of few codes.
struct Blocks<T>(Vec<Vec<T>>);

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Blocks<T> {
    /// Adds a row and returns its number.
    fn push(&mut self, row: T) -> Result<u32, Full> {
        if self.0.last().is_none_or(|block| block.len() == BLOCK) {
            let capacity = if self.0.is_empty() { 0 } else { BLOCK };
            self.0.push(Vec::with_capacity(capacity));
        }
        let before = (self.0.len() - 1) * BLOCK;
        let block = self.0.last_mut().expect("a block");
        let number = u32::try_from(before + block.len()).map_err(|_| Full)?;
        if number == NONE {
            return Err(Full);
        }
        block.push(row);
        Ok(number)
    }

    fn bytes(&self) -> usize {
        let rows: usize = self.0.iter().map(Vec::capacity).sum();
        rows * size_of::<T>()
    }

    fn get(&self, number: u32) -> &T {
        &self.0[number as usize / BLOCK][number as usize % BLOCK]
    }

    fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.0[number as usize / BLOCK][number as usize % BLOCK]
    }
}

/// One issued code. Fields of eight bytes are split, so that no byte is lost to alignment.
struct Row {
    code_id: [u8; 8],
    /// The first half of the digest of its claims.
    claims: [u8; 16],
    key_id: [u8; 4],
    list: u32,
    index: u32,
    /// Partition and sequence of its issue: 16 and 48 bits.
    issued: [u8; 8],
    /// Start of validity, expiry, and when the issue was decided.
    instants: [u32; 3],
    last_change: u32,
    kind: u8,
    standing: u8,
}

/// A change of the status of a code.
struct ChangeRow {
    /// The sequence in 48 bits, the change in eight, the type of the event in eight.
    packed: [u8; 8],
    decided_at: u32,
    /// The next change of the code; of its last change, the first one.
    next: u32,
}

const _: () = assert!(size_of::<Row>() == 64 && size_of::<ChangeRow>() == 16);

/// The lives of codes.
#[derive(Default)]
pub(crate) struct Lives {
    rows: Blocks<Row>,
    changes: Blocks<ChangeRow>,
    by_id: HashTable<u32>,
    by_place: HashTable<u32>,
    hasher: RandomState,
    /// The names of types of events.
    events: Vec<&'static str>,
    /// Instants of rows and of changes that do not fit into 32 bits.
    far: HashMap<u32, [Timestamp; 3], RandomState>,
    far_changes: HashMap<u32, Timestamp, RandomState>,
}

impl Lives {
    /// Adds a code. Returns whether its id was new.
    pub(crate) fn insert(&mut self, event: &CodeIssued, issued: Position, at: Timestamp) -> Result<bool, Full> {
        let code_id = event.code.code_id;
        if self.number(code_id).is_some() {
            return Ok(false);
        }
        let instants = [event.issued_at, event.expires_at, at];
        let near = instants.map(seconds);
        let StatusRef { list, index } = event.code.status;
        let (claims, _) = event
            .claims_digest
            .0
            .split_first_chunk()
            .expect("a digest has 32 bytes");
        let number = self.rows.push(Row {
            code_id: code_id.0,
            claims: *claims,
            key_id: event.key_id.0,
            list: list.0,
            index,
            issued: packed_position(issued)?,
            instants: near,
            last_change: NONE,
            kind: event.code.slot.kind.number(),
            standing: event.standing.number(),
        })?;
        if near.contains(&NONE) {
            self.far.insert(number, instants);
        }
        let Self {
            rows,
            by_id,
            by_place,
            hasher,
            ..
        } = self;
        let rehash = |number: &u32| hasher.hash_one(rows.get(*number).code_id);
        by_id.insert_unique(hasher.hash_one(code_id.0), number, rehash);
        // A place has one code; if a log gives it to a second one, the last counts.
        let place = event.code.status;
        let found = by_place.find_mut(hash_of_place(hasher, place), |number| {
            place_of(rows.get(*number)) == place
        });
        match found {
            Some(found) => *found = number,
            None => {
                let rehash = |number: &u32| hash_of_place(hasher, place_of(rows.get(*number)));
                by_place.insert_unique(hash_of_place(hasher, place), number, rehash);
            }
        }
        Ok(true)
    }

    /// Adds a change of a code. Returns whether the code is known.
    pub(crate) fn change(&mut self, code_id: CodeId, change: LifeChange) -> Result<bool, Full> {
        let Some(number) = self.number(code_id) else {
            return Ok(false);
        };
        let event = self.event_number(change.event)?;
        let last = self.rows.get(number).last_change;
        let decided_at = seconds(change.decided_at);
        let own = self.changes.push(ChangeRow {
            packed: packed(change.sequence, [change.change.number(), event])?,
            decided_at,
            next: NONE,
        })?;
        if decided_at == NONE {
            self.far_changes.insert(own, change.decided_at);
        }
        let first = if last == NONE {
            own
        } else {
            std::mem::replace(&mut self.changes.get_mut(last).next, own)
        };
        self.changes.get_mut(own).next = first;
        self.rows.get_mut(number).last_change = own;
        Ok(true)
    }

    /// Bytes of memory that the rows and the tables take.
    pub(crate) fn bytes(&self) -> usize {
        let far = self.far.allocation_size() + self.far_changes.allocation_size();
        let tables = self.by_id.allocation_size() + self.by_place.allocation_size();
        self.rows.bytes() + self.changes.bytes() + tables + far
    }

    pub(crate) fn life(&self, code_id: CodeId) -> Option<CodeLife<'_>> {
        self.number(code_id).map(|number| self.read(number))
    }

    pub(crate) fn life_at(&self, place: StatusRef) -> Option<CodeLife<'_>> {
        let hash = hash_of_place(&self.hasher, place);
        let found = self
            .by_place
            .find(hash, |number| place_of(self.rows.get(*number)) == place);
        found.map(|number| self.read(*number))
    }

    fn number(&self, code_id: CodeId) -> Option<u32> {
        let hash = self.hasher.hash_one(code_id.0);
        let found = self
            .by_id
            .find(hash, |number| self.rows.get(*number).code_id == code_id.0);
        found.copied()
    }

    fn event_number(&mut self, event: &'static str) -> Result<u8, Full> {
        let known = self.events.iter().position(|known| *known == event);
        let number = known.unwrap_or_else(|| {
            self.events.push(event);
            self.events.len() - 1
        });
        u8::try_from(number).map_err(|_| Full)
    }

    fn read(&self, number: u32) -> CodeLife<'_> {
        let row = self.rows.get(number);
        let far = row.instants.contains(&NONE).then(|| self.far[&number]);
        let [issued_at, expires_at, decided_at] = far.unwrap_or_else(|| row.instants.map(instant));
        let packed = u64::from_be_bytes(row.issued);
        let partition = (packed >> SEQUENCE_BITS) as u16;
        CodeLife {
            code_id: CodeId(row.code_id),
            kind: CodeKind::new(row.kind).expect("the number of a kind"),
            place: place_of(row),
            issued_at,
            expires_at,
            key_id: KeyId(row.key_id),
            claims: row.claims,
            issued: Position::new(partition, packed & ((1 << SEQUENCE_BITS) - 1)),
            decided_at,
            standing: Standing::ALL[usize::from(row.standing)],
            changes: Changes::of(self, row.last_change),
        }
    }

    /// The first of the changes that end with a change; `None` if there are none.
    pub(crate) fn first_change(&self, last: u32) -> Option<u32> {
        (last != NONE).then(|| self.changes.get(last).next)
    }

    /// A change, and the number of the next one.
    pub(crate) fn change_of(&self, number: u32) -> (LifeChange, u32) {
        let row = self.changes.get(number);
        let [rest @ .., change, event] = row.packed;
        let mut sequence = [0; 8];
        sequence[2..].copy_from_slice(&rest);
        let decided_at = match row.decided_at {
            NONE => self.far_changes[&number],
            near => instant(near),
        };
        let change = LifeChange {
            sequence: u64::from_be_bytes(sequence),
            decided_at,
            change: StatusChange::ALL[usize::from(change)],
            event: self.events[usize::from(event)],
        };
        (change, row.next)
    }
}

fn place_of(row: &Row) -> StatusRef {
    StatusRef {
        list: ListId(row.list),
        index: row.index,
    }
}

fn hash_of_place(hasher: &RandomState, place: StatusRef) -> u64 {
    let StatusRef { list, index } = place;
    hasher.hash_one(u64::from(list.0) << 32 | u64::from(index))
}

/// An instant in 32 bits; [`NONE`] if it does not fit.
fn seconds(at: Timestamp) -> u32 {
    let seconds = at.0.checked_sub(YEAR_2000);
    seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(NONE)
}

fn instant(seconds: u32) -> Timestamp {
    Timestamp(YEAR_2000 + i64::from(seconds))
}

fn packed_position(position: Position) -> Result<[u8; 8], Full> {
    let (partition, sequence) = position.parts();
    if sequence >> SEQUENCE_BITS > 0 {
        return Err(Full);
    }
    Ok((u64::from(partition) << SEQUENCE_BITS | sequence).to_be_bytes())
}

fn packed(sequence: u64, [change, event]: [u8; 2]) -> Result<[u8; 8], Full> {
    let [0, 0, a, b, c, d, e, f] = sequence.to_be_bytes() else {
        return Err(Full);
    };
    Ok([a, b, c, d, e, f, change, event])
}

#[cfg(test)]
mod tests {
    use citycode_domain::event::Event;

    use super::*;

    fn issued(number: u64, expires_at: i64) -> CodeIssued {
        let code = citycode_projection::bench_support::code(0, number);
        let Event::CodeIssued(mut issued) = code.issued(None) else {
            unreachable!("the event that issues a code");
        };
        issued.expires_at = Timestamp(expires_at);
        issued
    }

    fn change(sequence: u64, change: StatusChange) -> LifeChange {
        LifeChange {
            sequence,
            decided_at: Timestamp(if sequence.is_multiple_of(5) {
                i64::MIN
            } else {
                YEAR_2000 + 7
            }),
            change,
            event: ["CodeRevoked", "StandingChanged"][(sequence % 2) as usize],
        }
    }

    #[test]
    fn what_was_put_in_is_read_again() {
        let mut lives = Lives::default();
        let mut expected = std::collections::BTreeMap::<u64, Vec<LifeChange>>::new();
        let codes = 2 * BLOCK as u64 + 3;
        let expiry = |number: u64| {
            if number.is_multiple_of(100) {
                i64::MAX
            } else {
                YEAR_2000 + number as i64
            }
        };
        for number in 0..codes {
            let event = issued(number, expiry(number));
            assert_eq!(
                lives.insert(&event, Position::new(3, number + 1), Timestamp(-1)),
                Ok(true)
            );
            assert_eq!(
                lives.insert(&event, Position::new(3, 1), Timestamp(0)),
                Ok(false),
                "twice"
            );
        }
        for sequence in 0..5_000 {
            let number = sequence * sequence % 97;
            let change = change(sequence, StatusChange::ALL[(sequence % 8) as usize]);
            let code_id = issued(number, 0).code.code_id;
            assert_eq!(lives.change(code_id, change), Ok(true));
            expected.entry(number).or_default().push(change);
        }
        assert_eq!(
            lives.change(issued(codes, 0).code.code_id, change(1, StatusChange::ALL[0])),
            Ok(false),
            "unknown"
        );
        for number in 0..codes {
            let event = issued(number, expiry(number));
            let life = lives.life(event.code.code_id).expect("a life");
            assert_eq!(
                (life.code_id, life.place, life.kind),
                (event.code.code_id, event.code.status, event.code.slot.kind)
            );
            assert_eq!((life.issued_at, life.expires_at), (event.issued_at, event.expires_at));
            assert_eq!(
                (life.issued, life.decided_at),
                (Position::new(3, number + 1), Timestamp(-1))
            );
            assert_eq!(
                (life.key_id, &life.claims[..]),
                (event.key_id, &event.claims_digest.0[..16])
            );
            let changes: Vec<_> = life.changes.collect();
            assert_eq!(changes, expected.remove(&number).unwrap_or_default());
            let at = lives.life_at(event.code.status).expect("a life");
            assert_eq!(at.code_id, event.code.code_id);
        }
        assert!(lives.life(CodeId([0xEE; 8])).is_none());
    }

    /// `docs/audit.md` names this bound for codes of which each has one change.
    #[test]
    fn a_code_with_one_change_takes_at_most_a_hundred_bytes() {
        let mut lives = Lives::default();
        // The tables are as full as those of 25 or 50 million codes.
        let codes = 25_000_000 >> 7;
        for number in 0..codes {
            let event = issued(number, YEAR_2000);
            let inserted = lives.insert(&event, Position::new(0, number + 1), Timestamp(YEAR_2000));
            assert_eq!(inserted, Ok(true));
            assert_eq!(
                lives.change(event.code.code_id, change(1, StatusChange::ALL[0])),
                Ok(true)
            );
        }
        let blocks = 2 * BLOCK * (size_of::<Row>() + size_of::<ChangeRow>());
        let bytes = lives.bytes() as u64;
        assert!(
            bytes <= codes * 100 + blocks as u64,
            "{} bytes for each of {codes} codes",
            bytes / codes
        );
    }

    #[test]
    fn instants_and_positions_at_the_limits_are_kept() {
        for at in [i64::MIN, YEAR_2000 - 1, YEAR_2000 + i64::from(NONE), i64::MAX] {
            assert_eq!(seconds(Timestamp(at)), NONE, "{at}");
        }
        for at in [YEAR_2000, YEAR_2000 + i64::from(NONE) - 1] {
            assert_eq!(instant(seconds(Timestamp(at))), Timestamp(at));
        }
        assert_eq!(packed(1 << SEQUENCE_BITS, [0, 0]), Err(Full));
        assert_eq!(packed_position(Position::new(0, 1 << SEQUENCE_BITS)), Err(Full));
        let greatest = (1 << SEQUENCE_BITS) - 1;
        assert_eq!(packed(greatest, [1, 2]), Ok([255, 255, 255, 255, 255, 255, 1, 2]));
        assert_eq!(
            packed_position(Position::new(255, greatest)),
            Ok([0, 255, 255, 255, 255, 255, 255, 255])
        );
    }
}
