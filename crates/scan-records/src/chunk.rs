//! A chunk: the records of one writer and day, in order, encoded together.
//!
//! ```text
//! chunk    0:u8 version:u8(2) entry…
//! entry    context:number [policy:32 place:text device:text]     present if `context` is the number of contexts so far
//!          flags:u8          1 a code id, 2 shown, 4 a basis
//!          second:signed     of the day, minus that of the entry before
//!          reason:number     of the protocol
//!          scan id:text [code id:8] [shown:32]
//!          partition:number sequence:number age:number
//!          [basis]
//! basis    evidence:u8       bits 0-1 what was shown (0 unread, 1 code, 2 card), 2 trusted clock, 3 confined,
//!                            4-5 claims (0 in the log, or else 1 known up to an instant, 2 nothing known, 3 another code),
//!                            6 unwitnessed
//!          code: claims:16 checks:u8 (bits 0-1 proof, 2-3 ID card); card: standing:u8
//!          keys sequence:signed, minus that of the basis before; keys age:number
//!          [kind:u8 list:u32 index:u32 (big-endian)                          claims that are not in the log
//!           the record's time minus issued at:signed expires at minus issued at:signed
//!           [the record's time minus reaches:signed]]
//! signed   zigzag number
//! ```
//! `age` is that of the code's partition. Numbers and texts are as in `record.rs`. An ordinary record has some fifty
//! bytes, because policy, place and device are written once in a chunk. A city's gates write a million records per second.
//!
//! A chunk of version 1 is a sequence of records of version 1, each as length:number and record; it does not begin with
//! a zero byte, because no record is empty.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use citycode_domain::admission::{IdCheck, ProofState};
use citycode_domain::ids::{CodeId, CodeKind, ListId, PolicyDigest, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_wire::verdict::{reason, reason_value};

use crate::record::{
    Basis, NotInLog, Reader, ScanNote, ScanRecord, ShownEvidence, unknown_format, write_number, write_text,
};
use crate::{DAY_SECONDS, RecordsError};

const VERSION_2: [u8; 2] = [0, 2];

const HAS_CODE: u8 = 1;
const HAS_SHOWN: u8 = 2;
const HAS_BASIS: u8 = 4;

const SHOWN_CODE: u8 = 1;
const SHOWN_CARD: u8 = 2;
const SHOWN_MASK: u8 = 0b11;
const CLOCK_TRUSTED: u8 = 1 << 2;
const CONFINED: u8 = 1 << 3;
const KNOWN_UP_TO: u8 = 1 << 4;
const NOTHING_KNOWN: u8 = 2 << 4;
const ANOTHER_CODE: u8 = 3 << 4;
const CLAIMS_MASK: u8 = 0b11 << 4;
const UNWITNESSED: u8 = 1 << 6;

/// The instant that says that nothing is known (see [`NotInLog::reaches`]).
const NOTHING: Timestamp = Timestamp(i64::MIN);

const PROOFS: [ProofState; 4] = [
    ProofState::Absent,
    ProofState::BadSignature,
    ProofState::Stale,
    ProofState::Fresh,
];
const ID_CHECKS: [IdCheck; 3] = [IdCheck::None, IdCheck::Match, IdCheck::Mismatch];

/// A chunk that is being written.
#[derive(Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    contexts: Contexts,
    second: i64,
    keys_sequence: u64,
}

impl Chunk {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// The encoding so far; empty without records.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a record; `shown` as in [`ScanRecord::shown`].
    pub(crate) fn push<T: AsRef<str>>(&mut self, note: &ScanNote<T>, shown: Option<&[u8; 32]>) {
        let bytes = &mut self.bytes;
        if bytes.is_empty() {
            bytes.extend_from_slice(&VERSION_2);
        }
        let policy = note.basis.map_or(PolicyDigest([0; 32]), |basis| basis.policy);
        self.contexts
            .write(policy, note.place.as_ref(), note.device.as_ref(), bytes);
        let flags = [
            (note.code_id.is_some(), HAS_CODE),
            (shown.is_some(), HAS_SHOWN),
            (note.basis.is_some(), HAS_BASIS),
        ];
        bytes.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        let second = note.at.rem_euclid(DAY_SECONDS);
        write_signed(second - self.second, bytes);
        self.second = second;
        write_number(u64::from(reason_value(note.reason) as u32), bytes);
        write_text(note.scan_id.as_ref().as_bytes(), bytes);
        if let Some(code_id) = note.code_id {
            bytes.extend_from_slice(&code_id.0);
        }
        if let Some(shown) = shown {
            bytes.extend_from_slice(shown);
        }
        write_number(u64::from(note.position.partition.0), bytes);
        write_number(note.position.sequence.0, bytes);
        match &note.basis {
            Some(basis) => {
                write_number(basis.code_age_ms, bytes);
                write_basis(basis, note.at, self.keys_sequence, bytes);
                self.keys_sequence = basis.keys_sequence;
            }
            None => write_number(note.age_ms, bytes),
        }
    }
}

