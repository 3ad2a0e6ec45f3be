//! The in-memory engine passes the conformance suite and applies injected faults.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use async_trait::async_trait;
use citycode_event_store::conformance::{self, EngineFactory};
use citycode_event_store::memory::{AppendFault, MemoryEventStore};
use citycode_event_store::{
    AppendError, AppendOutcome, BucketTail, CommandId, EventData, EventStore, Layout, LogId, LogPosition, NewCommit,
    ReaderVersion, RequestDigest, Revision, StreamName, StreamState, SubscriptionMessage, live, message_id,
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
    let stream = StreamName::new("keys").unwrap();
    let mut command_id = CommandId([0; 16]);
    command_id.0[..2].copy_from_slice(&command.to_be_bytes());
    NewCommit {
        stream,
        events: vec![EventData {
            event_type: "KeyAdded".into(),
            version: 1,
            payload: Default::default(),
        }],
        message_id: message_id("test", &stream, &command_id),
        request_digest: RequestDigest([0; 32]),
        command_id,
        actor: "test".into(),
        causation_id: None,
        correlation_id: None,
        decided_at: 0,
        trace_context: None,
    }
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
