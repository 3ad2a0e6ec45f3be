//! The bytes of messages, and the keys that seal them.
//!
//! ```text
//! key            version:u8(1) sealed key of the day:60     sealed under the city's secret
//! scans          version:u8(1) sealed chunk                 under the day's key
//! registration   version:u8(1) name:16 sealed dated record  under the day's key
//! closed bucket  version:u8(2)                              it goes on in the next day
//! ```
//! A name is HMAC(day's key, device and scan id), or of a random number where there is no scan id, the first half: who
//! has no key of the day learns nothing from it.

use citycode_vault::HolderKey;
use zeroize::Zeroizing;

use crate::{RecordsError, ScanNote, ScanRecord, failed};

/// What a registration is known by within its day.
pub(crate) type Name = [u8; 16];

const VERSION: u8 = 1;
const CLOSED: u8 = 2;
const NAME_BYTES: usize = 16;

/// A message of a day's registrations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Message<'a> {
    Registration {
        name: &'a Name,
        sealed: &'a [u8],
    },
    Closed,
    /// Of no form that is known here.
    Strange,
}

impl<'a> Message<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        match bytes.split_first() {
            Some((&VERSION, rest)) => match rest.split_first_chunk::<NAME_BYTES>() {
                Some((name, sealed)) => Self::Registration { name, sealed },
                None => Self::Strange,
            },
            Some((&CLOSED, [])) => Self::Closed,
            _ => Self::Strange,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Registration { name, sealed } => [&[VERSION], name.as_slice(), sealed].concat(),
            Self::Closed => vec![CLOSED],
            Self::Strange => Vec::new(),
        }
    }
}

/// The key of a day. One for the whole city.
#[derive(Clone)]
pub(crate) struct DayKey {
    day: u32,
    key: HolderKey,
}

impl DayKey {
    pub(crate) fn new(day: u32, bytes: [u8; 32]) -> Self {
        Self {
            day,
            key: HolderKey::new(bytes),
        }
    }

    /// The key of a day from its message.
    pub(crate) fn open(day: u32, secret: &HolderKey, message: &[u8]) -> Result<Self, RecordsError> {
        let (&version, sealed) = message.split_first().ok_or_else(|| failed("an empty key"))?;
        if version != VERSION {
            return Err(failed("a key of another version"));
        }
        let key = secret.open(&context("key", day), sealed).map_err(failed)?;
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(key.as_slice().try_into().map_err(failed)?);
        Ok(Self::new(day, *key))
    }

    /// The message that keeps a key.
    pub(crate) fn seal_key(day: u32, key: &[u8; 32], secret: &HolderKey, nonce: [u8; 12]) -> Vec<u8> {
        let mut message = vec![VERSION];
        message.extend_from_slice(&secret.seal(&context("key", day), nonce, key));
        message
    }

    /// A name from what a scan is known by.
    pub(crate) fn name(&self, identity: &[u8]) -> Name {
        let digest = self.key.digest(identity);
        *digest.first_chunk().expect("HMAC-SHA-256 gives 32 bytes")
    }

    /// As [`ScanRecord::shown`].
    pub(crate) fn shown(&self, shown: &[u8]) -> [u8; 32] {
        self.key.digest(&[b"citycode shown v1 ", shown].concat())
    }

    pub(crate) fn seal_chunk(&self, nonce: [u8; 12], chunk: &[u8]) -> Vec<u8> {
        let mut message = vec![VERSION];
        message.extend_from_slice(&self.key.seal(&context("chunk", self.day), nonce, chunk));
        message
    }

    pub(crate) fn open_chunk(&self, message: &[u8]) -> Result<Vec<ScanRecord>, RecordsError> {
        let Some((&VERSION, sealed)) = message.split_first() else {
            return Err(failed("a chunk of another version"));
        };
        let chunk = self.key.open(&context("chunk", self.day), sealed).map_err(failed)?;
        ScanRecord::read_chunk(self.day, &chunk)
    }

