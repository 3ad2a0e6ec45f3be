//! One scan as it is kept, and its bytes.
//!
//! ```text
//! record  at:i64 partition:u16 sequence:u64 age_ms:u64 shown:32, then place, device, scan id, code id (8 bytes or none)
//!         and the reason's word, each as length:u16 bytes; big-endian
//! chunk   records of one day, in order, each as length:u32 (big-endian) and record
//! ```

use citycode_domain::admission::Reason;
use citycode_domain::ids::{CodeId, CommitPosition};

use super::RecordsError;

/// What is recorded of one scan. No ID number, no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanNote<'a> {
    /// When, in Unix seconds.
    pub at: i64,
    /// Where.
    pub place: &'a str,
    /// By which device.
    pub device: &'a str,
    /// The device's own name for the scan; empty for none.
    pub scan_id: &'a str,
    /// The code; none where none was read.
    pub code_id: Option<CodeId>,
    /// Why the verdict was what it was.
    pub reason: Reason,
    /// The commit that the verdict rested on.
    pub position: CommitPosition,
    /// How old the knowledge was, in milliseconds.
    pub age_ms: u64,
}

/// A [`ScanNote`] as it was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanRecord {
    /// When, in Unix seconds.
    pub at: i64,
    /// Where.
    pub place: String,
    /// By which device.
    pub device: String,
    /// The device's own name for the scan; empty for none.
    pub scan_id: String,
    /// The code; none where none was read.
    pub code_id: Option<CodeId>,
    /// Why the verdict was what it was.
    pub reason: Reason,
    /// The commit that the verdict rested on.
    pub position: CommitPosition,
    /// How old the knowledge was, in milliseconds.
    pub age_ms: u64,
    /// HMAC of what was shown under the day's key, in registrations; zeros in other scans.
    pub shown: [u8; 32],
}

impl ScanNote<'_> {
    /// To be kept longer than what it borrows.
    pub(super) fn to_record(self) -> ScanRecord {
        ScanRecord {
            at: self.at,
            place: self.place.to_owned(),
            device: self.device.to_owned(),
            scan_id: self.scan_id.to_owned(),
            code_id: self.code_id,
            reason: self.reason,
            position: self.position,
            age_ms: self.age_ms,
            shown: [0; 32],
        }
    }

    /// Appends its bytes, with `shown` as [`ScanRecord::shown`] has it.
    pub(super) fn write(&self, shown: &[u8; 32], bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.at.to_be_bytes());
        bytes.extend_from_slice(&self.position.partition.to_be_bytes());
        bytes.extend_from_slice(&self.position.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.age_ms.to_be_bytes());
        bytes.extend_from_slice(shown);
        for text in [self.place, self.device, self.scan_id] {
            write_text(text.as_bytes(), bytes);
        }
        write_text(self.code_id.as_ref().map_or(&[], |code_id| &code_id.0), bytes);
        write_text(self.reason.name().as_bytes(), bytes);
    }

    /// Appends it to a chunk.
    pub(super) fn write_to_chunk(&self, shown: &[u8; 32], chunk: &mut Vec<u8>) {
        let start = chunk.len();
        chunk.extend_from_slice(&[0; 4]);
        self.write(shown, chunk);
        let length = u32::try_from(chunk.len() - start - 4).expect("five texts of at most 65,535 bytes");
        chunk[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// A text of at most 65,535 bytes; requests bound theirs far below.
fn write_text(text: &[u8], bytes: &mut Vec<u8>) {
    let text = &text[..text.len().min(usize::from(u16::MAX))];
    bytes.extend_from_slice(&u16::try_from(text.len()).expect("cut to 65,535").to_be_bytes());
    bytes.extend_from_slice(text);
}

impl ScanRecord {
    /// As it was noted.
    pub(super) fn note(&self) -> ScanNote<'_> {
        ScanNote {
            at: self.at,
            place: &self.place,
            device: &self.device,
            scan_id: &self.scan_id,
            code_id: self.code_id,
            reason: self.reason,
            position: self.position,
            age_ms: self.age_ms,
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, RecordsError> {
        Self::parse(bytes).ok_or_else(|| RecordsError("a record of another form".into()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (age_ms, rest) = rest.split_first_chunk()?;
        let (shown, mut rest) = rest.split_first_chunk()?;
        let mut texts = [&[][..]; 5];
        for text in &mut texts {
            let (length, after) = rest.split_first_chunk()?;
            (*text, rest) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        }
        let [place, device, scan_id, code_id, reason] = texts;
        let owned = |text: &[u8]| String::from_utf8(text.to_vec()).ok();
        rest.is_empty().then_some(Self {
            at: i64::from_be_bytes(*at),
            place: owned(place)?,
            device: owned(device)?,
            scan_id: owned(scan_id)?,
            code_id: match code_id {
                [] => None,
                bytes => Some(CodeId(bytes.try_into().ok()?)),
            },
            reason: Reason::ALL
                .into_iter()
                .find(|known| known.name().as_bytes() == reason)?,
            position: CommitPosition {
                partition: u16::from_be_bytes(*partition),
                sequence: u64::from_be_bytes(*sequence),
            },
            age_ms: u64::from_be_bytes(*age_ms),
            shown: *shown,
        })
    }

    /// The records of a chunk, in order.
    pub(super) fn read_chunk(mut chunk: &[u8]) -> Result<Vec<Self>, RecordsError> {
        let mut records = Vec::new();
        while !chunk.is_empty() {
            let cut = chunk.split_first_chunk().and_then(|(length, rest)| {
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                rest.split_at_checked(length)
            });
            let (record, rest) = cut.ok_or_else(|| RecordsError("a chunk of another form".into()))?;
            records.push(Self::read(record)?);
            chunk = rest;
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> ScanNote<'static> {
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
    fn a_chunk_reads_back_and_a_damaged_one_is_refused_without_panic() {
        let mut chunk = Vec::new();
        note().write_to_chunk(&[5; 32], &mut chunk);
        ScanNote {
            code_id: None,
            scan_id: "",
            reason: Reason::Unreadable,
            ..note()
        }
        .write_to_chunk(&[0; 32], &mut chunk);
        let records = ScanRecord::read_chunk(&chunk).expect("reads");
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].note(), records[0].shown), (note(), [5; 32]));
        assert_eq!((records[1].code_id, records[1].reason), (None, Reason::Unreadable));
        for length in 0..chunk.len() {
            let cut = ScanRecord::read_chunk(&chunk[..length]);
            assert!(cut.map_or(true, |records| records.len() < 2), "cut to {length}");
        }
        for at in 0..chunk.len() {
            let mut damaged = chunk.clone();
            damaged[at] ^= 0xFF;
            // Whatever it says now, reading it ends.
            let _ = ScanRecord::read_chunk(&damaged);
        }
    }
}
