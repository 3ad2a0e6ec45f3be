//! The high-water mark of the log and the scan records, stored outside the data folder so that a restore does not
//! revert it.
//!
//! A log that was restored from a backup looks complete, and only the mark shows that it was longer. The mark is
//! written at most once a second and only for durable commits, so that a crash never leaves it ahead of the log.
//!
//! ```text
//! MARKS/LOGID            the mark, replaced atomically
//!     citycode mark
//!     format 1
//!     log_id <32 hex digits>
//!     journal <lines> <SHA-256 of these lines, 64 hex digits>     the journal's first lines; not in older marks
//!     scans <writes> <newest day, days since 1970>     extent of the scan records; not in older marks
//!     partition <number> <sequence> <hash, 64 hex digits> <decided at, Unix seconds>     for each one with a commit
//!     checksum <64 hex digits: SHA-256 of all lines before this one>
//! MARKS/LOGID.journal    facts that must survive a restore; see `loss_journal`
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use citycode_event_store::{EventStore, LogId, LogPosition, Partition, Position, ReadError, Sequence};
use citycode_scan_records::embedded::Extent;
use citycode_service_kit::files::{self, FileError};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256};

use super::loss_journal::JournalSeal;

const TITLE: &str = "citycode mark";
/// The format that this program writes, and the newest that it reads.
const FORMAT: u32 = 1;
const CHECKSUM: &str = "checksum ";
const JOURNAL: &str = "journal ";
const SCANS: &str = "scans ";

/// The default folder of marks: `$XDG_STATE_HOME/citycode/marks`, or the same below `~/.local/state`.
#[must_use]
pub(super) fn default_folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("citycode/marks"))
}

/// The last durable commit of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MarkPoint {
    pub(super) partition: Partition,
    pub(super) sequence: Sequence,
    pub(super) hash: [u8; 32],
    /// Unix seconds.
    pub(super) decided_at: i64,
}

/// The high-water mark of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) log_id: LogId,
    /// Ascending by partition; partitions without a commit are omitted.
    pub(super) points: Vec<MarkPoint>,
    /// The first lines of the journal.
    pub(super) journal: Option<JournalSeal>,
    /// The extent of the scan records.
    pub(super) scans: Option<Extent>,
}

impl Mark {
    /// The mark at `position` of a log; everything up to it must be durable.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) async fn at(store: &dyn EventStore, position: &LogPosition) -> Result<Self, ReadError> {
        let mut points = Vec::new();
        for (partition, sequence) in position.iter() {
            let at = Position { partition, sequence };
            if let Some(commit) = store.read_at(at).await? {
                points.push(MarkPoint {
                    partition,
                    sequence,
                    hash: commit.hash.0,
                    decided_at: commit.commit.decided_at,
                });
            }
        }
        Ok(Self {
            log_id: store.log_id(),
            points,
            journal: None,
            scans: None,
        })
    }

    /// Reads a mark; none if there is no file, or, with a warning, if it is damaged or of another log.
    pub(super) fn read(path: &Path, log_id: LogId) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let mark = Self::parse(&text).filter(|mark| mark.log_id == log_id);
        if mark.is_none() {
            tracing::warn!(file = %path.display(), "the mark of this log is damaged, and is not used");
        }
        mark
    }

    fn parse(text: &str) -> Option<Self> {
        let start = text.rfind(CHECKSUM)?;
        let (body, checksum) = text.split_at(start);
        if checksum.trim_end().strip_prefix(CHECKSUM)? != HEXLOWER.encode(&Sha256::digest(body)) {
            return None;
        }
        let mut lines = body.lines();
        let format = lines.next().filter(|title| *title == TITLE).and(lines.next())?;
        let format: u32 = format.strip_prefix("format ")?.parse().ok()?;
        if format != FORMAT {
            return None;
        }
        let log_id = super::parse_log_id(lines.next()?.strip_prefix("log_id ")?)?;
        let mut lines = lines.peekable();
        let journal = match lines.next_if(|line| line.starts_with(JOURNAL)) {
            Some(line) => Some(journal_seal(line)?),
            None => None,
        };
        let scans = match lines.next_if(|line| line.starts_with(SCANS)) {
            Some(line) => Some(extent(line)?),
            None => None,
        };
        let points = lines.map(point).collect::<Option<_>>()?;
        Some(Self {
            log_id,
            points,
            journal,
            scans,
        })
    }

    fn to_text(&self) -> String {
        let mut body = format!("{TITLE}\nformat {FORMAT}\nlog_id {}\n", self.log_id);
        if let Some(seal) = &self.journal {
            let _ = writeln!(body, "{JOURNAL}{} {}", seal.lines, HEXLOWER.encode(&seal.digest));
        }
        if let Some(Extent { writes, day }) = self.scans {
            let _ = writeln!(body, "{SCANS}{writes} {day}");
        }
        for point in &self.points {
            let (hash, at) = (HEXLOWER.encode(&point.hash), point.decided_at);
            let _ = writeln!(body, "partition {} {} {hash} {at}", point.partition.0, point.sequence.0);
        }
        let checksum = HEXLOWER.encode(&Sha256::digest(&body));
        format!("{body}{CHECKSUM}{checksum}\n")
    }

    /// Replaces the file durably.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        files::write_atomic(path, self.to_text().as_bytes(), files::PRIVATE_FILE_MODE)
    }
}

fn journal_seal(line: &str) -> Option<JournalSeal> {
    let (lines, digest) = line.strip_prefix(JOURNAL)?.split_once(' ')?;
    Some(JournalSeal {
        lines: lines.parse().ok()?,
        digest: HEXLOWER_PERMISSIVE.decode(digest.as_bytes()).ok()?.try_into().ok()?,
    })
}

fn extent(line: &str) -> Option<Extent> {
    let (writes, day) = line.strip_prefix(SCANS)?.split_once(' ')?;
    Some(Extent {
        writes: writes.parse().ok()?,
        day: day.parse().ok()?,
    })
}

fn point(line: &str) -> Option<MarkPoint> {
    let mut words = line.strip_prefix("partition ")?.split(' ');
    let point = MarkPoint {
        partition: Partition(words.next()?.parse().ok()?),
        sequence: Sequence(words.next()?.parse().ok()?),
        hash: HEXLOWER_PERMISSIVE
            .decode(words.next()?.as_bytes())
            .ok()?
            .try_into()
            .ok()?,
        decided_at: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_written_and_a_flipped_byte_is_detected() {
        let mark = Mark {
            log_id: LogId([7; 16]),
            points: vec![MarkPoint {
                partition: Partition(3),
                sequence: Sequence(12),
                hash: [0xab; 32],
                decided_at: 1_661_904_000,
            }],
            journal: Some(JournalSeal {
                lines: 2,
                digest: [0xcd; 32],
            }),
            scans: Some(Extent { writes: 9, day: 19_000 }),
        };
        let older = Mark {
            journal: None,
            scans: None,
            ..mark.clone()
        };
        assert_eq!(Mark::parse(&older.to_text()), Some(older));
        let text = mark.to_text();
        assert_eq!(Mark::parse(&text), Some(mark));
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let flipped = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(Mark::parse(&flipped), None, "byte {at}");
        }
    }
}
