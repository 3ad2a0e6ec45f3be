//! The leaves of the log's trees: one salted commitment for each event.
//!
//! # What a leaf must do
//! A tree is public, and its leaves say nothing about the events: nobody who knows a code, or guesses an event, can find
//! it in a tree. The log's owner can open one statement of one event to somebody without access to the log, and reveals
//! by that neither the holder's number nor another code. A reader of the log can compute every leaf again, so that each
//! byte of each commit is bound by the tree.
//!
//! # Parts
//! An event is committed to in parts, because its bytes name the holder and other codes. Part by part, its owner decides
//! what to open. [`parts`] describes which there are: the whole event; a [statement](crate::statement) for each code
//! that was born or died; and empty parts, so that the number of parts does not tell how many codes the event names.
//!
//! # Format, version 1
//! ```text
//! salt       = SHA-256( "cc-salt-1" ‖ commit hash:32 ‖ partition:2 ‖ sequence:8 ‖ event:2 ‖ part:2 )
//! commitment = SHA-256( "cc-part-1" ‖ salt:32 ‖ content )
//! entry      = "citycode-leaf-v1" ‖ partition:2 ‖ sequence:8 ‖ event:2 ‖ events:2 ‖ parts:2 ‖ commitment:32 …
//! leaf hash  = SHA-256( 0x00 ‖ entry )                                                     RFC 6962 section 2.1
//! opening    = salt:32 ‖ entry length:4 ‖ entry ‖ content
//! ```
//! Numbers are big-endian. `event` is the number of the event in its commit from 0, `events` their number, so that a
//! commit that lost its last event is detected. The commitments are sorted: the place of one says nothing about the
//! order of the parts.
//!
//! # The salt
//! It is derived from the hash of the commit, which covers the holder's random number (128 bits), the command's id and
//! everything else in the commit. To those without the log the hash is a secret key; those with the log need no other
//! secret. Because a salt depends on the whole commit, a leaf also binds what its parts do not contain: stream, actor,
//! time and the previous commit of the bucket. A salt that was opened reveals neither the hash nor other salts. It
//! follows that the hash of a commit must not be shown to anybody without access to the log. Decision 38 tells why the
//! salts are neither stored nor derived from a key, and what happens at an erasure.

use crate::hash::{HASH_LENGTH, Hash, leaf_hash, sha256};

const ENTRY_TITLE: &[u8; 16] = b"citycode-leaf-v1";
/// With this title the input of a salt is 55 bytes: one block of SHA-256.
const SALT_TITLE: &[u8] = b"cc-salt-1";
const PART_TITLE: &[u8] = b"cc-part-1";
/// Bytes of an entry before its commitments.
const HEADER: usize = 32;
/// Most parts of an event: a commit of 512 KiB names fewer codes.
pub const MAX_PARTS: usize = 32_768;
/// Longest content that an opening may have; above the largest commit.
const MAX_CONTENT_BYTES: usize = 640 * 1024;

/// Where an event is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeafPosition {
    /// The partition of the log.
    pub partition: u16,
    /// The sequence of the commit in its partition, from 1.
    pub sequence: u64,
    /// The number of the event in its commit, from 0.
    pub event: u16,
    /// How many events the commit has.
    pub events: u16,
}

/// The hash of a commit, from which the salts of its events are derived: a secret to everybody without the log.
#[derive(Clone, Copy)]
pub struct CommitSecret(pub [u8; 32]);

impl std::fmt::Debug for CommitSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CommitSecret")
    }
}

/// An event has more than [`MAX_PARTS`] parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event has at most {MAX_PARTS} parts, not {0}")]
pub struct TooManyParts(pub usize);

/// Why bytes are not the opening of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpeningInvalid {
    /// Truncated, too long, or not of version 1.
    #[error("the opening of the leaf is malformed or of another version")]
    Format,
    /// The leaf does not contain this content.
    #[error("the leaf does not contain what is opened")]
    OtherContent,
}

/// The parts of an event: the whole event, the statements about codes, and empty parts up to three parts or, if there
/// are more than two statements, up to the next power of two of them. So the leaf of an issue does not tell whether
/// another code was superseded.
#[must_use]
pub fn parts(event_type: &str, version: u16, payload: &[u8], statements: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut whole = Vec::with_capacity(4 + event_type.len() + payload.len());
    whole.push(b'E');
    whole.extend(version.to_be_bytes());
    whole.extend(event_type.as_bytes());
    // A type is printable ASCII, so 0 ends it.
    whole.push(0);
    whole.extend(payload);
    let slots = statements.len().next_power_of_two().max(2);
    let mut parts = Vec::with_capacity(1 + slots);
    parts.push(whole);
    parts.extend(statements);
    parts.resize(1 + slots, Vec::new());
    parts
}

fn salt(secret: &CommitSecret, position: &LeafPosition, part: u16) -> [u8; 32] {
    let salt = sha256(&[
        SALT_TITLE,
        &secret.0,
        &position.partition.to_be_bytes(),
        &position.sequence.to_be_bytes(),
        &position.event.to_be_bytes(),
        &part.to_be_bytes(),
    ]);
    salt.0
}

