//! The encoding of messages, and the keys that seal them.
//!
//! ```text
//! key            version:u8(1) sealed key:60 public key:32 sealed private key:60
//! scans          version:u8(1) public key of the chunk:32 sealed chunk
//! registration   version:u8(1) name:16 sealed dated record      under the day's key
//! closed bucket  version:u8(2)                                  the bucket continues in the next day
//! ```
//! The day's key is sealed under the verifiers' secret, and the day's private key (X25519, RFC 7748) under the
//! archive's secret, which verifiers do not have: no verifier can read ordinary scans, not even those that it
//! wrote. A chunk is sealed under a key of its own, HMAC-SHA-256(the X25519 shared secret of the chunk's and
//! the day's key pair, both public keys), and its private key is discarded.
//!
//! A name is the first half of HMAC(day's key, device and scan id), or of a random number if there is no scan
//! id; without the day's key it reveals nothing.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use citycode_vault::{FillRandom, HolderKey};
use zeroize::Zeroizing;

use crate::chunk::read_chunk;
use crate::{RecordsError, ScanNote, ScanRecord, failed};

/// The identifier of a registration within its day.
pub(crate) type Name = [u8; 16];

const VERSION: u8 = 1;
const CLOSED: u8 = 2;
const NAME_BYTES: usize = 16;
/// Length of a key with nonce and tag.
const SEALED_KEY_BYTES: usize = 60;

/// A message of a day's registrations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Message<'a> {
    Registration {
        name: &'a Name,
        sealed: &'a [u8],
    },
    Closed,
    /// The format is unknown.
    Unknown,
}

impl<'a> Message<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        match bytes.split_first() {
            Some((&VERSION, rest)) => match rest.split_first_chunk::<NAME_BYTES>() {
                Some((name, sealed)) => Self::Registration { name, sealed },
                None => Self::Unknown,
            },
            Some((&CLOSED, [])) => Self::Closed,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Registration { name, sealed } => [&[VERSION], name.as_slice(), sealed].concat(),
            Self::Closed => vec![CLOSED],
            Self::Unknown => Vec::new(),
        }
    }
}

/// The key of a day for verifiers. There is one for the whole city.
#[derive(Clone)]
pub(crate) struct DayKey {
    day: u32,
    key: HolderKey,
    /// The public key for ordinary scans.
    public: PublicKey,
}

/// The key of a day that decrypts ordinary scans.
pub(crate) struct ArchiveKey {
    day: u32,
    private: PrivateKey,
    public: PublicKey,
}

type PublicKey = [u8; 32];

/// The message with a new day's keys, which are drawn here.
pub(crate) fn new_keys(
    day: u32,
    secret: &HolderKey,
    archive: &HolderKey,
    random: &FillRandom,
) -> Result<Vec<u8>, RecordsError> {
    let (key, private) = (draw_key(random), draw_key(random));
    let public = public_of(&private_key(&private)?)?;
    let mut message = vec![VERSION];
    message.extend_from_slice(&secret.seal(&key_context("key", day, &public), nonce(random), key.as_slice()));
    message.extend_from_slice(&public);
    let context = key_context("archive-key", day, &public);
    message.extend_from_slice(&archive.seal(&context, nonce(random), private.as_slice()));
    Ok(message)
}

pub(crate) fn nonce(random: &FillRandom) -> [u8; 12] {
    let mut nonce = [0; 12];
    random(&mut nonce);
    nonce
}

/// The parts of a message of keys: sealed key, public key, sealed private key.
fn parts_of(message: &[u8]) -> Result<(&[u8], &PublicKey, &[u8]), RecordsError> {
    let unknown = || failed("a day's key has an unknown format");
    let (&version, rest) = message.split_first().ok_or_else(unknown)?;
    let (key, rest) = rest.split_first_chunk::<SEALED_KEY_BYTES>().ok_or_else(unknown)?;
    let (public, private) = rest.split_first_chunk::<32>().ok_or_else(unknown)?;
    if version != VERSION || private.len() != SEALED_KEY_BYTES {
        return Err(unknown());
    }
    Ok((key, public, private))
}

