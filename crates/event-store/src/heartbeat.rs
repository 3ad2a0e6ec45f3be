//! Heartbeats: commits that say nothing but that their partition took a commit at that moment.
//!
//! A reader's proof of freshness needs a commit in every partition; where none comes by itself a writer appends one
//! of these. They stand in streams and buckets of their own ([`crate::Layout::heartbeat_bucket`]).

use std::borrow::Cow;

use bytes::Bytes;

use crate::{BucketTail, CommandId, EventData, NewCommit, Partition, RequestDigest, StreamName, codec, message_id};

const STREAM_PREFIX: &str = "watermark-";
const ACTOR: &str = "watermark";
/// Of every heartbeat: there is but one thing to ask for.
const REQUEST: RequestDigest = RequestDigest([0; 32]);

/// The stream of a partition's heartbeats: `watermark-` and the partition in decimal.
#[must_use]
pub fn stream(partition: Partition) -> StreamName {
    StreamName::new(&format!("{STREAM_PREFIX}{partition}")).expect("at most 15 bytes of the alphabet")
}

/// Whether a stream is one of heartbeats, whose commits mean nothing to any fold.
#[must_use]
pub fn is_heartbeat(stream: &StreamName) -> bool {
    stream.as_str().starts_with(STREAM_PREFIX)
}

/// The heartbeat after `tail`, the end of its bucket. Of any number of writers that append after the same tail one
/// succeeds, and the others' are its duplicates. Its command id is of the tail's revision too: the same message may stand
/// before two heartbeats, and those are not each other's duplicates.
#[must_use]
pub fn commit(partition: Partition, tail: &BucketTail, decided_at: i64) -> NewCommit {
    let stream = stream(partition);
    let place = [&tail.hash.0[..], &tail.revision.to_raw().to_be_bytes()].concat();
    let hash = codec::hash(&place).0;
    let (half, _) = hash.split_first_chunk::<16>().expect("32 bytes have 16");
    let command_id = CommandId(*half);
    NewCommit {
        message_id: message_id(ACTOR, &stream, &command_id),
        stream,
        events: vec![EventData {
            event_type: Cow::Borrowed("Watermark"),
            version: 1,
            payload: Bytes::new(),
        }],
        request_digest: REQUEST,
        command_id,
        actor: ACTOR.into(),
        causation_id: None,
        correlation_id: None,
        decided_at,
        trace_context: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommitHash, Layout, Revision};

    #[test]
    fn a_heartbeat_lies_in_its_partitions_own_bucket_and_is_one_for_each_tail() {
        let layout = Layout::default();
        let tail = BucketTail {
            revision: Revision::from_raw(7),
            hash: CommitHash([9; 32]),
        };
        for partition in layout.all_partitions() {
            let heartbeat = commit(partition, &tail, 1);
            assert_eq!(layout.bucket_of(&heartbeat.stream), layout.heartbeat_bucket(partition));
            assert!(is_heartbeat(&heartbeat.stream) && heartbeat.facts().is_empty());
            assert_eq!(commit(partition, &tail, 2).message_id, heartbeat.message_id);
            let later = BucketTail {
                revision: Revision::from_raw(9),
                ..tail
            };
            assert_ne!(commit(partition, &later, 1).message_id, heartbeat.message_id);
            let after_nothing = commit(partition, &BucketTail::EMPTY, 1);
            assert_ne!(after_nothing.message_id, heartbeat.message_id);
        }
    }
}
