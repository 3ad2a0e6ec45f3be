//! The canonical bytes of a commit, the same in every engine. Their BLAKE3 is the commit's hash.
//!
//! Version 1, integers big-endian:
//! ```text
//! commit  = version u8 = 1 ‖ flags u8 ‖ previous_hash 32 ‖ message_id 32 ‖ request_digest 32 ‖ command_id 16
//!           ‖ [causation_id 16, if flags & 1] ‖ [correlation_id 16, if flags & 2] ‖ decided_at i64
//!           ‖ stream (short) ‖ actor (short) ‖ [trace_context (short), if flags & 4]
//!           ‖ count u16 ‖ count × event
//! event   = event_type (short) ‖ version u16 ‖ length u32 ‖ payload
//! short   = length u8 ‖ bytes
//! ```
//! The bytes contain neither position nor revision, because a server that numbers messages itself assigns them after
//! the bytes were sent. Decoding refuses unknown flags, trailing bytes, and everything that [`NewCommit::check`]
//! refuses, so that a commit has exactly one encoding.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    BucketId, CommandId, CommitHash, CommitInvalid, EventData, Layout, MAX_COMMIT_BYTES, MessageId, NewCommit,
    Position, RecordedCommit, RequestDigest, Revision, StreamName, foreign,
};

const VERSION: u8 = 1;
const HAS_CAUSATION: u8 = 1;
const HAS_CORRELATION: u8 = 2;
const HAS_TRACE: u8 = 4;

