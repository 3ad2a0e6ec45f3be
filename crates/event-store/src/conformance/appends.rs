//! Properties of a single append.

use super::{EngineFactory, append, append_any, commit, small_layout, stream};
use crate::{
    AppendError, AppendOutcome, BucketTail, CommandId, CommitHash, CommitInvalid, EventData, RequestDigest, Revision,
    StreamName, StreamState,
};

/// A commit reads back exactly as it was appended, with its events in order.
pub async fn a_commit_is_appended_whole_with_all_that_it_carries(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let mut sent = commit(stream(1), 1);
    sent.events.push(EventData {
        event_type: "Second".into(),
        version: 9,
        payload: vec![0, 255, 10].into(),
    });
    sent.causation_id = Some(CommandId([1; 16]));
    sent.correlation_id = Some(CommandId([2; 16]));
    sent.trace_context = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let (position, tail) = append(&*store, sent.clone(), BucketTail::EMPTY).await;
    let read = store.read_at(position).await.expect("readable").expect("present");
    assert_eq!(read.commit, sent);
    assert_eq!((read.position, read.tail()), (position, tail));
    assert_eq!(read.previous_hash, CommitHash::NONE);
    assert_eq!(read.bucket, store.layout().bucket_of(&sent.stream));
    assert_eq!(store.bucket_tail(read.bucket).await, Ok(tail));
}

/// The expected revision and hash must both match, and a refused append writes nothing.
pub async fn a_wrong_tail_is_refused_by_revision_and_by_hash(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let (_, first) = append(&*store, commit(stream(1), 1), BucketTail::EMPTY).await;
    let (_, second) = append(&*store, commit(stream(1), 2), first).await;
    let heads = store.heads().await.expect("readable");
    let other_hash = BucketTail {
        hash: CommitHash([9; 32]),
        ..second
    };
    let ahead = BucketTail {
        revision: Revision::from_raw(second.revision.to_raw() + 1),
        ..second
    };
    for wrong in [BucketTail::EMPTY, first, other_hash, ahead] {
        let answer = store.append_at(commit(stream(1), 3), wrong).await;
        assert_eq!(
            answer,
            Ok(AppendOutcome::WrongExpectedVersion {
                current: second.revision
            }),
            "{wrong:?}"
        );
    }
    assert_eq!(store.heads().await, Ok(heads));
    append(&*store, commit(stream(1), 3), second).await;
}

/// A retry gets the answer of the first append, whatever tail it expects, and writes nothing.
pub async fn a_repeated_command_is_answered_with_the_first_position(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let (position, first) = append(&*store, commit(stream(1), 1), BucketTail::EMPTY).await;
    let (_, second) = append(&*store, commit(stream(1), 2), first).await;
    let heads = store.heads().await.expect("readable");
    for expected in [BucketTail::EMPTY, first, second] {
        let answer = store.append_at(commit(stream(1), 1), expected).await;
        let BucketTail { revision, hash } = first;
        assert_eq!(
            answer,
            Ok(AppendOutcome::Appended {
                position,
                revision,
                hash,
                duplicate: true
            })
        );
    }
    assert_eq!(store.heads().await, Ok(heads));
}

/// The same message id with another digest is an error, and the same command id of another caller is another message
/// id.
pub async fn the_same_id_with_another_request_is_refused(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let (position, tail) = append(&*store, commit(stream(1), 1), BucketTail::EMPTY).await;
    let mut other = commit(stream(1), 1);
    other.request_digest = RequestDigest([8; 32]);
    for expected in [BucketTail::EMPTY, tail] {
        let answer = store.append_at(other.clone(), expected).await;
        assert_eq!(answer, Err(AppendError::IdempotencyKeyReused { position }));
    }
    let mut of_another_caller = commit(stream(1), 1);
    of_another_caller.message_id = crate::message_id("another", &stream(1), &of_another_caller.command_id);
    append(&*store, of_another_caller, tail).await;
}

/// A commit that exceeds a limit is refused before anything is written.
pub async fn invalid_commits_are_refused(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let mut empty = commit(stream(1), 1);
    empty.events.clear();
    let answer = store.append_at(empty, BucketTail::EMPTY).await;
    assert_eq!(answer, Err(AppendError::Invalid(CommitInvalid::Events(0))));
    let mut large = commit(stream(1), 1);
    large.events[0].payload = vec![0; crate::MAX_COMMIT_BYTES].into();
    let answer = store.append_at(large, BucketTail::EMPTY).await;
    assert!(
        matches!(answer, Err(AppendError::Invalid(CommitInvalid::TooLarge(_)))),
        "{answer:?}"
    );
    let no_partition = StreamName::new("lease-99-a").expect("a valid name");
    let answer = store.append_at(commit(no_partition, 1), BucketTail::EMPTY).await;
    assert!(matches!(answer, Err(AppendError::StreamInvalid(_))), "{answer:?}");
    assert_eq!(store.heads().await.expect("readable").commits(), 0);
}

/// `Any`, `NoStream` and `StreamExists` work, even with another stream in the same bucket.
pub async fn stream_states_are_checked(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let layout = store.layout();
    let (mine, mut number) = (stream(1), 2);
    while layout.bucket_of(&stream(number)) != layout.bucket_of(&mine) {
        number += 1;
    }
    let neighbour = stream(number);
    append_any(&*store, commit(neighbour, 1)).await;
    let refused = |answer: &_| matches!(answer, Ok(AppendOutcome::WrongExpectedVersion { .. }));
    let answer = store.append_to_stream(commit(mine, 2), StreamState::StreamExists).await;
    assert!(refused(&answer), "{answer:?}");
    let answer = store.append_to_stream(commit(mine, 3), StreamState::NoStream).await;
    assert!(
        matches!(answer, Ok(AppendOutcome::Appended { duplicate: false, .. })),
        "{answer:?}"
    );
    let answer = store.append_to_stream(commit(mine, 4), StreamState::NoStream).await;
    assert!(refused(&answer), "{answer:?}");
    let answer = store.append_to_stream(commit(mine, 3), StreamState::NoStream).await;
    assert!(
        matches!(answer, Ok(AppendOutcome::Appended { duplicate: true, .. })),
        "{answer:?}"
    );
    let answer = store.append_to_stream(commit(mine, 5), StreamState::StreamExists).await;
    assert!(
        matches!(answer, Ok(AppendOutcome::Appended { duplicate: false, .. })),
        "{answer:?}"
    );
}
