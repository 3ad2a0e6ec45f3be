//! Heartbeats: commits without meaning, which show that their partition accepted a commit at that moment.
//!
//! A freshness probe is answered by a commit in every partition; in an idle partition a writer appends a heartbeat for
//! this purpose. Each partition has a separate stream and bucket for heartbeats ([`crate::Layout::heartbeat_bucket`]).
//! In the log they still have their former name, `watermark`.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{BucketTail, CommandId, EventData, NewCommit, Partition, RequestDigest, StreamName, codec, message_id};

const STREAM_PREFIX: &str = "watermark-";
const ACTOR: &str = "watermark";
/// All heartbeats are the same request.
const REQUEST: RequestDigest = RequestDigest([0; 32]);

/// The stream of a partition's heartbeats: `watermark-` and the partition in decimal.
#[must_use]
pub fn stream(partition: Partition) -> StreamName {
    StreamName::new(&format!("{STREAM_PREFIX}{partition}")).expect("at most 15 bytes of the alphabet")
}

/// Whether this is a stream of heartbeats, which projections ignore.
#[must_use]
pub fn is_heartbeat(stream: &StreamName) -> bool {
    stream.as_str().starts_with(STREAM_PREFIX)
}

/// The heartbeat that follows `tail` in its bucket. If several writers append after the same tail, one succeeds and the
/// others' appends are its duplicates. The command id depends on the tail's revision as well as on its hash, because
/// identical foreign messages before two heartbeats must not make those heartbeats duplicates.
#[must_use]
pub fn commit(partition: Partition, tail: &BucketTail, decided_at: i64) -> NewCommit {
    let stream = stream(partition);
    let predecessor = [&tail.hash.0[..], &tail.revision.to_raw().to_be_bytes()].concat();
    let hash = codec::hash(&predecessor).0;
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
    fn a_heartbeat_is_in_its_partitions_reserved_bucket_and_unique_for_each_tail() {
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
