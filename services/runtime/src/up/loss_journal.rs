//! What must survive a restore, beside the mark: which places of status lists were leased, which keys were marked as
//! compromised, and who was erased. An older log would lease the same places again, trust the key, and know the person.
//!
//! ```text
//! one line each      event <version> <type> <payload in hex> <check>
//!                    erased <holder, 32 hex digits> <check>
//! check              the first 8 hex digits of SHA-256 of the line before it
//! ```
//! Lines are only ever appended, and synced before the mark moves past them. A line that a crash cut short fails its check
//! and is left out; what it said is written again at the next start. The mark says how many lines there were and what
//! they hash to, so that a journal which is missing, older or cut short is not believed.

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

    /// The event of a line that holds one that this release reads.
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
        let said = match self {
            Self::Event {
                version,
                type_name,
                payload,
            } => format!("event {version} {type_name} {}", HEXLOWER.encode(payload)),
            Self::Erased(holder) => format!("erased {}", HolderId(*holder)),
        };
        let check = check_of(&said);
        format!("{said} {check}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let (said, check) = line.rsplit_once(' ')?;
        if check != check_of(said) {
            return None;
        }
        let mut words = said.split(' ');
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

fn check_of(said: &str) -> String {
    let mut digest = HEXLOWER.encode(&Sha256::digest(said));
    digest.truncate(CHECK_DIGITS);
    digest
}

/// Every entry of a journal in the order of the file; nothing where there is no file.
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

/// What a mark says of the journal beside it: that it begins with so many lines of this hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct JournalSeal {
    /// Lines that are whole.
    pub(super) lines: u64,
    /// SHA-256 of them, each with its line end.
    pub(super) digest: [u8; 32],
}

impl JournalSeal {
    /// Whether a journal holds at least what the mark says. It may hold more: lines are written before the mark.
    pub(super) fn is_kept_by(&self, journal: &[Entry]) -> bool {
        let Some(beginning) = usize::try_from(self.lines).ok().and_then(|lines| journal.get(..lines)) else {
            return false;
        };
        let mut sealing = Sealing::default();
        sealing.add(beginning);
        sealing.seal() == *self
    }
}

/// The seal of a journal that grows.
#[derive(Clone, Default)]
pub(super) struct Sealing {
    lines: u64,
    hasher: Sha256,
}

impl Sealing {
    /// Takes in lines that were appended.
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

/// Adds lines, durably. A line that a crash cut short before is ended first.
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

/// Gathers what belongs into the journal from the log, as it is folded.
#[derive(Default)]
pub(super) struct Recorder {
    gathered: Mutex<Vec<Entry>>,
}

impl Recorder {
    /// Everything gathered since this was last asked.
    pub(super) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.gathered.lock())
    }

    /// Puts back what could not be written.
    pub(super) fn put_back(&self, entries: Vec<Entry>) {
        self.gathered.lock().extend(entries);
    }
}

impl SystemFold for Recorder {
    fn fold_system(&self, event: &Event, _position: Position) -> Result<(), String> {
        self.gathered.lock().extend(Entry::of(event));
        Ok(())
    }

    fn fold_holder(&self, holder: HolderId, event: &Event, _position: Position) {
        if matches!(event, Event::HolderErased(_)) {
            self.gathered.lock().push(Entry::Erased(holder.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use citycode_domain::event::SigningKeyCompromised;
    use citycode_domain::ids::KeyId;

    #[test]
    fn a_journal_is_read_as_written_without_a_line_that_was_cut_short() {
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
        assert!(seal.is_kept_by(&read_back), "it went on");
        assert!(!seal.is_kept_by(&read_back[1..]) && !seal.is_kept_by(&[]));
        let text = std::fs::read_to_string(&path).expect("a text");
        for length in 0..text.len() {
            std::fs::write(&path, &text[..length]).expect("cut");
            let cut = read(&path).expect("read");
            assert!(read_back.starts_with(&cut), "{length} bytes");
            assert_eq!(seal.is_kept_by(&cut), cut.len() >= 2, "{length} bytes");
        }
    }
}