fn write_basis(basis: &Basis, at: i64, keys_before: u64, bytes: &mut Vec<u8>) {
    let mut evidence = match basis.shown {
        ShownEvidence::Unread => 0,
        ShownEvidence::Code { .. } => SHOWN_CODE,
        ShownEvidence::Card { .. } => SHOWN_CARD,
    };
    if basis.clock_trusted {
        evidence |= CLOCK_TRUSTED;
    }
    if basis.confined {
        evidence |= CONFINED;
    }
    if basis.unwitnessed {
        evidence |= UNWITNESSED;
    }
    evidence |= match basis.not_in_log.map(|unknown| unknown.reaches) {
        None => 0,
        Some(None) => ANOTHER_CODE,
        Some(Some(NOTHING)) => NOTHING_KNOWN,
        Some(Some(_)) => KNOWN_UP_TO,
    };
    bytes.push(evidence);
    match basis.shown {
        ShownEvidence::Unread => {}
        ShownEvidence::Code {
            claims,
            proof,
            id_check,
        } => {
            bytes.extend_from_slice(&claims);
            bytes.push(number_of(&PROOFS, &proof) | number_of(&ID_CHECKS, &id_check) << 2);
        }
        ShownEvidence::Card { standing } => bytes.push(standing.number()),
    }
    write_signed(basis.keys_sequence.wrapping_sub(keys_before).cast_signed(), bytes);
    write_number(basis.keys_age_ms, bytes);
    if let Some(unknown) = &basis.not_in_log {
        write_not_in_log(unknown, at, bytes);
    }
}

fn write_not_in_log(unknown: &NotInLog, at: i64, bytes: &mut Vec<u8>) {
    bytes.push(unknown.kind.number());
    bytes.extend_from_slice(&unknown.place.list.0.to_be_bytes());
    bytes.extend_from_slice(&unknown.place.index.to_be_bytes());
    write_signed(at.wrapping_sub(unknown.issued_at.0), bytes);
    write_signed(unknown.expires_at.0.wrapping_sub(unknown.issued_at.0), bytes);
    if let Some(reaches) = unknown.reaches.filter(|reaches| *reaches != NOTHING) {
        write_signed(at.wrapping_sub(reaches.0), bytes);
    }
}

fn number_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let number = all
        .iter()
        .position(|other| other == one)
        .expect("every value is listed");
    u8::try_from(number).expect("a handful of values")
}

fn write_signed(number: i64, bytes: &mut Vec<u8>) {
    write_number((number << 1 ^ number >> 63).cast_unsigned(), bytes);
}

