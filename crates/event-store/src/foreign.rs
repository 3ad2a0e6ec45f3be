//! Foreign messages: messages in the log that are not valid commits of this log.
//!
//! A message is foreign if it cannot be decoded, lacks the headers of an append, is in another bucket than its stream
//! belongs to, or contains the hash of an earlier commit than its bucket's last (a copy of a genuine commit). From
//! there on its bucket is *confined*. No commit is known to be missing, but the foreign message may have been a commit
//! that was damaged, so it is never skipped automatically. All other buckets continue to work. In the heartbeat bucket,
//! whose messages have no meaning, no message is treated as foreign: a heartbeat contains the hash of whatever message
//! precedes it, and followers ignore every message there that is not a heartbeat.
//!
//! A declaration ends the confinement. It is a commit in the bucket's stream of declarations ([`stream`]) that contains
//! the sequence and digest of one foreign message. In the chain it follows the bucket's last commit, but it expects the
//! revision of the foreign message, so an engine refuses an append by a writer that has not seen the foreign message.
//! This crate does not interpret declarations.
//!
//! The message keeps its position. Copies of the log have a placeholder there:
//! ```text
//! placeholder = 0 ‖ "citycode foreign message 1" ‖ bucket u16 ‖ digest 32 ‖ length u64      big-endian
//! ```
//! No version of a commit begins with the byte 0, so a placeholder is itself a foreign message.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::{
    BucketId, CommandId, CommitHash, Layout, MessageId, NewCommit, Position, RecordedCommit, RequestDigest, Revision,
    StreamName,
};

pub(crate) const STREAM_PREFIX: &str = "foreign-";
const MAGIC: &[u8] = b"\0citycode foreign message 1";
const PLACEHOLDER_BYTES: usize = MAGIC.len() + 2 + 32 + 8;

/// A message that is not a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignMessage {
    /// BLAKE3 of its payload; for a copied commit this is the commit's hash.
    pub digest: CommitHash,
    /// Length of its payload in bytes.
    pub length: u64,
    /// Why it is not a commit; contains none of its content.
    pub reason: Cow<'static, str>,
}

impl ForeignMessage {
    /// From a message's payload, or from the placeholder of a foreign message.
    #[must_use]
    pub fn of(payload: &[u8], reason: impl Into<Cow<'static, str>>) -> Self {
        match decode_placeholder(payload) {
            Some((_, message)) => message,
            None => Self {
                digest: crate::codec::hash(payload),
                length: payload.len() as u64,
                reason: reason.into(),
            },
        }
    }
}

/// The stream of the declarations of a bucket: `foreign-`, the partition in decimal, `-`, the bucket in four hex
/// digits.
#[must_use]
pub fn stream(bucket: BucketId) -> StreamName {
    let name = format!("{STREAM_PREFIX}{}-{:04x}", bucket.partition, bucket.bucket);
    StreamName::new(&name).expect("at most 17 bytes of the alphabet")
}

/// The hash of a bucket's tail after a foreign message. It is the previous hash, because the chain skips the message,
/// except in the heartbeat bucket, where a heartbeat follows whatever message precedes it.
#[must_use]
pub fn tail_after(layout: &Layout, message: &RecordedCommit, before: CommitHash) -> CommitHash {
    if layout.is_heartbeat_bucket(message.bucket) {
        message.hash
    } else {
        before
    }
}

/// Whether this is a stream of declarations.
#[must_use]
pub fn is_declarations(stream: &StreamName) -> bool {
    stream.as_str().starts_with(STREAM_PREFIX)
}

/// The placeholder that a copy of the log has at the message's position.
#[must_use]
pub fn encode_placeholder(bucket: u16, message: &ForeignMessage) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PLACEHOLDER_BYTES);
    bytes.put_slice(MAGIC);
    bytes.put_u16(bucket);
    bytes.put_slice(&message.digest.0);
    bytes.put_u64(message.length);
    bytes.freeze()
}

