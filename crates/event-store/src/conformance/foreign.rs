//! Placeholders of foreign messages.

use super::{EngineFactory, append, commit, small_layout, stream};
use crate::{
    AppendOutcome, BucketId, BucketTail, CommitHash, EventStore, ForeignMessage, LogPosition, Position, Revision,
    SubscriptionBatch, foreign,
};

/// A foreign message keeps its position and is marked as foreign; only an append that expects it continues the chain.
pub async fn a_foreign_message_keeps_its_position_and_the_chain_continues(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let bucket = store.layout().bucket_of(&stream(1));
    let message = ForeignMessage::of(b"no commit", "a test");
    // A foreign message may also precede the first commit.
    let expected = put(&*store, bucket, &message, BucketTail::EMPTY).await;
    assert_eq!(store.bucket_tail(bucket).await, Ok(expected));
    let declaration = commit(foreign::stream(bucket), 1);
    let (first, tail) = append(&*store, declaration, expected).await;
    let passed = put(&*store, bucket, &message, tail).await;
    let overlooked = store.append_at(commit(stream(1), 2), tail).await;
    assert!(
        !matches!(overlooked, Ok(AppendOutcome::Appended { .. } | AppendOutcome::Unknown)),
        "{overlooked:?}"
    );
    let (second, last) = append(&*store, commit(foreign::stream(bucket), 3), passed).await;
    reads_past_foreign_messages(&*store, bucket, [first, second]).await;
    let ended = put(&*store, bucket, &message, last).await;
    let Some(store) = factory.restart(store).await else {
        return;
    };
    assert_eq!(store.bucket_tail(bucket).await, Ok(ended), "a restart preserves them");
    reads_past_foreign_messages(&*store, bucket, [first, second]).await;
}

/// Checks reads of a partition whose first and third messages are foreign.
async fn reads_past_foreign_messages(store: &dyn EventStore, bucket: BucketId, commits: [Position; 2]) {
    let read = store.read_bucket(bucket, Revision::EMPTY).await.expect("readable");
    let positions: Vec<_> = read.iter().map(|commit| commit.position).collect();
    assert_eq!(positions, commits, "a bucket is read without foreign messages");
    assert_eq!(
        (read[0].previous_hash, read[1].previous_hash),
        (CommitHash::NONE, read[0].hash)
    );
    let mut subscription = store.subscribe_to_all(LogPosition::start(4)).await.expect("subscribed");
    let mut delivered = Vec::new();
    while delivered.len() < 4 {
        if let SubscriptionBatch::Commits(batch) = subscription.next_batch().await.expect("delivered") {
            delivered.extend(batch);
        }
    }
    for (message, is_foreign) in delivered.iter().zip([true, false, true, false]) {
        assert_eq!((message.bucket, message.foreign.is_some()), (bucket, is_foreign));
        let read = store
            .read_at(message.position)
            .await
            .expect("readable")
            .expect("present");
        assert_eq!((read.hash, read.foreign.is_some()), (message.hash, is_foreign));
    }
}

async fn put(store: &dyn EventStore, bucket: BucketId, message: &ForeignMessage, expected: BucketTail) -> BucketTail {
    match store.append_foreign(bucket, message.clone(), expected).await {
        Ok(AppendOutcome::Appended { revision, hash, .. }) => {
            assert_eq!(hash, expected.hash, "it does not extend the chain");
            BucketTail { revision, hash }
        }
        other => panic!("a placeholder at the right tail was answered {other:?}"),
    }
}
