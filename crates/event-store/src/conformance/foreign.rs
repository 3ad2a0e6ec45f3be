//! Placeholders of foreign messages.

use super::{EngineFactory, append, commit, small_layout, stream};
use crate::{
    AppendOutcome, BucketId, BucketTail, CommitHash, EventStore, ForeignMessage, LogPosition, Position, Revision,
    SubscriptionBatch, foreign,
};

/// A foreign message keeps its position and is told as what it is; the chain goes on past it, for whoever expects it.
pub async fn a_foreign_message_keeps_its_position_and_the_chain_goes_on(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let bucket = store.layout().bucket_of(&stream(1));
    let message = ForeignMessage::of(b"no commit", "a test");
    // Before the first commit too.
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
    assert_eq!(store.bucket_tail(bucket).await, Ok(ended), "a restart keeps them");
    reads_past_foreign_messages(&*store, bucket, [first, second]).await;
}

/// At the first and third position of the partition stands a foreign message.
async fn reads_past_foreign_messages(store: &dyn EventStore, bucket: BucketId, commits: [Position; 2]) {
    let read = store.read_bucket(bucket, Revision::EMPTY).await.expect("readable");
    let positions: Vec<_> = read.iter().map(|commit| commit.position).collect();
    assert_eq!(positions, commits, "no foreign message among them");
    assert_eq!(
        (read[0].previous_hash, read[1].previous_hash),
        (CommitHash::NONE, read[0].hash)
    );
    let mut subscription = store.subscribe_to_all(LogPosition::start(4)).await.expect("subscribed");
    let mut told = Vec::new();
    while told.len() < 4 {
        if let SubscriptionBatch::Commits(batch) = subscription.next_batch().await.expect("delivered") {
            told.extend(batch);
        }
    }
    for (told, is_foreign) in told.iter().zip([true, false, true, false]) {
        assert_eq!((told.bucket, told.foreign.is_some()), (bucket, is_foreign));
        let read = store
            .read_at(told.position)
            .await
            .expect("readable")
            .expect("it stands there");
        assert_eq!((read.hash, read.foreign.is_some()), (told.hash, is_foreign));
    }
}

async fn put(store: &dyn EventStore, bucket: BucketId, message: &ForeignMessage, expected: BucketTail) -> BucketTail {
    match store.append_foreign(bucket, message.clone(), expected).await {
        Ok(AppendOutcome::Appended { revision, hash, .. }) => {
            assert_eq!(hash, expected.hash, "it moves no chain");
            BucketTail { revision, hash }
        }
        other => panic!("a placeholder at the right tail was answered {other:?}"),
    }
}