    pub(crate) fn seal_registration(
        &self,
        nonce: [u8; 12],
        name: &Name,
        note: &ScanNote<&str>,
        shown: &[u8],
    ) -> Result<Vec<u8>, RecordsError> {
        let mut record = Zeroizing::new(Vec::with_capacity(192));
        note.write_dated(Some(&self.shown(shown)), &mut record)?;
        let sealed = &self.key.seal(&self.registration_context(name), nonce, &record);
        Ok(Message::Registration { name, sealed }.encode())
    }

    pub(crate) fn open_registration(&self, name: &Name, sealed: &[u8]) -> Result<ScanRecord, RecordsError> {
        let record = self
            .key
            .open(&self.registration_context(name), sealed)
            .map_err(failed)?;
        ScanRecord::read_dated(&record)
    }

    /// The name belongs to the record: nobody puts another's in front of it.
    fn registration_context(&self, name: &Name) -> Vec<u8> {
        let mut bytes = context("registration", self.day);
        bytes.extend_from_slice(name);
        bytes
    }
}

fn context(what: &str, day: u32) -> Vec<u8> {
    format!("citycode-scan-{what}-v1 {day} ").into_bytes()
}

#[cfg(test)]
mod tests {
    use citycode_domain::admission::Reason;
    use citycode_domain::ids::CommitPosition;

    use super::*;

    fn note() -> ScanNote<&'static str> {
        ScanNote {
            at: 20_000 * crate::DAY_SECONDS + 86_399,
            place: "sampling_desk",
            device: "desk-1",
            scan_id: "scan-1",
            code_id: None,
            reason: Reason::Ok,
            position: CommitPosition {
                partition: 1,
                sequence: 2,
            },
            age_ms: 3,
        }
    }

    #[test]
    fn a_registration_reads_back_under_its_day_and_name_alone_and_keeps_its_own_day() {
        // Among the records of the day after its own.
        let key = DayKey::new(20_001, [1; 32]);
        let name = key.name(b"desk-1 scan-1");
        let bytes = key.seal_registration([2; 12], &name, &note(), b"shown").expect("seals");
        let Message::Registration { name: found, sealed } = Message::read(&bytes) else {
            panic!("a registration");
        };
        assert_eq!(found, &name);
        let record = key.open_registration(&name, sealed).expect("opens");
        assert_eq!((record.scan.at, record.shown), (note().at, Some(key.shown(b"shown"))));
        assert!(key.open_registration(&[9; 16], sealed).is_err(), "another's name");
        assert!(DayKey::new(20_002, [1; 32]).open_registration(&name, sealed).is_err());
        assert!(DayKey::new(20_001, [3; 32]).open_registration(&name, sealed).is_err());
        assert_ne!(key.shown(b"shown"), key.shown(b"other"));
    }

    #[test]
    fn a_days_key_reads_back_under_the_citys_secret_and_its_own_day_alone() {
        let secret = HolderKey::new([7; 32]);
        let message = DayKey::seal_key(20_000, &[1; 32], &secret, [2; 12]);
        assert_eq!(message.len(), 61);
        let key = DayKey::open(20_000, &secret, &message).expect("opens");
        assert_eq!(key.name(b"x"), DayKey::new(20_000, [1; 32]).name(b"x"));
        assert!(DayKey::open(20_001, &secret, &message).is_err());
        assert!(DayKey::open(20_000, &HolderKey::new([8; 32]), &message).is_err());
        assert!(DayKey::open(20_000, &secret, &[]).is_err());
    }

    #[test]
    fn bytes_of_no_known_form_are_strange_and_never_a_panic() {
        for bytes in [&[][..], &[1], &[1, 2, 3], &[2, 0], &[3], &[0; 40]] {
            assert_eq!(Message::read(bytes), Message::Strange);
        }
        assert_eq!(Message::read(&Message::Closed.encode()), Message::Closed);
    }
}
