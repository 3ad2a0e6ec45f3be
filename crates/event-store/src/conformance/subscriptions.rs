//! Properties of subscriptions.

use std::sync::Arc;

use super::{EngineFactory, append_any, commit, small_layout, stream};
use crate::{LogPosition, Partition, Position, Sequence, Subscription, SubscriptionError, SubscriptionMessage};

/// Receives everything up to the first `CaughtUp`.
async fn until_caught_up(subscription: &mut Subscription) -> (Vec<Position>, LogPosition) {
    let mut seen = Vec::new();
    loop {
        match subscription.next().await.expect("nothing failed") {
            SubscriptionMessage::EventAppeared(recorded) => seen.push(recorded.position),
            SubscriptionMessage::CaughtUp(position) => return (seen, position),
            SubscriptionMessage::FellBehind(_) => panic!("the subscription had not caught up yet"),
        }
    }
}

/// A subscription delivers every commit after its start position, each partition in order.
pub async fn a_subscription_starts_after_an_exclusive_position(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let start = LogPosition::start(4);
    let mut subscription = store.subscribe_to_all(start.clone()).await.expect("subscribed");
    assert_eq!(until_caught_up(&mut subscription).await, (Vec::new(), start.clone()));

    for command in 0..100 {
        append_any(&*store, commit(stream(command), command)).await;
    }
    let middle = store.heads().await.expect("readable");
    for command in 100..300 {
        append_any(&*store, commit(stream(command), command)).await;
    }
    let end = store.heads().await.expect("readable");
    for (from, count) in [(start, 300), (middle, 200), (end.clone(), 0)] {
        let mut subscription = store.subscribe_to_all(from.clone()).await.expect("subscribed");
        let (seen, position) = until_caught_up(&mut subscription).await;
        assert_eq!((seen.len(), &position), (count, &end));
        assert_eq!(subscription.position(), &end);
        let mut reached = from;
        for position in seen {
            assert_eq!(position.sequence, reached.sequence(position.partition).next());
            reached.set(position.partition, position.sequence);
        }
    }
}

/// Commits that are appended while history is read, and later ones, are delivered exactly once.
pub async fn a_subscription_continues_live_without_gap_or_repeat(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    for command in 0..50 {
        append_any(&*store, commit(stream(command), command)).await;
    }
    let mut subscription = store.subscribe_to_all(LogPosition::start(4)).await.expect("subscribed");
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for command in 50..400 {
                append_any(&*store, commit(stream(command), command)).await;
            }
        })
    };
    let (mut seen, mut caught_up) = (0, false);
    let mut reached = LogPosition::start(4);
    while seen < 400 || !caught_up {
        match subscription.next().await.expect("nothing failed") {
            SubscriptionMessage::EventAppeared(recorded) => {
                let Position { partition, sequence } = recorded.position;
                assert_eq!(sequence, reached.sequence(partition).next(), "no gap, no repeat");
                reached.set(partition, sequence);
                seen += 1;
            }
            SubscriptionMessage::CaughtUp(position) => {
                assert_eq!(position, reached);
                caught_up = true;
            }
            SubscriptionMessage::FellBehind(_) => caught_up = false,
        }
    }
    writer.await.expect("the writer did not panic");
    assert_eq!(store.heads().await, Ok(reached));
}

/// A start position past the head is refused: the log was rolled back, or it is another log.
pub async fn a_position_past_the_head_is_refused(factory: &dyn EngineFactory) {
    let store = factory.create(small_layout()).await;
    let mut ahead = LogPosition::start(4);
    ahead.set(Partition(2), Sequence(1));
    let answer = store.subscribe_to_all(ahead).await.err();
    let (partition, head, seen) = (Partition(2), Sequence(0), Sequence(1));
    assert_eq!(answer, Some(SubscriptionError::WentBack { partition, head, seen }));
    let answer = store.subscribe_to_all(LogPosition::start(3)).await.err();
    assert_eq!(answer, Some(SubscriptionError::Layout { expected: 4, found: 3 }));
}
