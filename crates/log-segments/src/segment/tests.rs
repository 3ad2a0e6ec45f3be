//! Tests of the bytes of a segment.

use citycode_event_store::conformance::sample_commit;
use citycode_event_store::{BucketId, CommitHash, ForeignMessage, StreamName};

use super::*;

fn layout() -> Layout {
    Layout::new(1, 64).unwrap()
}

/// The messages of segment 1 of partition 0; the one at sequence 5,000 is foreign.
fn messages() -> Vec<RecordedCommit> {
    let (stream, mut previous) = (StreamName::new("keys").unwrap(), CommitHash([7; 32]));
    let mut messages = Vec::new();
    for sequence in SEGMENT_COMMITS + 1..=2 * SEGMENT_COMMITS {
        let position = Position::new(0, sequence);
        if sequence == 5_000 {
            let bucket = BucketId {
                partition: Partition(0),
                bucket: 3,
            };
            let placeholder = foreign::encode_placeholder(3, &ForeignMessage::of(b"junk", "junk"));
            messages.push(RecordedCommit::of_foreign(
                position,
                bucket,
                ForeignMessage::of(&placeholder, ""),
            ));
            continue;
        }
        let (bytes, hash) = codec::encode(&sample_commit(stream, sequence, "payload"), &previous).unwrap();
        messages.push(codec::decode_recorded(bytes, position, &layout()).unwrap());
        previous = hash;
    }
    messages
}

fn segment(messages: &[RecordedCommit]) -> Bytes {
    let mut builder = SegmentBuilder::default();
    for (number, message) in messages.iter().enumerate() {
        let is_complete = builder.push(message).unwrap();
        assert_eq!(is_complete, number + 1 == messages.len());
    }
    builder.finish()
}

#[test]
fn a_segment_round_trips_with_positions_hashes_and_foreign_messages() {
    let messages = messages();
    let decoded = decode(segment(&messages), Partition(0), 1, &layout()).unwrap();
    let decoded: Vec<RecordedCommit> = decoded.iter().map(|message| (**message).clone()).collect();
    assert_eq!(decoded, messages);
}

#[test]
fn truncated_and_trailing_bytes_and_an_invalid_entry_are_refused() {
    let whole = segment(&messages());
    let read = |bytes: Bytes| decode(bytes, Partition(0), 1, &layout());
    for end in [0, 3, 4, 100, whole.len() - 1] {
        assert_eq!(
            read(whole.slice(..end)),
            Err(SegmentUnreadable::Truncated),
            "cut at {end}"
        );
    }
    let trailing = Bytes::from([&whole[..], b"xyz"].concat());
    assert_eq!(read(trailing), Err(SegmentUnreadable::Trailing(3)));
    let mut changed = whole.to_vec();
    // The version of the first commit.
    changed[4] = 9;
    assert_eq!(
        read(changed.into()),
        Err(SegmentUnreadable::Entry {
            sequence: SEGMENT_COMMITS + 1,
            reason: codec::CommitUnreadable::Version(9)
        })
    );
    // The length of an entry that reaches far past the end.
    let mut long = whole.to_vec();
    long[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(read(long.into()), Err(SegmentUnreadable::Truncated));
}