fn read_signed(reader: &mut Reader<'_>) -> Option<i64> {
    let number = reader.number()?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// Policy, place and device of records, numbered in the order of their first use in the chunk.
#[derive(Default)]
struct Contexts {
    all: Vec<(PolicyDigest, Box<str>, Box<str>)>,
    /// By their hash. If two contexts have the same hash, the second is written once more at each use, which costs
    /// space and nothing else.
    numbers: HashMap<u64, usize>,
    hasher: RandomState,
    last: usize,
}

impl Contexts {
    fn write(&mut self, policy: PolicyDigest, place: &str, device: &str, bytes: &mut Vec<u8>) {
        let is = |number: usize| {
            let known = self.all.get(number);
            known.is_some_and(|(of, at, by)| **by == *device && **at == *place && *of == policy)
        };
        if is(self.last) {
            return write_number(self.last as u64, bytes);
        }
        let hash = self.hasher.hash_one((policy.0, place, device));
        if let Some(&number) = self.numbers.get(&hash)
            && is(number)
        {
            self.last = number;
            return write_number(number as u64, bytes);
        }
        let number = self.all.len();
        write_number(number as u64, bytes);
        bytes.extend_from_slice(&policy.0);
        write_text(place.as_bytes(), bytes);
        write_text(device.as_bytes(), bytes);
        self.all.push((policy, place.into(), device.into()));
        self.numbers.insert(hash, number);
        self.last = number;
    }
}

/// Encodes records of one day as a chunk; nothing if there are none. [`read_chunk`] is the inverse.
#[must_use]
pub fn write_chunk(records: &[ScanRecord]) -> Vec<u8> {
    let mut chunk = Chunk::default();
    for record in records {
        chunk.push(&record.scan, record.shown.as_ref());
    }
    chunk.bytes
}

/// Parses the records of a chunk of a day (days since 1970, UTC), in order.
///
/// # Errors
/// The format is unknown, or the chunk is damaged.
pub fn read_chunk(day: u32, chunk: &[u8]) -> Result<Vec<ScanRecord>, RecordsError> {
    let records = match chunk.split_first_chunk::<2>() {
        Some((&VERSION_2, entries)) => read_version_2(day, entries),
        _ => read_version_1(day, chunk),
    };
    records.ok_or_else(unknown_format)
}

fn read_version_1(day: u32, chunk: &[u8]) -> Option<Vec<ScanRecord>> {
    let mut reader = Reader(chunk);
    let mut records = Vec::new();
    while !reader.0.is_empty() {
        records.push(ScanRecord::read_version_1(day, reader.bytes()?)?);
    }
    Some(records)
}

/// What the entries before an entry determine.
#[derive(Default)]
struct Before {
    contexts: Vec<(PolicyDigest, Arc<str>, Arc<str>)>,
    second: i64,
    keys_sequence: u64,
}

fn read_version_2(day: u32, entries: &[u8]) -> Option<Vec<ScanRecord>> {
    let mut reader = Reader(entries);
    let mut before = Before::default();
    let mut records = Vec::new();
    while !reader.0.is_empty() {
        records.push(read_entry(day, &mut reader, &mut before)?);
    }
    Some(records)
}

fn read_entry(day: u32, reader: &mut Reader<'_>, before: &mut Before) -> Option<ScanRecord> {
    let number = usize::try_from(reader.number()?).ok()?;
    if number == before.contexts.len() {
        let context = (PolicyDigest(reader.array()?), reader.text()?, reader.text()?);
        before.contexts.push(context);
    }
    let (policy, place, device) = before.contexts.get(number)?.clone();
    let [flags] = reader.array()?;
    let second = before.second.checked_add(read_signed(reader)?)?;
    if flags & !(HAS_CODE | HAS_SHOWN | HAS_BASIS) != 0 || !(0..DAY_SECONDS).contains(&second) {
        return None;
    }
    before.second = second;
    let at = i64::from(day) * DAY_SECONDS + second;
    let reason = reason(i32::try_from(reader.number()?).ok()?)?;
    let scan_id = reader.text()?;
    let code_id = match flags & HAS_CODE {
        0 => None,
        _ => Some(CodeId(reader.array()?)),
    };
    let shown = match flags & HAS_SHOWN {
        0 => None,
        _ => Some(reader.array()?),
    };
    let position = Position::new(u16::try_from(reader.number()?).ok()?, reader.number()?);
    let code_age_ms = reader.number()?;
    let basis = match flags & HAS_BASIS {
        0 => None,
        _ => Some(read_basis(policy, at, code_age_ms, reader, before)?),
    };
    Some(ScanRecord {
        scan: ScanNote {
            at,
            place,
            device,
            scan_id,
            code_id,
            reason,
            position,
            age_ms: basis.map_or(code_age_ms, |basis| basis.age_ms()),
            basis,
        },
        shown,
    })
}

fn read_basis(
    policy: PolicyDigest,
    at: i64,
    code_age_ms: u64,
    reader: &mut Reader<'_>,
    before: &mut Before,
) -> Option<Basis> {
    let [evidence] = reader.array()?;
    if evidence & !(SHOWN_MASK | CLOCK_TRUSTED | CONFINED | CLAIMS_MASK | UNWITNESSED) != 0 {
        return None;
    }
    let shown = match evidence & SHOWN_MASK {
        0 => ShownEvidence::Unread,
        SHOWN_CODE => {
            let claims = reader.array()?;
            let [checks] = reader.array()?;
            ShownEvidence::Code {
                claims,
                proof: *PROOFS.get(usize::from(checks & 0b11))?,
                id_check: *ID_CHECKS.get(usize::from(checks >> 2))?,
            }
        }
        SHOWN_CARD => {
            let [standing] = reader.array()?;
            ShownEvidence::Card {
                standing: *Standing::ALL.get(usize::from(standing))?,
            }
        }
        _ => return None,
    };
    let keys_sequence = before.keys_sequence.wrapping_add(read_signed(reader)?.cast_unsigned());
    before.keys_sequence = keys_sequence;
    let keys_age_ms = reader.number()?;
    let not_in_log = match evidence & CLAIMS_MASK {
        0 => None,
        claims => Some(read_not_in_log(claims, at, reader)?),
    };
    Some(Basis {
        policy,
        shown,
        keys_sequence,
        keys_age_ms,
        code_age_ms,
        confined: evidence & CONFINED != 0,
        unwitnessed: evidence & UNWITNESSED != 0,
        clock_trusted: evidence & CLOCK_TRUSTED != 0,
        not_in_log,
    })
}

fn read_not_in_log(claims: u8, at: i64, reader: &mut Reader<'_>) -> Option<NotInLog> {
    let [kind] = reader.array()?;
    let place = StatusRef {
        list: ListId(u32::from_be_bytes(reader.array()?)),
        index: u32::from_be_bytes(reader.array()?),
    };
    let issued_at = at.wrapping_sub(read_signed(reader)?);
    Some(NotInLog {
        kind: CodeKind::new(kind)?,
        issued_at: Timestamp(issued_at),
        expires_at: Timestamp(issued_at.wrapping_add(read_signed(reader)?)),
        place,
        reaches: match claims {
            ANOTHER_CODE => None,
            NOTHING_KNOWN => Some(NOTHING),
            _ => Some(Timestamp(at.wrapping_sub(read_signed(reader)?))),
        },
    })
}

#[cfg(test)]
mod tests;
