//! What a subscription delivers.

use std::sync::Arc;

use super::{EngineFactory, append_any, commit, small_layout, stream};
use crate::{LogPosition, Partition, Position, Sequence, Subscription, SubscriptionError, SubscriptionMessage};

/// Everything up to the first `CaughtUp`.
async fn until_caught_up(subscription: &mut Subscription) -> (Vec<Position>, LogPosition) {
    let mut seen = Vec::new();
    loop {
        match subscription.next().await.expect("nothing failed") {
            SubscriptionMessage::EventAppeared(recorded) => seen.push(recorded.position),
            SubscriptionMessage::CaughtUp(position) => return (seen, position),
            SubscriptionMessage::FellBehind(_) => panic!("it had not caught up yet"),
        }
    }
}

/// From the start everything comes; from a point only what is after it; each partition in order.
pub async fn a_subscription_begins_after_an_exclusive_position(factory: &dyn EngineFactory) {
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
        for place in seen {
            assert_eq!(place.sequence, reached.sequence(place.partition).next());
            reached.set(place.partition, place.sequence);
        }
    }
}

/// Commits appended while history is read and afterwards come once each.
pub async fn a_subscription_goes_on_live_without_gap_or_repeat(factory: &dyn EngineFactory) {
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
                let place = recorded.position;
                assert_eq!(
                    place.sequence,
                    reached.sequence(place.partition).next(),
                    "no gap, no repeat"
                );
                reached.set(place.partition, place.sequence);
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

/// A log that ends before what was seen is not the log that was seen.
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