/// Why bytes are not a commit. The error contains none of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitUnreadable {
    /// The bytes end too early.
    #[error("the commit is truncated")]
    Truncated,
    /// Bytes follow the end of the commit.
    #[error("the commit has {0} trailing bytes")]
    Trailing(usize),
    /// This program does not support the version.
    #[error("commit version {0} is not supported")]
    Version(u8),
    /// A field has a value that is invalid at its place.
    #[error("the commit's {0} is malformed")]
    Malformed(&'static str),
    /// A limit is exceeded.
    #[error(transparent)]
    Invalid(#[from] CommitInvalid),
}

/// Encodes `commit` as the successor of the commit with that hash; returns the bytes and their hash.
pub fn encode(commit: &NewCommit, previous_hash: &CommitHash) -> Result<(Bytes, CommitHash), CommitInvalid> {
    commit.check()?;
    let payloads: usize = commit
        .events
        .iter()
        .map(|event| event.payload.len() + event.event_type.len() + 7)
        .sum();
    let mut bytes = BytesMut::with_capacity(payloads + 256 + commit.actor.len());
    let flags = [
        (commit.causation_id.is_some(), HAS_CAUSATION),
        (commit.correlation_id.is_some(), HAS_CORRELATION),
        (commit.trace_context.is_some(), HAS_TRACE),
    ];
    bytes.put_u8(VERSION);
    bytes.put_u8(
        flags
            .iter()
            .filter(|(set, _)| *set)
            .fold(0, |all, (_, flag)| all | flag),
    );
    bytes.put_slice(&previous_hash.0);
    bytes.put_slice(&commit.message_id.0);
    bytes.put_slice(&commit.request_digest.0);
    bytes.put_slice(&commit.command_id.0);
    for id in [&commit.causation_id, &commit.correlation_id].into_iter().flatten() {
        bytes.put_slice(&id.0);
    }
    bytes.put_i64(commit.decided_at);
    put_short(&mut bytes, commit.stream.as_bytes());
    put_short(&mut bytes, commit.actor.as_bytes());
    if let Some(trace) = &commit.trace_context {
        put_short(&mut bytes, trace.as_bytes());
    }
    bytes.put_u16(u16::try_from(commit.events.len()).expect("check() bounds the count"));
    for event in &commit.events {
        put_short(&mut bytes, event.event_type.as_bytes());
        bytes.put_u16(event.version);
        let length = u32::try_from(event.payload.len());
        bytes.put_u32(length.map_err(|_| CommitInvalid::TooLarge(event.payload.len()))?);
        bytes.put_slice(&event.payload);
    }
    if bytes.len() > MAX_COMMIT_BYTES {
        return Err(CommitInvalid::TooLarge(bytes.len()));
    }
    let bytes = bytes.freeze();
    let hash = hash(&bytes);
    Ok((bytes, hash))
}

/// The hash of a commit's bytes.
pub fn hash(bytes: &[u8]) -> CommitHash {
    CommitHash(*blake3::hash(bytes).as_bytes())
}

/// Decodes a commit and the hash of its predecessor; the payloads share `bytes`.
pub fn decode(bytes: Bytes) -> Result<(NewCommit, CommitHash), CommitUnreadable> {
    if bytes.len() > MAX_COMMIT_BYTES {
        return Err(CommitInvalid::TooLarge(bytes.len()).into());
    }
    let mut rest = bytes;
    let version = take::<1>(&mut rest)?[0];
    if version != VERSION {
        return Err(CommitUnreadable::Version(version));
    }
    let flags = take::<1>(&mut rest)?[0];
    if flags & !(HAS_CAUSATION | HAS_CORRELATION | HAS_TRACE) != 0 {
        return Err(CommitUnreadable::Malformed("flags"));
    }
    let previous_hash = CommitHash(take(&mut rest)?);
    let message_id = MessageId(take(&mut rest)?);
    let request_digest = RequestDigest(take(&mut rest)?);
    let command_id = CommandId(take(&mut rest)?);
    let causation_id = if flags & HAS_CAUSATION != 0 {
        Some(CommandId(take(&mut rest)?))
    } else {
        None
    };
    let correlation_id = if flags & HAS_CORRELATION != 0 {
        Some(CommandId(take(&mut rest)?))
    } else {
        None
    };
    let decided_at = i64::from_be_bytes(take(&mut rest)?);
    let name = take_short(&mut rest)?;
    let stream = StreamName::from_bytes(&name).map_err(|_| CommitUnreadable::Malformed("stream"))?;
    let actor = text(&take_short(&mut rest)?, "actor")?;
    let trace_context = if flags & HAS_TRACE != 0 {
        Some(text(&take_short(&mut rest)?, "trace context")?)
    } else {
        None
    };
    let events = take_events(&mut rest)?;
    if !rest.is_empty() {
        return Err(CommitUnreadable::Trailing(rest.len()));
    }
    let commit = NewCommit {
        stream,
        events,
        message_id,
        request_digest,
        command_id,
        actor,
        causation_id,
        correlation_id,
        decided_at,
        trace_context,
    };
    commit.check()?;
    Ok((commit, previous_hash))
}

/// Decodes the commit at `position` of a log of that layout, and computes its hash.
pub fn decode_recorded(bytes: Bytes, position: Position, layout: &Layout) -> Result<RecordedCommit, CommitUnreadable> {
    let hash = hash(&bytes);
    let (commit, previous_hash) = decode(bytes)?;
    let bucket = layout.bucket_of(&commit.stream);
    if bucket.partition != position.partition {
        return Err(CommitUnreadable::Malformed("partition"));
    }
    let revision = Revision::from_raw(position.sequence.0);
    Ok(RecordedCommit {
        position,
        bucket,
        revision,
        previous_hash,
        hash,
        commit,
        foreign: None,
    })
}

/// As [`decode_recorded`], for engines that store placeholders of foreign messages.
pub fn decode_stored(bytes: Bytes, position: Position, layout: &Layout) -> Result<RecordedCommit, CommitUnreadable> {
    let Some((bucket, message)) = foreign::decode_placeholder(&bytes) else {
        return decode_recorded(bytes, position, layout);
    };
    let partition = position.partition;
    let bucket = BucketId { partition, bucket };
    if !layout.contains(bucket) {
        return Err(CommitUnreadable::Malformed("bucket"));
    }
    Ok(RecordedCommit::of_foreign(position, bucket, message))
}

fn take_events(rest: &mut Bytes) -> Result<Vec<EventData>, CommitUnreadable> {
    let count = usize::from(u16::from_be_bytes(take(rest)?));
    if count == 0 || count > crate::MAX_EVENTS_PER_COMMIT {
        return Err(CommitInvalid::Events(count).into());
    }
    let mut events = Vec::with_capacity(count);
    for _ in 0..count {
        let event_type = Cow::Owned(text(&take_short(rest)?, "event type")?);
        let version = u16::from_be_bytes(take(rest)?);
        let length = usize::try_from(u32::from_be_bytes(take(rest)?)).map_err(|_| CommitUnreadable::Truncated)?;
        events.push(EventData {
            event_type,
            version,
            payload: take_bytes(rest, length)?,
        });
    }
    Ok(events)
}

fn put_short(bytes: &mut BytesMut, part: &[u8]) {
    bytes.put_u8(u8::try_from(part.len()).expect("check() bounds every short part below 256 bytes"));
    bytes.put_slice(part);
}

fn take<const N: usize>(rest: &mut Bytes) -> Result<[u8; N], CommitUnreadable> {
    let (head, _) = rest.split_first_chunk::<N>().ok_or(CommitUnreadable::Truncated)?;
    let head = *head;
    rest.advance(N);
    Ok(head)
}

fn take_short(rest: &mut Bytes) -> Result<Bytes, CommitUnreadable> {
    let length = usize::from(take::<1>(rest)?[0]);
    take_bytes(rest, length)
}

fn take_bytes(rest: &mut Bytes, length: usize) -> Result<Bytes, CommitUnreadable> {
    if rest.len() < length {
        return Err(CommitUnreadable::Truncated);
    }
    Ok(rest.split_to(length))
}

fn text(bytes: &[u8], part: &'static str) -> Result<String, CommitUnreadable> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| CommitUnreadable::Malformed(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> NewCommit {
        NewCommit {
            stream: StreamName::new("keys").unwrap(),
            events: vec![
                EventData {
                    event_type: "KeyAdded".into(),
                    version: 1,
                    payload: Bytes::from_static(b"abc"),
                },
                EventData {
                    event_type: "KeyUsed".into(),
                    version: 2,
                    payload: Bytes::new(),
                },
            ],
            message_id: MessageId([1; 32]),
            request_digest: RequestDigest([2; 32]),
            command_id: CommandId([3; 16]),
            actor: "issuer".into(),
            causation_id: Some(CommandId([4; 16])),
            correlation_id: Some(CommandId([5; 16])),
            decided_at: 1_661_904_000,
            trace_context: Some("00-ab-cd-01".into()),
        }
    }

    fn golden() -> Vec<u8> {
        let mut golden = vec![1, 7];
        for (byte, count) in [(9, 32), (1, 32), (2, 32), (3, 16), (4, 16), (5, 16)] {
            golden.extend(std::iter::repeat_n(byte, count));
        }
        golden.extend([0, 0, 0, 0, 0x63, 0x0e, 0xa4, 0x80]);
        golden.extend(b"\x04keys\x06issuer\x0b00-ab-cd-01\x00\x02");
        golden.extend(b"\x08KeyAdded\x00\x01\x00\x00\x00\x03abc\x07KeyUsed\x00\x02\x00\x00\x00\x00");
        golden
    }

    /// Never edit: version 1 wrote these bytes.
    #[test]
    fn bytes_of_version_1_are_golden() {
        let (bytes, digest) = encode(&full(), &CommitHash([9; 32])).unwrap();
        assert_eq!(bytes, golden());
        assert_eq!(digest, hash(&golden()));
        assert_eq!(decode(Bytes::from(golden())).unwrap(), (full(), CommitHash([9; 32])));
    }

    #[test]
    fn truncated_and_trailing_bytes_are_refused() {
        let golden = golden();
        for length in 0..golden.len() {
            assert!(
                decode(Bytes::copy_from_slice(&golden[..length])).is_err(),
                "{length} bytes"
            );
        }
        let mut longer = golden.clone();
        longer.push(0);
        assert_eq!(decode(longer.into()), Err(CommitUnreadable::Trailing(1)));
    }

    #[test]
    fn hostile_bytes_never_panic_and_decoded_commits_have_one_encoding() {
        let golden = golden();
        for offset in 0..golden.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut bytes = golden.clone();
                bytes[offset] ^= flip;
                if let Ok((commit, previous)) = decode(bytes.clone().into()) {
                    assert_eq!(encode(&commit, &previous).unwrap().0, bytes, "byte {offset}");
                }
            }
        }
    }

    #[test]
    fn encoding_refuses_commits_beyond_the_limits() {
        let refused = |change: fn(&mut NewCommit)| {
            let mut commit = full();
            change(&mut commit);
            encode(&commit, &CommitHash::NONE).unwrap_err()
        };
        assert_eq!(refused(|commit| commit.events.clear()), CommitInvalid::Events(0));
        assert_eq!(
            refused(|commit| commit.events = vec![commit.events[0].clone(); 257]),
            CommitInvalid::Events(257)
        );
        assert_eq!(
            refused(|commit| commit.events[0].event_type = "".into()),
            CommitInvalid::EventType
        );
        assert_eq!(
            refused(|commit| commit.events[0].event_type = "代码".into()),
            CommitInvalid::EventType
        );
        assert_eq!(
            refused(|commit| commit.actor = "a".repeat(129)),
            CommitInvalid::Actor(129)
        );
        assert_eq!(
            refused(|commit| commit.trace_context = Some("a b".into())),
            CommitInvalid::TraceContext
        );
        let large = refused(|commit| commit.events[0].payload = vec![0; MAX_COMMIT_BYTES].into());
        assert!(matches!(large, CommitInvalid::TooLarge(_)));
    }
}