fn commitment(salt: &[u8; 32], content: &[u8]) -> Hash {
    sha256(&[PART_TITLE, salt, content])
}

/// The entry of an event: what its leaf hash is the hash of. It can be shown to anybody.
///
/// # Errors
/// If there are more than [`MAX_PARTS`] parts.
pub fn entry<P: AsRef<[u8]>>(
    secret: &CommitSecret,
    position: &LeafPosition,
    parts: &[P],
) -> Result<Vec<u8>, TooManyParts> {
    let too_many = TooManyParts(parts.len());
    let count = u16::try_from(parts.len())
        .ok()
        .filter(|count| usize::from(*count) <= MAX_PARTS);
    let count = count.ok_or(too_many)?;
    let mut entry = Vec::with_capacity(HEADER + HASH_LENGTH * parts.len());
    entry.extend(ENTRY_TITLE);
    entry.extend(position.partition.to_be_bytes());
    entry.extend(position.sequence.to_be_bytes());
    entry.extend(position.event.to_be_bytes());
    entry.extend(position.events.to_be_bytes());
    entry.extend(count.to_be_bytes());
    for (number, content) in (0..count).zip(parts) {
        entry.extend(commitment(&salt(secret, position, number), content.as_ref()).0);
    }
    let (commitments, _) = entry[HEADER..].as_chunks_mut::<HASH_LENGTH>();
    commitments.sort_unstable();
    Ok(entry)
}

/// One part of an event, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    position: LeafPosition,
    entry: Vec<u8>,
    salt: [u8; 32],
    content: Vec<u8>,
}

impl Opening {
    /// Opens part number `part` of an event. `None` if there is no such part, or there are too many.
    #[must_use]
    pub fn new<P: AsRef<[u8]>>(
        secret: &CommitSecret,
        position: &LeafPosition,
        parts: &[P],
        part: usize,
    ) -> Option<Self> {
        let content = parts.get(part)?.as_ref().to_vec();
        Some(Self {
            position: *position,
            entry: entry(secret, position, parts).ok()?,
            salt: salt(secret, position, u16::try_from(part).ok()?),
            content,
        })
    }

    /// Where the event is in the log, as the leaf states it.
    #[must_use]
    pub const fn position(&self) -> LeafPosition {
        self.position
    }

    /// The opened part.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The entry of the event.
    #[must_use]
    pub fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// The leaf that contains this part. It must still be proved to be in the tree.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        leaf_hash(&self.entry)
    }

    /// The bytes, for the extra data of a [`LogProof`](crate::LogProof).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.salt.to_vec();
        let length = u32::try_from(self.entry.len()).expect("an entry is shorter than 2 MiB");
        bytes.extend(length.to_be_bytes());
        bytes.extend(&self.entry);
        bytes.extend(&self.content);
        bytes
    }

    /// Parses an opening, and checks that the leaf contains what it opens.
    ///
    /// # Errors
    /// If the bytes are no opening, or the leaf contains something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpeningInvalid> {
        let (salt, rest) = bytes.split_first_chunk::<32>().ok_or(OpeningInvalid::Format)?;
        let (length, rest) = rest.split_first_chunk().ok_or(OpeningInvalid::Format)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| OpeningInvalid::Format)?;
        let (entry, content) = rest.split_at_checked(length).ok_or(OpeningInvalid::Format)?;
        let (position, commitments) = parse_entry(entry).ok_or(OpeningInvalid::Format)?;
        if content.len() > MAX_CONTENT_BYTES {
            return Err(OpeningInvalid::Format);
        }
        if commitments.binary_search(&commitment(salt, content).0).is_err() {
            return Err(OpeningInvalid::OtherContent);
        }
        Ok(Self {
            position,
            entry: entry.to_vec(),
            salt: *salt,
            content: content.to_vec(),
        })
    }
}

/// The position and the commitments of an entry, if it is one in its only form.
fn parse_entry(entry: &[u8]) -> Option<(LeafPosition, &[[u8; HASH_LENGTH]])> {
    let (title, rest) = entry.split_first_chunk()?;
    let (partition, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (event, rest) = rest.split_first_chunk()?;
    let (events, rest) = rest.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (commitments, remainder) = rest.as_chunks();
    let position = LeafPosition {
        partition: u16::from_be_bytes(*partition),
        sequence: u64::from_be_bytes(*sequence),
        event: u16::from_be_bytes(*event),
        events: u16::from_be_bytes(*events),
    };
    let count = usize::from(u16::from_be_bytes(*count));
    let sound = title == ENTRY_TITLE
        && remainder.is_empty()
        && commitments.len() == count
        && count <= MAX_PARTS
        && commitments.is_sorted()
        && position.event < position.events;
    sound.then_some((position, commitments))
}

#[cfg(test)]
mod tests;