/// The bucket and the message that a placeholder describes; `None` if the bytes are not a placeholder.
#[must_use]
pub fn decode_placeholder(bytes: &[u8]) -> Option<(u16, ForeignMessage)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (bucket, rest) = rest.split_first_chunk::<2>()?;
    let (digest, rest) = rest.split_first_chunk::<32>()?;
    let length: &[u8; 8] = rest.try_into().ok()?;
    let message = ForeignMessage {
        digest: CommitHash(*digest),
        length: u64::from_be_bytes(*length),
        reason: Cow::Borrowed("it was foreign in the log that this one was copied from"),
    };
    Some((u16::from_be_bytes(*bucket), message))
}

impl RecordedCommit {
    /// The record that readers get for a foreign message. It has no events, and its hash is the message's digest, which
    /// no commit of the chain contains as its previous hash.
    #[must_use]
    pub fn of_foreign(position: Position, bucket: BucketId, message: ForeignMessage) -> Self {
        Self {
            position,
            bucket,
            revision: Revision::from_raw(position.sequence.0),
            previous_hash: CommitHash::NONE,
            hash: message.digest,
            commit: NewCommit {
                stream: stream(bucket),
                events: Vec::new(),
                message_id: MessageId(message.digest.0),
                request_digest: RequestDigest([0; 32]),
                command_id: CommandId([0; 16]),
                actor: String::new(),
                causation_id: None,
                correlation_id: None,
                decided_at: 0,
                trace_context: None,
            },
            foreign: Some(Box::new(message)),
        }
    }
}

/// How a decodable message relates to its bucket's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It follows the bucket's last commit.
    Follows,
    /// It is a copy: its previous hash is that of an earlier commit, or [`CommitHash::NONE`]. The same applies to a
    /// first commit with any previous hash, because a writer never sets one there: that previous commit was never in
    /// this bucket.
    Copy,
    /// No commit of the bucket has its previous hash: the commit before it was changed or is missing.
    Broken,
}

/// A bucket's hash chain, built from its first commit on.
#[derive(Debug, Default)]
pub struct Chain {
    last: Option<CommitHash>,
    hashes: HashSet<CommitHash>,
}

impl Chain {
    /// How `commit` relates to the chain; extends the chain if it follows.
    pub fn link(&mut self, commit: &RecordedCommit) -> Link {
        if commit.previous_hash == self.last.unwrap_or(CommitHash::NONE) {
            self.last = Some(commit.hash);
            self.hashes.insert(commit.hash);
            Link::Follows
        } else if self.hashes.is_empty()
            || commit.previous_hash == CommitHash::NONE
            || self.hashes.contains(&commit.previous_hash)
        {
            Link::Copy
        } else {
            Link::Broken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Partition;

    #[test]
    fn a_placeholder_round_trips_and_is_not_a_commit() {
        let message = ForeignMessage::of(b"no commit", "the commit is cut short");
        let bytes = encode_placeholder(0x01ff, &message);
        assert_eq!(bytes.len(), PLACEHOLDER_BYTES);
        let (bucket, read) = decode_placeholder(&bytes).unwrap();
        assert_eq!((bucket, read.digest, read.length), (0x01ff, message.digest, 9));
        assert!(crate::codec::decode(bytes.clone()).is_err());
        // The placeholder of a placeholder describes the original message.
        assert_eq!(ForeignMessage::of(&bytes, "anything").digest, message.digest);
        for length in 0..bytes.len() {
            assert_eq!(decode_placeholder(&bytes[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn declarations_belong_to_the_bucket_that_they_concern() {
        let layout = Layout::default();
        for number in [0, 0x0a1f, 65_534, 65_535] {
            let bucket = BucketId {
                partition: Partition(7),
                bucket: number,
            };
            assert_eq!(layout.bucket_of(&stream(bucket)), bucket);
            assert!(is_declarations(&stream(bucket)) && layout.check(&stream(bucket)).is_ok());
        }
        for wrong in [
            "foreign-16-0000",
            "foreign-7-0000",
            "foreign-07-00",
            "foreign-07-00g0",
            "foreign-07",
        ] {
            let name = StreamName::new(wrong).unwrap();
            assert!(layout.check(&name).is_err(), "{name}");
        }
    }
}