impl DayKey {
    /// Opens the verifiers' part of a message of keys.
    pub(crate) fn open(day: u32, secret: &HolderKey, message: &[u8]) -> Result<Self, RecordsError> {
        let (sealed, public, _) = parts_of(message)?;
        let key = open_key(secret, &key_context("key", day, public), sealed)?;
        Ok(Self {
            day,
            key: HolderKey::new(*key),
            public: *public,
        })
    }

    /// The name for the identity of a scan.
    pub(crate) fn name(&self, identity: &[u8]) -> Name {
        let digest = self.key.digest(identity);
        *digest.first_chunk().expect("HMAC-SHA-256 has 32 bytes")
    }

    /// Computes [`ScanRecord::shown`].
    pub(crate) fn shown(&self, shown: &[u8]) -> [u8; 32] {
        self.key.digest(&[b"citycode shown v1 ", shown].concat())
    }

    /// Seals ordinary scans so that only the archive can open them.
    pub(crate) fn seal_chunk(&self, random: &FillRandom, chunk: &[u8]) -> Result<Vec<u8>, RecordsError> {
        let own = private_key(&draw_key(random))?;
        let own_public = public_of(&own)?;
        let key = chunk_key(&own, &self.public, &own_public, &self.public)?;
        let mut message = vec![VERSION];
        message.extend_from_slice(&own_public);
        message.extend_from_slice(&key.seal(&context("chunk", self.day), nonce(random), chunk));
        Ok(message)
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

    /// Binds the record to its name, so that the name cannot be exchanged.
    fn registration_context(&self, name: &Name) -> Vec<u8> {
        let mut bytes = context("registration", self.day);
        bytes.extend_from_slice(name);
        bytes
    }
}

impl ArchiveKey {
    /// Opens the archive's part of a message of keys.
    pub(crate) fn open(day: u32, archive: &HolderKey, message: &[u8]) -> Result<Self, RecordsError> {
        let (_, public, sealed) = parts_of(message)?;
        let private = open_key(archive, &key_context("archive-key", day, public), sealed)?;
        Ok(Self {
            day,
            private: private_key(&private)?,
            public: *public,
        })
    }

    pub(crate) fn open_chunk(&self, message: &[u8]) -> Result<Vec<ScanRecord>, RecordsError> {
        let unknown = || failed("a chunk has an unknown format");
        let (&version, rest) = message.split_first().ok_or_else(unknown)?;
        let (public, sealed) = rest.split_first_chunk::<32>().ok_or_else(unknown)?;
        if version != VERSION {
            return Err(unknown());
        }
        let key = chunk_key(&self.private, public, public, &self.public)?;
        let chunk = key.open(&context("chunk", self.day), sealed).map_err(failed)?;
        read_chunk(self.day, &chunk)
    }
}

fn draw_key(random: &FillRandom) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    random(key.as_mut_slice());
    key
}

