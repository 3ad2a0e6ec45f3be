//! A journal next to the mark of the facts that must survive the restore of an older log: leased indices of status
//! lists, compromised keys, and erased holders. The older log would lease the same indices again, trust the key, and
//! contain the person.
//!
//! ```text
//! one line each      event <version> <type> <payload in hex> <check>
//!                    erased <holder, 32 hex digits> <check>
//! check              the first 8 hex digits of SHA-256 of the line before it
//! ```
//! The file is append-only, and lines are synced before the mark moves past them. A line truncated by a crash fails its
//! check and is ignored; the next start writes it again. The mark contains the number of lines and their hash, so that
//! a missing, older or truncated journal is detected.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::Bytes;
use citycode_domain::event::Event;
use citycode_domain::ids::HolderId;
use citycode_event_store::Position;
use citycode_log_folds::SystemFold;
use citycode_service_kit::files;
use citycode_wire::event;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

const CHECK_DIGITS: usize = 8;

/// One line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Entry {
    /// A lease or a compromised key, as the log records it.
    Event {
        /// Version of its payload.
        version: u16,
        /// Its type.
        type_name: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// A holder who was erased.
    Erased([u8; 16]),
}

impl Entry {
    fn of(event: &Event) -> Option<Self> {
        if !matches!(event, Event::IndexBlockLeased(_) | Event::SigningKeyCompromised(_)) {
            return None;
        }
        let (type_name, version, payload) = event::encode(event);
        Some(Self::Event {
            version,
            type_name: type_name.to_owned(),
            payload,
        })
    }

    /// The event of the line, if this release can decode it.
    pub(super) fn event(&self) -> Option<Event> {
        match self {
            Self::Event {
                version,
                type_name,
                payload,
            } => event::decode(type_name, *version, &Bytes::copy_from_slice(payload)).ok(),
            Self::Erased(_) => None,
        }
    }

    fn to_line(&self) -> String {
        let text = match self {
            Self::Event {
                version,
                type_name,
                payload,
            } => format!("event {version} {type_name} {}", HEXLOWER.encode(payload)),
            Self::Erased(holder) => format!("erased {}", HolderId(*holder)),
        };
        let check = check_of(&text);
        format!("{text} {check}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let (text, check) = line.rsplit_once(' ')?;
        if check != check_of(text) {
            return None;
        }
        let mut words = text.split(' ');
        match words.next()? {
            "event" => Some(Self::Event {
                version: words.next()?.parse().ok()?,
                type_name: words.next()?.to_owned(),
                payload: HEXLOWER_PERMISSIVE.decode(words.next()?.as_bytes()).ok()?,
            }),
            "erased" => Some(Self::Erased(HolderId::from_hex(words.next()?)?.0)),
            _ => None,
        }
    }
}

fn check_of(text: &str) -> String {
    let mut digest = HEXLOWER.encode(&Sha256::digest(text));
    digest.truncate(CHECK_DIGITS);
    digest
}

/// Every entry of a journal in the order of the file; empty if there is no file.
///
/// # Errors
/// The file system's.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<Entry>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(Entry::parse).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The mark's record of the journal: it starts with so many lines of this hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct JournalSeal {
    /// Number of complete lines.
    pub(super) lines: u64,
    /// SHA-256 of these lines, each with its line end.
    pub(super) digest: [u8; 32],
}

impl JournalSeal {
    /// Whether a journal starts with the recorded lines. It may have more, because lines are written before the mark.
    pub(super) fn is_prefix_of(&self, journal: &[Entry]) -> bool {
        let Some(prefix) = usize::try_from(self.lines).ok().and_then(|lines| journal.get(..lines)) else {
            return false;
        };
        let mut sealing = Sealing::default();
        sealing.add(prefix);
        sealing.seal() == *self
    }
}

/// The seal of a journal, updated incrementally.
#[derive(Clone, Default)]
pub(super) struct Sealing {
    lines: u64,
    hasher: Sha256,
}

impl Sealing {
    /// Adds appended lines.
    pub(super) fn add(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.lines += 1;
            self.hasher.update(entry.to_line());
        }
    }

    pub(super) fn seal(&self) -> JournalSeal {
        JournalSeal {
            lines: self.lines,
            digest: self.hasher.clone().finalize().into(),
        }
    }
}

/// Appends lines durably, after a line end that terminates a truncated line of an earlier crash.
///
/// # Errors
/// The file system's.
pub(super) fn append(path: &Path, entries: &[Entry]) -> std::io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .append(true)
        .create(true)
        .mode(files::PRIVATE_FILE_MODE)
        .open(path)?;
    let lines: String = entries.iter().map(Entry::to_line).collect();
    file.write_all(format!("\n{lines}").as_bytes())?;
    file.sync_data()
}

/// Collects the entries of the journal while the log is folded.
#[derive(Default)]
pub(super) struct Recorder {
    entries: Mutex<Vec<Entry>>,
}

impl Recorder {
    /// Removes and returns the collected entries.
    pub(super) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.entries.lock())
    }

    /// Puts back entries that could not be written.
    pub(super) fn put_back(&self, entries: Vec<Entry>) {
        self.entries.lock().extend(entries);
    }
}

impl SystemFold for Recorder {
    fn fold_system(&self, event: &Event, _position: Position) -> Result<(), String> {
        self.entries.lock().extend(Entry::of(event));
        Ok(())
    }

    fn fold_holder(&self, holder: HolderId, event: &Event, _position: Position) {
        if matches!(event, Event::HolderErased(_)) {
            self.entries.lock().push(Entry::Erased(holder.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use citycode_domain::event::SigningKeyCompromised;
    use citycode_domain::ids::KeyId;

    #[test]
    fn a_journal_is_read_as_written_without_a_truncated_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        assert!(read(&path).expect("none").is_empty());
        let event = Event::SigningKeyCompromised(SigningKeyCompromised {
            key_id: KeyId([1, 2, 3, 4]),
        });
        let entries = [Entry::of(&event).expect("kept"), Entry::Erased([9; 16])];
        append(&path, &entries).expect("written");
        append(&path, &[Entry::Erased([8; 16])]).expect("appended");
        let read_back = read(&path).expect("read");
        assert_eq!(
            read_back,
            [entries[0].clone(), entries[1].clone(), Entry::Erased([8; 16])]
        );
        assert_eq!(entries.iter().find_map(Entry::event), Some(event));
        let mut sealing = Sealing::default();
        sealing.add(&entries);
        let seal = sealing.seal();
        assert!(seal.is_prefix_of(&read_back), "later lines are allowed");
        assert!(!seal.is_prefix_of(&read_back[1..]) && !seal.is_prefix_of(&[]));
        let text = std::fs::read_to_string(&path).expect("a text");
        for length in 0..text.len() {
            std::fs::write(&path, &text[..length]).expect("truncated");
            let truncated = read(&path).expect("read");
            assert!(read_back.starts_with(&truncated), "{length} bytes");
            assert_eq!(seal.is_prefix_of(&truncated), truncated.len() >= 2, "{length} bytes");
        }
    }
}
