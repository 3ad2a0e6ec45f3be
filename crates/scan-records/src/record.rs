//! One recorded scan, and the encoding of a single record, version 1.
//!
//! ```text
//! number  LEB128, least significant first, at most 10 bytes
//! text    length:number bytes
//! record  second of the day:number partition:number sequence:number age_ms:number reason:number (of the protocol)
//!         code id:text (8 bytes or none) shown:text (32 bytes or none) place:text device:text scan id:text
//! single  record, or 86,400:number and a chunk of version 2 with one record
//! dated   day (since 1970, UTC):number single
//! ```
//! A record of version 1 lacks the basis of its verdict. A single record is written in version 2 if it has a basis;
//! programs that know only version 1 refuse it, because no day has a second 86,400. Chunks are in `chunk.rs`.

use std::sync::Arc;

use citycode_domain::admission::{IdCheck, ProofState, Reason};
use citycode_domain::ids::{CodeId, CodeKind, PolicyDigest, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;

use citycode_wire::verdict::{reason, reason_value};

use crate::chunk::{Chunk, read_chunk};
use crate::{DAY_SECONDS, RecordsError, day_of, failed};

/// The second of the day that marks a single record of version 2.
const VERSION_2_MARK: u64 = DAY_SECONDS.unsigned_abs();

/// What is recorded of one scan, with borrowed or owned texts. It contains no ID number and no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanNote<T> {
    /// Time in Unix seconds.
    pub at: i64,
    /// The place.
    pub place: T,
    /// The device.
    pub device: T,
    /// The device's own id of the scan; empty if it has none.
    pub scan_id: T,
    /// The code; `None` if none was read.
    pub code_id: Option<CodeId>,
    /// The reason of the verdict.
    pub reason: Reason,
    /// The commit on which the verdict is based.
    pub position: Position,
    /// Age of the knowledge, in milliseconds.
    pub age_ms: u64,
    /// What is needed to recompute the verdict; `None` in records of earlier releases, and in entries that are not
    /// verdicts.
    pub basis: Option<Basis>,
}

/// What a verdict was based on and the log does not contain. The verdict can be recomputed from it and the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Basis {
    /// The policy under which the scan was judged.
    pub policy: PolicyDigest,
    /// What was shown, and what was checked on it.
    pub shown: ShownEvidence,
    /// The last commit that changed the signing keys, as a sequence of their partition; 0 if there was none.
    pub keys_sequence: u64,
    /// Age of the knowledge of the partition of the signing keys, in milliseconds.
    pub keys_age_ms: u64,
    /// Age of the knowledge of the code's or the holder's partition, in milliseconds.
    pub code_age_ms: u64,
    /// Whether a foreign message confined the code's or the holder's bucket, so that nothing could be proved about it.
    pub confined: bool,
    /// Whether the code was older than the verifier admits without witnesses, and no witnessed checkpoint covered its
    /// birth, so that nothing could be proved about it.
    pub unwitnessed: bool,
    /// Whether the verifier's clock was trusted.
    pub clock_trusted: bool,
    /// The claims of a code that the log did not have with these claims, as far as it was known; the claims of other
    /// codes are in the log.
    pub not_in_log: Option<NotInLog>,
}

/// A code with a valid signature whose claims were not in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotInLog {
    /// Its kind.
    pub kind: CodeKind,
    /// Start of its validity.
    pub issued_at: Timestamp,
    /// Its expiry.
    pub expires_at: Timestamp,
    /// Its place in a status list.
    pub place: StatusRef,
    /// How far the knowledge reached if the log had no code at that place: every code issued before this instant was
    /// known, and none if it is the earliest instant. `None` if the log had another code there.
    pub reaches: Option<Timestamp>,
}

impl Basis {
    /// Age of the knowledge, which is that of the older partition. A verdict without a code depends on no signing key.
    #[must_use]
    pub fn age_ms(&self) -> u64 {
        match self.shown {
            ShownEvidence::Code { .. } => self.code_age_ms.max(self.keys_age_ms),
            ShownEvidence::Unread | ShownEvidence::Card { .. } => self.code_age_ms,
        }
    }
}

/// What was shown at a scan. It never contains a number or a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShownEvidence {
    /// No code of this city could be read.
    Unread,
    /// A code with a valid signature.
    Code {
        /// The first 16 bytes of the digest of its claims.
        claims: [u8; 16],
        /// The result of checking the phone's proof.
        proof: ProofState,
        /// The result of comparing the ID card that was read with it.
        id_check: IdCheck,
    },
    /// An ID card on its own.
    Card {
        /// The standing that was used.
        standing: Standing,
    },
}

