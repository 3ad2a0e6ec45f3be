//! Foreign messages: what stands at a position of the log and is no commit.
//!
//! A message is foreign if it cannot be decoded, lacks the headers of an append, lies in another bucket than its stream,
//! or names the hash of an earlier commit than its bucket's last (a copy of a genuine commit). Its bucket is *confined*
//! from there on: nothing is known to be missing, but the message may have been a commit that was damaged. So it is never
//! skipped by itself. Every other bucket goes on. Among heartbeats, which mean nothing, no message is foreign: each
//! heartbeat names whatever message stands before it, and followers pass over what is none.
//!
//! A declaration ends that: a commit in the stream [`stream`] of the bucket, which names sequence and digest of one
//! message. It follows the bucket's last commit in the chain and stands after the foreign messages in the bucket, so an
//! engine refuses any append that overlooks them. What a declaration says is known to those who know events.
//!
//! The message keeps its position. Copies of the log have a placeholder there:
//! ```text
//! placeholder = 0 ‖ "citycode foreign message 1" ‖ bucket u16 ‖ digest 32 ‖ length u64      big-endian
//! ```
//! It begins as no version of a commit does, and is itself a foreign message wherever it stands.

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

/// A message that is no commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignMessage {
    /// BLAKE3 of its payload: of a copied commit this is the commit's hash.
    pub digest: CommitHash,
    /// Length of its payload in bytes.
    pub length: u64,
    /// Why it is no commit; nothing of its content.
    pub reason: Cow<'static, str>,
}

impl ForeignMessage {
    /// From a message's payload, or from the placeholder of one.
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

/// The stream of the declarations of a bucket: `foreign-`, the partition in decimal, `-`, the bucket in four hex digits.
#[must_use]
pub fn stream(bucket: BucketId) -> StreamName {
    let name = format!("{STREAM_PREFIX}{}-{:04x}", bucket.partition, bucket.bucket);
    StreamName::new(&name).expect("at most 17 bytes of the alphabet")
}

/// The hash of a bucket's tail after a foreign message: the one before it, since the chain goes on past it. Heartbeats
/// follow whatever stands before them.
#[must_use]
pub fn tail_after(layout: &Layout, message: &RecordedCommit, before: CommitHash) -> CommitHash {
    if layout.is_heartbeat_bucket(message.bucket) {
        message.hash
    } else {
        before
    }
}

/// Whether a stream is one of declarations.
#[must_use]
pub fn is_declarations(stream: &StreamName) -> bool {
    stream.as_str().starts_with(STREAM_PREFIX)
}

/// What a copy of the log keeps at the message's position.
#[must_use]
pub fn encode_placeholder(bucket: u16, message: &ForeignMessage) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PLACEHOLDER_BYTES);
    bytes.put_slice(MAGIC);
    bytes.put_u16(bucket);
    bytes.put_slice(&message.digest.0);
    bytes.put_u64(message.length);
    bytes.freeze()
}

/// The bucket and the message that a placeholder stands for; none where the bytes are no placeholder.
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
    /// What readers get at the position of a foreign message: no event, and the message's digest as its hash, which no
    /// commit of the chain follows.
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

/// How a message that can be decoded stands to its bucket's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It follows the bucket's last commit.
    Follows,
    /// It names the hash of an earlier commit, or none: a copy. Or it names any hash where no commit stands before it:
    /// nobody who appends names one there, so what it names was never in the bucket.
    Copy,
    /// It names a hash that no commit of the bucket has: the commit before it is not the one that was written.
    Broken,
}

/// A bucket's chain, as it is read from its first commit on.
#[derive(Debug, Default)]
pub struct Chain {
    last: Option<CommitHash>,
    hashes: HashSet<CommitHash>,
}

impl Chain {
    /// How `commit` stands to it; takes it in where it follows.
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
    fn a_placeholder_says_what_it_stands_for_and_is_no_commit() {
        let message = ForeignMessage::of(b"no commit", "the commit is cut short");
        let bytes = encode_placeholder(0x01ff, &message);
        assert_eq!(bytes.len(), PLACEHOLDER_BYTES);
        let (bucket, read) = decode_placeholder(&bytes).unwrap();
        assert_eq!((bucket, read.digest, read.length), (0x01ff, message.digest, 9));
        assert!(crate::codec::decode(bytes.clone()).is_err());
        // A copy of a copy stands for the same message.
        assert_eq!(ForeignMessage::of(&bytes, "anything").digest, message.digest);
        for length in 0..bytes.len() {
            assert_eq!(decode_placeholder(&bytes[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn declarations_lie_in_the_bucket_that_they_are_about() {
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
