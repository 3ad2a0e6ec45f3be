//! One recorded scan, and its encoding.
//!
//! ```text
//! number  LEB128, least significant first, at most 10 bytes
//! text    length:number bytes
//! record  second of the day:number partition:number sequence:number age_ms:number reason:number (of the protocol)
//!         code id:text (8 bytes or none) shown:text (32 bytes or none) place:text device:text scan id:text
//! chunk   records of one day, in order, each as length:number and record
//! dated   day (since 1970, UTC):number record
//! ```
//! A city's gates write a million of these per second; an ordinary one has some forty bytes.

use citycode_domain::admission::Reason;
use citycode_domain::ids::{CodeId, CommitPosition};

use citycode_wire::verdict::{reason, reason_value};

use crate::{DAY_SECONDS, RecordsError, day_of, failed};

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
    pub position: CommitPosition,
    /// Age of the knowledge, in milliseconds.
    pub age_ms: u64,
}

/// A recorded scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanRecord {
    /// The scan.
    pub scan: ScanNote<String>,
    /// HMAC of what was shown under the day's key; only for registrations.
    pub shown: Option<[u8; 32]>,
}

impl ScanNote<&str> {
    /// Copies the borrowed texts.
    pub(crate) fn into_owned(self) -> ScanNote<String> {
        ScanNote {
            at: self.at,
            place: self.place.to_owned(),
            device: self.device.to_owned(),
            scan_id: self.scan_id.to_owned(),
            code_id: self.code_id,
            reason: self.reason,
            position: self.position,
            age_ms: self.age_ms,
        }
    }
}

impl<T: AsRef<str>> ScanNote<T> {
    /// Appends the encoding; `shown` as in [`ScanRecord::shown`].
    pub(crate) fn write(&self, shown: Option<&[u8; 32]>, bytes: &mut Vec<u8>) {
        let second = self.at.rem_euclid(DAY_SECONDS).unsigned_abs();
        let reason = u64::from(reason_value(self.reason) as u32);
        let CommitPosition { partition, sequence } = self.position;
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

    /// Appends it to a chunk.
    pub(crate) fn write_to_chunk(&self, shown: Option<&[u8; 32]>, chunk: &mut Vec<u8>) {
        let start = chunk.len();
        // Nearly every record is shorter than 128 bytes, so that its length takes one byte; a longer record is
        // moved.
        chunk.push(0);
        self.write(shown, chunk);
        let length = chunk.len() - start - 1;
        if length < 0x80 {
            chunk[start] = length as u8;
        } else {
            let record = chunk.split_off(start + 1);
            chunk.truncate(start);
            write_text(&record, chunk);
        }
    }
}

fn write_text(text: &[u8], bytes: &mut Vec<u8>) {
    write_number(text.len() as u64, bytes);
    bytes.extend_from_slice(text);
}

fn write_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The remaining bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
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

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

impl ScanRecord {
    /// Parses a record of a day (days since 1970, UTC).
    pub(crate) fn read(day: u32, bytes: &[u8]) -> Result<Self, RecordsError> {
        Self::parse(day, bytes).ok_or_else(|| failed("a record has an unknown format"))
    }

    fn parse(day: u32, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let second = i64::try_from(reader.number()?)
            .ok()
            .filter(|second| *second < DAY_SECONDS)?;
        let position = CommitPosition {
            partition: u16::try_from(reader.number()?).ok()?,
            sequence: reader.number()?,
        };
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
        };
        reader.0.is_empty().then_some(Self { scan, shown })
    }

    /// Parses a record with its day.
    pub(crate) fn read_dated(bytes: &[u8]) -> Result<Self, RecordsError> {
        let mut reader = Reader(bytes);
        let day = reader.number().and_then(|day| u32::try_from(day).ok());
        Self::read(day.ok_or_else(|| failed("a record has an unknown format"))?, reader.0)
    }

    /// Parses the records of a chunk, in order.
    pub(crate) fn read_chunk(day: u32, chunk: &[u8]) -> Result<Vec<Self>, RecordsError> {
        let mut reader = Reader(chunk);
        let mut records = Vec::new();
        while !reader.0.is_empty() {
            let record = reader.bytes().ok_or_else(|| failed("a chunk has an unknown format"))?;
            records.push(Self::read(day, record)?);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_DAY: u32 = 19_235;

    fn note() -> ScanNote<&'static str> {
        ScanNote {
            at: 1_661_904_000,
            place: "sampling_desk",
            device: "desk-1",
            scan_id: "7",
            code_id: Some(CodeId([0xAB; 8])),
            reason: Reason::Ok,
            position: CommitPosition {
                partition: 3,
                sequence: 9,
            },
            age_ms: 12,
        }
    }

    #[test]
    fn every_reason_and_the_longest_texts_and_numbers_read_back() {
        let long = "长".repeat(2_000);
        for reason in Reason::ALL {
            let note = ScanNote {
                scan_id: long.as_str(),
                reason,
                position: CommitPosition {
                    partition: u16::MAX,
                    sequence: u64::MAX,
                },
                age_ms: u64::MAX,
                ..note()
            };
            let mut chunk = Vec::new();
            note.write_to_chunk(None, &mut chunk);
            note.write_to_chunk(None, &mut chunk);
            let records = ScanRecord::read_chunk(START_DAY, &chunk).expect("reads");
            assert_eq!(
                records.into_iter().map(|record| record.scan).collect::<Vec<_>>(),
                [note.into_owned(), note.into_owned()]
            );
        }
    }

    #[test]
    fn a_chunk_reads_back_and_a_damaged_one_is_refused_without_panic() {
        let mut chunk = Vec::new();
        note().write_to_chunk(Some(&[5; 32]), &mut chunk);
        ScanNote {
            code_id: None,
            scan_id: "",
            reason: Reason::Unreadable,
            ..note()
        }
        .write_to_chunk(None, &mut chunk);
        let records = ScanRecord::read_chunk(START_DAY, &chunk).expect("reads");
        assert_eq!(records.len(), 2);
        assert_eq!(
            (&records[0].scan, records[0].shown),
            (&note().into_owned(), Some([5; 32]))
        );
        assert_eq!(
            (records[1].scan.code_id, records[1].scan.reason),
            (None, Reason::Unreadable)
        );
        for length in 0..chunk.len() {
            let cut = ScanRecord::read_chunk(START_DAY, &chunk[..length]);
            assert!(cut.map_or(true, |records| records.len() < 2), "truncated to {length}");
        }
        for at in 0..chunk.len() {
            let mut damaged = chunk.clone();
            damaged[at] ^= 0xFF;
            // Parsing terminates whatever the bytes are.
            let _ = ScanRecord::read_chunk(START_DAY, &damaged);
        }
    }
}