/// A recorded scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanRecord {
    /// The scan. The texts of places and devices are shared by the records of a chunk.
    pub scan: ScanNote<Arc<str>>,
    /// HMAC of what was shown under the day's key; only for registrations.
    pub shown: Option<[u8; 32]>,
}

impl ScanNote<&str> {
    /// Copies the borrowed texts.
    pub(crate) fn into_owned(self) -> ScanNote<Arc<str>> {
        ScanNote {
            at: self.at,
            place: self.place.into(),
            device: self.device.into(),
            scan_id: self.scan_id.into(),
            code_id: self.code_id,
            reason: self.reason,
            position: self.position,
            age_ms: self.age_ms,
            basis: self.basis,
        }
    }
}

impl<T: AsRef<str>> ScanNote<T> {
    /// Appends the encoding of a single record; `shown` as in [`ScanRecord::shown`].
    pub(crate) fn write(&self, shown: Option<&[u8; 32]>, bytes: &mut Vec<u8>) {
        if self.basis.is_some() {
            write_number(VERSION_2_MARK, bytes);
            let mut chunk = Chunk::default();
            chunk.push(self, shown);
            bytes.extend_from_slice(chunk.bytes());
            return;
        }
        let second = self.at.rem_euclid(DAY_SECONDS).unsigned_abs();
        let reason = u64::from(reason_value(self.reason) as u32);
        let (partition, sequence) = self.position.parts();
        for number in [second, u64::from(partition), sequence, self.age_ms, reason] {
            write_number(number, bytes);
        }
        write_text(self.code_id.as_ref().map_or(&[], |code_id| &code_id.0), bytes);
        write_text(shown.map_or(&[], |shown| shown), bytes);
        for text in [&self.place, &self.device, &self.scan_id] {
            write_text(text.as_ref().as_bytes(), bytes);
        }
    }

    /// Appends its day and its encoding, for a record that may be stored with those of the next day.
    pub(crate) fn write_dated(&self, shown: Option<&[u8; 32]>, bytes: &mut Vec<u8>) -> Result<(), RecordsError> {
        write_number(u64::from(day_of(self.at)?), bytes);
        self.write(shown, bytes);
        Ok(())
    }
}

pub(crate) fn write_text(text: &[u8], bytes: &mut Vec<u8>) {
    write_number(text.len() as u64, bytes);
    bytes.extend_from_slice(text);
}

pub(crate) fn write_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The remaining bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let part = u64::from(byte & 0x7F);
            // The tenth byte may have only one bit.
            (part << shift >> shift == part).then_some(())?;
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Arc::from)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
}

impl ScanRecord {
    /// Parses a single record of a day (days since 1970, UTC).
    pub(crate) fn read(day: u32, bytes: &[u8]) -> Result<Self, RecordsError> {
        let mut reader = Reader(bytes);
        if reader.number() == Some(VERSION_2_MARK) {
            let [record] = <[Self; 1]>::try_from(read_chunk(day, reader.0)?).map_err(|_| unknown_format())?;
            return Ok(record);
        }
        Self::read_version_1(day, bytes).ok_or_else(unknown_format)
    }

    pub(crate) fn read_version_1(day: u32, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let second = i64::try_from(reader.number()?)
            .ok()
            .filter(|second| *second < DAY_SECONDS)?;
        let position = Position::new(u16::try_from(reader.number()?).ok()?, reader.number()?);
        let age_ms = reader.number()?;
        let reason = reason(i32::try_from(reader.number()?).ok()?)?;
        let code_id = match reader.bytes()? {
            [] => None,
            bytes => Some(CodeId(bytes.try_into().ok()?)),
        };
        let shown = match reader.bytes()? {
            [] => None,
            bytes => Some(bytes.try_into().ok()?),
        };
        let scan = ScanNote {
            at: i64::from(day) * DAY_SECONDS + second,
            place: reader.text()?,
            device: reader.text()?,
            scan_id: reader.text()?,
            code_id,
            reason,
            position,
            age_ms,
            basis: None,
        };
        reader.0.is_empty().then_some(Self { scan, shown })
    }

    /// Parses a single record with its day.
    pub(crate) fn read_dated(bytes: &[u8]) -> Result<Self, RecordsError> {
        let mut reader = Reader(bytes);
        let day = reader.number().and_then(|day| u32::try_from(day).ok());
        Self::read(day.ok_or_else(unknown_format)?, reader.0)
    }
}

pub(crate) fn unknown_format() -> RecordsError {
    failed("a record has an unknown format")
}
