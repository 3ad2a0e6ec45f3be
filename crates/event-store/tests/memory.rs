//! The in-memory engine passes the conformance suite and applies injected faults.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use async_trait::async_trait;
use citycode_event_store::conformance::{self, EngineFactory, sample_commit};
use citycode_event_store::memory::{AppendFault, MemoryEventStore};
use citycode_event_store::{
    AppendError, AppendOutcome, BucketTail, EventStore, Layout, LogId, LogPosition, NewCommit, ReaderVersion, Revision,
    StreamName, StreamState, SubscriptionMessage, live,
};

struct Memory;

#[async_trait]
impl EngineFactory for Memory {
    async fn create_at(&self, layout: Layout, minimum_reader: ReaderVersion) -> Arc<dyn EventStore> {
        let log_id = LogId([1; 16]);
        Arc::new(MemoryEventStore::with_minimum_reader(log_id, layout, minimum_reader))
    }

    async fn restart(&self, _: Arc<dyn EventStore>) -> Option<Arc<dyn EventStore>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_engine_conforms() {
    conformance::run_all(&Memory).await;
}

fn commit(command: u16) -> NewCommit {
    sample_commit(StreamName::new("keys").unwrap(), command.into(), "")
}

#[tokio::test]
async fn repeating_the_same_bytes_resolves_an_unknown_outcome() {
    let store = MemoryEventStore::new(LogId([1; 16]), Layout::default());
    for (number, (fault, was_written)) in (1..).zip([
        (AppendFault::CommittedButUnknown, true),
        (AppendFault::LostAndUnknown, false),
    ]) {
        let bucket = store.layout().bucket_of(&commit(0).stream);
        let tail = store.bucket_tail(bucket).await.unwrap();
        store.fail_next_append(fault);
        assert_eq!(store.append_at(commit(number), tail).await, Ok(AppendOutcome::Unknown));
        let again = store.append_at(commit(number), tail).await.unwrap();
        assert!(
            matches!(again, AppendOutcome::Appended { duplicate, .. } if duplicate == was_written),
            "{again:?}"
        );
    }
    store.fail_next_append(AppendFault::Unavailable);
    let refused = store.append_to_stream(commit(9), StreamState::Any).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))));
    let stream = store.read_stream(&commit(0).stream, Revision::EMPTY).await.unwrap();
    assert_eq!(stream.len(), 2);
}

#[tokio::test]
async fn a_slow_subscriber_gets_fell_behind_and_misses_nothing() {
    let store = MemoryEventStore::new(LogId([1; 16]), Layout::default());
    let mut subscription = store.subscribe_to_all(LogPosition::start(16)).await.unwrap();
    assert!(matches!(
        subscription.next().await,
        Ok(SubscriptionMessage::CaughtUp(_))
    ));
    let count = u16::try_from(live::LIVE_BATCHES * 2).unwrap();
    let mut tail = BucketTail::EMPTY;
    for number in 0..count {
        if let AppendOutcome::Appended { revision, hash, .. } = store.append_at(commit(number), tail).await.unwrap() {
            tail = BucketTail { revision, hash };
        }
    }
    assert!(matches!(
        subscription.next().await,
        Ok(SubscriptionMessage::FellBehind(_))
    ));
    for _ in 0..count {
        assert!(matches!(
            subscription.next().await,
            Ok(SubscriptionMessage::EventAppeared(_))
        ));
    }
    assert!(matches!(
        subscription.next().await,
        Ok(SubscriptionMessage::CaughtUp(_))
    ));
}