fn open_key(secret: &HolderKey, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<[u8; 32]>, RecordsError> {
    let key = secret.open(context, sealed).map_err(failed)?;
    Ok(Zeroizing::new(key.as_slice().try_into().map_err(failed)?))
}

fn private_key(bytes: &[u8; 32]) -> Result<PrivateKey, RecordsError> {
    PrivateKey::from_private_key(&X25519, bytes).map_err(failed)
}

fn public_of(private: &PrivateKey) -> Result<PublicKey, RecordsError> {
    let public = private.compute_public_key().map_err(failed)?;
    public.as_ref().try_into().map_err(failed)
}

/// The key of a chunk, from one side's private key and the other side's public key.
fn chunk_key(
    private: &PrivateKey,
    other: &PublicKey,
    chunks: &PublicKey,
    days: &PublicKey,
) -> Result<HolderKey, RecordsError> {
    let other = UnparsedPublicKey::new(&X25519, other);
    agreement::agree(private, other, failed("keys that do not agree"), |agreed| {
        let agreed: Zeroizing<[u8; 32]> = Zeroizing::new(agreed.try_into().map_err(failed)?);
        let label: &[u8] = b"citycode-scan-chunk-key-v1";
        let key = Zeroizing::new(HolderKey::new(*agreed).digest(&[label, chunks, days].concat()));
        Ok(HolderKey::new(*key))
    })
}

/// Binds what is sealed to the public key, so that the public key cannot be exchanged.
fn key_context(what: &str, day: u32, public: &PublicKey) -> Vec<u8> {
    let mut bytes = context(what, day);
    bytes.extend_from_slice(public);
    bytes
}

fn context(what: &str, day: u32) -> Vec<u8> {
    format!("citycode-scan-{what}-v1 {day} ").into_bytes()
}

#[cfg(test)]
mod tests {
    use citycode_domain::admission::Reason;
    use citycode_domain::ids::Position;

    use super::*;

    fn note() -> ScanNote<&'static str> {
        ScanNote {
            at: 20_000 * crate::DAY_SECONDS + 86_399,
            place: "sampling_desk",
            device: "desk-1",
            scan_id: "scan-1",
            code_id: None,
            reason: Reason::Ok,
            position: Position::new(1, 2),
            age_ms: 3,
            basis: None,
        }
    }

    fn random() -> FillRandom {
        std::sync::Arc::new(|bytes| aws_lc_rs::rand::fill(bytes).expect("the system provides randomness"))
    }

    fn secrets() -> [HolderKey; 2] {
        [HolderKey::new([7; 32]), HolderKey::new([8; 32])]
    }

    fn keys(day: u32) -> (Vec<u8>, DayKey) {
        let [secret, archive] = secrets();
        let message = new_keys(day, &secret, &archive, &random()).expect("keys");
        let key = DayKey::open(day, &secret, &message).expect("opens");
        (message, key)
    }

    #[test]
    fn a_registration_opens_only_under_its_days_key_and_name_and_keeps_its_own_day() {
        // The record is stored with those of the day after its own.
        let (message, key) = keys(20_001);
        let name = key.name(b"desk-1 scan-1");
        let bytes = key.seal_registration([2; 12], &name, &note(), b"shown").expect("seals");
        let Message::Registration { name: found, sealed } = Message::read(&bytes) else {
            panic!("a registration");
        };
        assert_eq!(found, &name);
        let record = key.open_registration(&name, sealed).expect("opens");
        assert_eq!((record.scan.at, record.shown), (note().at, Some(key.shown(b"shown"))));
        assert!(key.open_registration(&[9; 16], sealed).is_err(), "another's name");
        assert!(keys(20_001).1.open_registration(&name, sealed).is_err(), "another key");
        assert_ne!(key.shown(b"shown"), key.shown(b"other"));
        assert!(DayKey::open(20_002, &secrets()[0], &message).is_err(), "of another day");
        assert!(
            DayKey::open(20_001, &secrets()[1], &message).is_err(),
            "under another secret"
        );
        for length in 0..message.len() {
            assert!(DayKey::open(20_001, &secrets()[0], &message[..length]).is_err());
        }
        let mut other = message.clone();
        other[1 + SEALED_KEY_BYTES] ^= 1;
        assert!(
            DayKey::open(20_001, &secrets()[0], &other).is_err(),
            "another public key"
        );
    }

    #[test]
    fn only_the_archive_opens_ordinary_scans() {
        let (message, key) = keys(20_000);
        let mut chunk = crate::chunk::Chunk::default();
        chunk.push(&note(), None);
        let sealed = key.seal_chunk(&random(), chunk.bytes()).expect("seals");
        let [secret, archive] = secrets();
        let opener = ArchiveKey::open(20_000, &archive, &message).expect("opens");
        let records = opener.open_chunk(&sealed).expect("opens");
        assert_eq!(records.len(), 1);
        assert_eq!(&*records[0].scan.scan_id, "scan-1");
        assert!(
            ArchiveKey::open(20_000, &secret, &message).is_err(),
            "a verifier has no such key"
        );
        let other = ArchiveKey::open(20_000, &archive, &keys(20_000).0).expect("opens");
        assert!(other.open_chunk(&sealed).is_err(), "another day's");
        for length in 0..sealed.len() {
            assert!(opener.open_chunk(&sealed[..length]).is_err());
        }
    }

    #[test]
    fn bytes_of_an_unknown_format_never_cause_a_panic() {
        for bytes in [&[][..], &[1], &[1, 2, 3], &[2, 0], &[3], &[0; 40]] {
            assert_eq!(Message::read(bytes), Message::Unknown);
        }
        assert_eq!(Message::read(&Message::Closed.encode()), Message::Closed);
    }
}
